"""Four ways to one gradient: custom Function, torch's own, chain rule, and fused in one pass."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from bp_torch.chain_rule import backprop
from bp_torch.costs import COSTS
from bp_torch.fused import cost_and_gradients
from bp_torch.mistakes import gradients_with
from bp_torch.neuron import Model, Neuron

GradientName = Literal["manual", "autograd", "chain", "fused"]
GradientChoice = Literal["auto", GradientName]

NamedGradients = dict[str, Tensor]
"""∂C/∂θ of every parameter θ, by the module's own name for it."""

CostAndGradients = tuple[Tensor, NamedGradients]


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


def fused(module: Model, x: Tensor, y: Tensor, cost: str) -> CostAndGradients:
    """All in one pass over x; for one neuron, and always with the accurate form of σ′."""
    return weighted(module, x, y, cost, None)


def weighted(
    module: Model, x: Tensor, y: Tensor, cost: str, sample_weight: Tensor | None
) -> CostAndGradients:
    """`fused` where samples count differently: Σ sᵢ cᵢ / Σ sᵢ."""
    neuron = require_one_neuron(module)
    value, by_weight, by_bias = cost_and_gradients(
        x, y, neuron.weight, neuron.bias, cost, sample_weight=sample_weight
    )
    return value, {"weight": by_weight, "bias": by_bias}


def gradient_with(
    mistake: str, learning_rate: float, module: Model, x: Tensor, y: Tensor, cost: str
) -> CostAndGradients:
    """The chain rule by hand with a mistake in it."""
    return gradients_with(mistake, module, x, y, cost=cost, learning_rate=learning_rate)


def _differentiate(module: Model, y_hat: Tensor, y: Tensor, cost: str) -> CostAndGradients:
    value = COSTS[cost][0](y_hat, y)
    parameters = dict(module.named_parameters())
    gradients = torch.autograd.grad(value, list(parameters.values()))
    return value.detach(), dict(zip(parameters, gradients, strict=True))


GRADIENTS: dict[GradientName, Callable[[Model, Tensor, Tensor, str], CostAndGradients]] = {
    "manual": manual,
    "autograd": autograd,
    "chain": chain,
    "fused": fused,
}


def gradient_for(module: Model, name: GradientChoice) -> GradientName:
    """The gradient's name, where "auto" stands for the fastest: fused for one neuron, else manual.

    Raises ValueError for a network and "fused".
    """
    if name == "fused":
        require_one_neuron(module)
    if name == "auto":
        return "fused" if isinstance(module, Neuron) else "manual"
    return name


def require_one_neuron(
    module: Model,
    what: str = "gradient fused is",
    remedy: str = "choose manual or chain",
) -> Neuron:
    """The module; raises ValueError for a network, which the fused step does not know."""
    if not isinstance(module, Neuron):
        raise ValueError(f"{what} for one neuron, and this is a network; {remedy}")
    return module
