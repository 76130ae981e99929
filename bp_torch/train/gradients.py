"""Three ways to one gradient: by the custom Function, by torch's own, by the chain rule."""

from collections.abc import Callable

import torch
from torch import Tensor

from bp_torch import formulas
from bp_torch.backprop import backprop
from bp_torch.modules import Model

Gradients = dict[str, Tensor]
CostAndGradients = tuple[Tensor, Gradients]


def manual(module: Model, x: Tensor, y: Tensor, cost: str) -> CostAndGradients:
    """Autograd's walk through the graph, with σ′ by hand in `SigmoidFunction.backward`."""
    return _differentiate(module, module(x), y, cost)


def autograd(module: Model, x: Tensor, y: Tensor, cost: str) -> CostAndGradients:
    """The peer: the same forward with torch.sigmoid, every derivative torch's own."""
    for layer in module.layers:
        x = torch.sigmoid(layer.pre_activation(x))
    return _differentiate(module, x, y, cost)


def chain(module: Model, x: Tensor, y: Tensor, cost: str) -> CostAndGradients:
    """The chain rule by hand from end to end, no autograd."""
    result = backprop(module, x, y, cost=cost)
    return result.cost, result.gradients


def _differentiate(module: Model, y_hat: Tensor, y: Tensor, cost: str) -> CostAndGradients:
    cost_of, _ = formulas.cost_and_prime(cost)
    value = cost_of(y_hat, y)
    parameters = dict(module.named_parameters())
    gradients = torch.autograd.grad(value, list(parameters.values()))
    return value.detach(), dict(zip(parameters, gradients, strict=True))


GRADIENTS: dict[str, Callable[[Model, Tensor, Tensor, str], CostAndGradients]] = {
    "manual": manual,
    "autograd": autograd,
    "chain": chain,
}
