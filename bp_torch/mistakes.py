"""Mistakes that learners make in a gradient, on purpose: to see what each of them does.

Every one of them is in some answer, article or code that people copy. `gradients_with` is
`backprop` with one of them in it; what it returns is wrong, and is marked as such wherever a run
shows it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bp_torch import checks
from bp_torch.chain_rule import Chain, LayerChain, backprop
from bp_torch.derivative import sigmoid, sigmoid_prime
from bp_torch.neuron import Layer, Model

MistakeName = Literal[
    "without-sigma-prime",
    "sigma-twice",
    "without-x",
    "wrong-sign",
    "without-1/N",
    "one-term-too-many",
    "updated-weights",
]

Gradients = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Situation:
    """What a gradient is made from: a step by the chain rule, and what it was taken of."""

    module: Model
    x: Tensor
    y: Tensor
    cost: str
    learning_rate: float
    chain: Chain


@dataclass(frozen=True)
class Mistake:
    """One mistake: in words, and the gradients that it gives."""

    sentence: str
    gradients: Callable[[Situation], Gradients]


@torch.no_grad()
def gradients_with(
    mistake: str,
    module: Model,
    x: Tensor,
    y: Tensor,
    *,
    cost: str = "quadratic",
    learning_rate: float = 1.0,
) -> tuple[Tensor, Gradients]:
    """The cost, which is right, and the gradients with that mistake, which are not.

    Args:
        mistake: one of `MISTAKES`; another raises ValueError.
        learning_rate: ν, which "updated-weights" alone depends on.

    Raises:
        ValueError: "updated-weights" without a hidden layer: there is nothing to update too early.
    """
    known = checks.require_one_of("mistake", mistake, MISTAKES)
    chain = backprop(module, x, y, cost=cost)
    return chain.cost, known.gradients(Situation(module, x, y, cost, learning_rate, chain))


def _walk(
    of: Situation,
    *,
    sigma_prime: Callable[[LayerChain], Tensor] = lambda link: link.dy_hat_dz,
    weight: Callable[[Layer, Tensor], Tensor] = lambda layer, by_weight: layer.weight,
    weight_gradient: Callable[[LayerChain, Tensor], Tensor] = lambda link, delta: (
        delta.t() @ link.dz_dw
    ),
) -> Gradients:
    """The backward half of `backprop`, with one of its factors replaced."""
    dC_dy_hat = of.chain.dC_dy_hat
    by_hand: list[Tensor] = []
    for layer, link in zip(reversed(of.module.layers), reversed(of.chain.layers), strict=True):
        delta = dC_dy_hat * sigma_prime(link)
        by_weight = weight_gradient(link, delta)
        by_hand[:0] = [by_weight, delta.sum(0)]
        if layer is not of.module.layers[0]:
            dC_dy_hat = delta @ weight(layer, by_weight)
    return dict(zip(of.chain.gradients, by_hand, strict=True))


def _times(factor: float, gradients: Gradients) -> Gradients:
    return {name: factor * gradient for name, gradient in gradients.items()}


def _without_sigma_prime(of: Situation) -> Gradients:
    return _walk(of, sigma_prime=lambda link: torch.ones_like(link.y_hat))


def _sigma_twice(of: Situation) -> Gradients:
    return _walk(of, sigma_prime=lambda link: sigmoid_prime(sigmoid(link.y_hat)))


def _without_x(of: Situation) -> Gradients:
    return _walk(
        of,
        weight_gradient=lambda link, delta: delta.sum(0)[..., None].expand(
            *delta.shape[1:], link.dz_dw.shape[1]
        ),
    )


def _one_term_too_many(of: Situation) -> Gradients:
    n = len(of.x)
    once_more = [*range(n), n - 1]  # counted from 1, as samples are, index 0 − 1 is the last one
    sums = backprop(of.module, of.x[once_more], of.y[once_more], cost=of.cost)
    return _times((n + 1) / n, sums.gradients)


def _updated_weights(of: Situation) -> Gradients:
    if len(of.module.layers) == 1:
        raise ValueError(
            "the mistake updated-weights needs a hidden layer, whose δ sees weights that were "
            "updated too early; give the network one, as --layers 2"
        )
    return _walk(of, weight=lambda layer, by_weight: layer.weight - of.learning_rate * by_weight)


MISTAKES: dict[MistakeName, Mistake] = {
    "without-sigma-prime": Mistake("the factor σ′(z) is left out: δ = ∂C/∂ŷ", _without_sigma_prime),
    "sigma-twice": Mistake("σ′ is taken of the output instead of z: σ(ŷ)(1 − σ(ŷ))", _sigma_twice),
    "without-x": Mistake("the factor ∂z/∂w = x is left out: ∂C/∂w = Σ δ", _without_x),
    "wrong-sign": Mistake(
        "the sign is wrong, as with ŷ = 1/(1 + e^{z}): the step goes uphill",
        lambda of: _times(-1, of.chain.gradients),
    ),
    "without-1/N": Mistake(
        "the 1/N of the cost is left out: N times too large",
        lambda of: _times(len(of.x), of.chain.gradients),
    ),
    "one-term-too-many": Mistake(
        "the sum has N + 1 terms, i = 0 … N, and is divided by N", _one_term_too_many
    ),
    "updated-weights": Mistake(
        "each layer is updated before the δ of the layer below is computed", _updated_weights
    ),
}
