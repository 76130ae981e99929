"""The package's own derivatives before five witnesses.

Each subject's gradient is taken by the chain rule by hand, by the custom Function, by autograd, by
central differences and, as the truth, with 50 digits of mpmath; and `compare` tries each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, as everybody calls it
from torch import Tensor

from bp_torch import fifty_digits
from bp_torch.chain_rule import backprop
from bp_torch.costs import COSTS, quadratic_cost
from bp_torch.forms import FORMS, Derivative, sigmoid
from bp_torch.judge import Report, compare
from bp_torch.neuron import Model, Network, Neuron

WITNESSES = ("chain rule", "Function", "autograd", "differences")

Gradients = list[Tensor]


@dataclass(frozen=True, eq=False)
class Testimony:
    """One subject: each witness's error against 50 digits, and what `compare` found."""

    subject: str
    errors: dict[str, float]
    """In rounding units of float64, relative to the largest entry of the gradient."""
    report: Report


def testimonies(*, compile: bool) -> list[Testimony]:
    """Both forms of the sigmoid, neuron, network and both costs, each before all witnesses.

    Args:
        compile: whether `compare` looks at torch.compile and torch.export as well.
    """
    generator = torch.Generator().manual_seed(0)
    found = [_sigmoid(form, generator, compile) for form in FORMS]
    for name, module in (
        ("neuron", Neuron(3, dtype=torch.float64, generator=generator)),
        ("network", Network([3, 4, 2], dtype=torch.float64, generator=generator)),
    ):
        found.append(_model(name, module, generator, compile))
    found += [_cost(name, generator, compile) for name in COSTS]
    return found


def _sigmoid(form: Derivative, generator: torch.Generator, compile: bool) -> Testimony:
    z = torch.randn(40, generator=generator, dtype=torch.float64) * 4 - 4

    def sigma(values: list[Any]) -> Any:
        return sum(map(fifty_digits.sigma, values))

    def by_function(t: Tensor) -> Tensor:
        return sigmoid(t, form)

    by_hand = FORMS[form]
    return _testimony(
        f"sigmoid, {form}",
        truth=fifty_digits.gradients(sigma, [z]),
        chain=[by_hand.prime(z, by_hand.sigmoid(z))],
        by_function=lambda t: by_function(t).sum(),
        by_autograd=lambda t: torch.sigmoid(t).sum(),
        tensors=[z],
        report=compare(by_function, torch.sigmoid, inputs=(z.float(),), order=2, compile=compile),
    )


def _model(name: str, module: Model, generator: torch.Generator, compile: bool) -> Testimony:
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    y = torch.rand(module(x).shape, generator=generator, dtype=torch.float64)
    parameters = {key: value.detach() for key, value in module.named_parameters()}

    def cost(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *values: quadratic_cost(forward(values), y)

    def own(values: tuple[Tensor, ...]) -> Tensor:
        state = dict(zip(parameters, values, strict=True))
        result: Tensor = torch.func.functional_call(module, state, (x,))
        return result

    def torchs(values: tuple[Tensor, ...]) -> Tensor:
        return _plain_forward(x, *values)

    return _testimony(
        name,
        truth=fifty_digits.gradients(
            fifty_digits.model_cost(x, y, list(parameters.values())), list(parameters.values())
        ),
        chain=list(backprop(module, x, y).gradients.values()),
        by_function=cost(own),
        by_autograd=cost(torchs),
        tensors=list(parameters.values()),
        report=compare(
            module.float(), _plain_forward, inputs=(x.float(),), order=2, compile=compile
        ),
    )


def _plain_forward(x: Tensor, *parameters: Tensor) -> Tensor:
    """The same layers in torch's own operations: weight and bias in turn."""
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        x = torch.sigmoid(x @ weight.movedim(-1, 0) + bias)
    return x


PEERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "quadratic": lambda a, t: F.mse_loss(a, t) / 2,
    "cross-entropy": F.binary_cross_entropy,
}
"""Each cost as torch has it."""


def _cost(name: str, generator: torch.Generator, compile: bool) -> Testimony:
    y_hat = torch.rand(12, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    y = torch.rand(12, generator=generator, dtype=torch.float64)
    cost, prime = COSTS[name]
    peer, of_one = PEERS[name], fifty_digits.COSTS_OF_ONE[name]

    def truth(values: list[Any]) -> Any:
        terms = [of_one(a, t) for a, t in zip(values, y.tolist(), strict=True)]
        return sum(terms) / len(terms)

    return _testimony(
        f"{name} cost",
        truth=fifty_digits.gradients(truth, [y_hat]),
        chain=[prime(y_hat, y)],
        by_function=lambda a: cost(a, y),
        by_autograd=lambda a: peer(a, y),
        tensors=[y_hat],
        report=compare(
            reference=lambda a: cost(a, y.to(a.dtype)),
            backward=lambda upstream, a: upstream * prime(a, y.to(a.dtype)),
            # In float64 alone: the bounds that keep the logarithm finite depend on the dtype.
            inputs=(y_hat,),
            order=2,
            compile=compile,
        ),
    )


def _testimony(
    subject: str,
    *,
    truth: Gradients,
    chain: Gradients,
    by_function: Callable[..., Tensor],
    by_autograd: Callable[..., Tensor],
    tensors: Gradients,
    report: Report,
) -> Testimony:
    witnesses = {
        "chain rule": chain,
        "Function": _gradients(by_function, tensors),
        "autograd": _gradients(by_autograd, tensors),
        "differences": _differences(by_autograd, tensors),
    }
    return Testimony(subject, {k: _error(v, truth) for k, v in witnesses.items()}, report)


def _gradients(cost: Callable[..., Tensor], tensors: Gradients) -> Gradients:
    arguments = [t.detach().requires_grad_() for t in tensors]
    return list(torch.autograd.grad(cost(*arguments), arguments))


def _differences(cost: Callable[..., Tensor], tensors: Gradients) -> Gradients:
    """[C(θ + h) − C(θ − h)] / 2h for each number θ."""
    h = 1e-5
    result = []
    for place, tensor in enumerate(tensors):
        gradient = torch.zeros_like(tensor)
        for element in range(tensor.numel()):
            step = torch.zeros_like(tensor)
            step.view(-1)[element] = h
            plus, minus = (
                cost(*(t + s * step if p == place else t for p, t in enumerate(tensors)))
                for s in (1, -1)
            )
            gradient.view(-1)[element] = (plus - minus) / (2 * h)
        result.append(gradient)
    return result


def _error(gradients: Gradients, truth: Gradients) -> float:
    eps = torch.finfo(torch.float64).eps
    return max(
        ((g - t).abs().max() / t.abs().max() / eps).item()
        for g, t in zip(gradients, truth, strict=True)
    )
