"""How far a gradient is from the truth, in units that mean something.

A gradient is a long sum of products, and where terms cancel its last places are noise, whoever
computes it. So each entry's error is given in the rounding units that the entry is made of: every
operation on the way may be off by one unit in the last place of its result, and what those errors
can come to in the end, to first order, is one rounding unit of the entry. For a sum of products
that is ε Σ|terms|; the σ′ = ŷ(1 − ŷ) of a saturated unit has few digits left, and counts as such.

Source: the running error analysis of Wilkinson (1963), "Rounding Errors in Algebraic Processes",
§1.6; Higham (2002), "Accuracy and Stability of Numerical Algorithms", §3.3.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.chain_rule import backprop
from bp_torch.neuron import Model
from bp_torch.training.gradients import NamedGradients

MOST_UNITS = 4.0
"""Above it, and as many times autograd's own error, a gradient is wrong. Over four dtypes, two
costs, both forms of σ′, networks of up to 1,000 features, weights up to 30 times as large as at the
start and batches of 1 to 300,000 no right gradient came to more than 3.3 units, in float16, and 2.4
in the others."""

TERMS_OF_A_BLOCK = 256
"""A sum rounds its first terms with each addition. Torch adds in lanes and blocks; what is left
grows with the root of the number of terms."""


@dataclass(frozen=True)
class Comparison:
    """The gradient by hand and autograd's against the truth, the worst of some steps."""

    by_hand: float = 0.0
    """Rounding units; so is autograd's."""
    autograd: float = 0.0
    steps: int = 0
    wrong: int = 0
    """Steps in which the gradient by hand was further off than rounding can bring it."""

    @property
    def right(self) -> bool:
        """Whether it was right in every step that was compared."""
        return not self.wrong

    def __or__(self, other: "Comparison") -> "Comparison":
        """Both together."""
        return Comparison(
            by_hand=_worse(self.by_hand, other.by_hand),
            autograd=_worse(self.autograd, other.autograd),
            steps=self.steps + other.steps,
            wrong=self.wrong + other.wrong,
        )


def compare_gradients(
    module: Model,
    x: Tensor,
    y: Tensor,
    cost: str,
    by_hand: NamedGradients,
    autograd: NamedGradients,
) -> Comparison:
    """Both gradients of one batch against the chain rule in float64, on the same numbers.

    Nothing is compared where a feature has overflowed in the module's dtype.
    """
    if not x.isfinite().all():
        return Comparison()
    truth, units = gradient_and_units(module, x, y, cost)
    found, peer = units_off(by_hand, truth, units), units_off(autograd, truth, units)
    wrong = not found <= MOST_UNITS * max(1.0, peer)
    return Comparison(by_hand=found, autograd=peer, steps=1, wrong=int(wrong))


def units_off(gradients: NamedGradients, truth: NamedGradients, units: NamedGradients) -> float:
    """The largest error of any entry, in its rounding units; NaN where an entry is."""
    worst = 0.0
    for name, gradient in gradients.items():
        error = (gradient.double() - truth[name]).abs()
        # Where nothing can be off nothing may be: a feature that is 0 in every sample.
        off = torch.where(error == 0, 0.0, error / units[name])
        worst = _worse(worst, off.max().item())
    return worst


@torch.no_grad()
def gradient_and_units(
    module: Model, x: Tensor, y: Tensor, cost: str
) -> tuple[NamedGradients, NamedGradients]:
    """The true gradients, in float64, and one rounding unit of each entry in the module's dtype.

    In the names below `of_z` is what z can be off by, in ε: its own rounding, and what it inherits.
    `tiny`, the smallest normal number, stands for what underflow takes: ε · tiny is the spacing
    below it.
    """
    limits = torch.finfo(module.layers[-1].bias.dtype)
    exact = copy.deepcopy(module).double()
    for layer in exact.layers:
        layer.derivative = "accurate"
    x, y = x.double(), y.double()
    chain = backprop(exact, x, y, cost=cost)

    of_a, forward = torch.zeros_like(x), []
    for layer, link in zip(exact.layers, chain.layers, strict=True):
        size = link.dz_dw.abs() @ layer.weight.abs().t() + layer.bias.abs()  # Σ|wx| + |b|
        of_z = size + of_a @ layer.weight.abs().t()
        of_y_hat = link.dy_hat_dz * of_z + link.y_hat + limits.tiny
        q = 1 - link.y_hat
        of_prime = _product(link.y_hat, of_y_hat, q, of_y_hat + q) + limits.tiny
        forward.append((of_a, of_y_hat, of_prime))
        of_a = of_y_hat

    by_output = _of_cost_prime(chain.y_hat, y, cost, forward[-1][1]) / len(x) + limits.tiny
    additions = 1 + math.sqrt(len(x) / TERMS_OF_A_BLOCK)
    units: list[Tensor] = []
    for place in range(len(exact.layers) - 1, -1, -1):
        layer, link, (of_a, _, of_prime) = exact.layers[place], chain.layers[place], forward[place]
        of_delta = _product(link.dC_dy_hat, by_output, link.dy_hat_dz, of_prime) + limits.tiny
        delta, a = link.delta.abs(), link.dz_dw.abs()
        by_weight = (of_delta + additions * delta).t() @ a + delta.t() @ of_a
        units[:0] = [by_weight, (of_delta + additions * delta).sum(0)]
        if place:
            by_output = (of_delta + delta) @ layer.weight.abs()
    by_name = zip(chain.gradients, units, strict=True)
    return chain.gradients, {name: limits.eps * (unit + limits.tiny) for name, unit in by_name}


def _product(one: Tensor, of_one: Tensor, other: Tensor, of_other: Tensor) -> Tensor:
    """What a product can be off by: (a + δa)(b + δb), rounded."""
    return of_one * other.abs() + one.abs() * of_other + (one * other).abs()


def _of_cost_prime(y_hat: Tensor, y: Tensor, cost: str, of_y_hat: Tensor) -> Tensor:
    """What N ∂C/∂ŷ can be off by."""
    if cost == "quadratic":
        return of_y_hat + (y_hat - y).abs()
    # (1 − y)/(1 − ŷ) − y/ŷ: each quotient is as uncertain as what it is divided by.
    p, q = y_hat.clamp(min=torch.finfo(torch.float64).tiny), 1 - y_hat
    q = q.clamp(min=torch.finfo(torch.float64).eps)
    return (1 - y) / q * (1 + (of_y_hat + q) / q) + y / p * (1 + of_y_hat / p)


def _worse(one: float, other: float) -> float:
    """The larger; NaN is the worst."""
    return one if one > other or one != one else other
