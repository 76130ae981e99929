"""Functions with a right backward pass by hand: what the mistakes of corpus.py are planted in.

A formula for the gradients takes (g, *inputs, output), g the upstream gradient, and returns one
gradient for each input. It is made of differentiable operations on saved tensors, so that second
derivatives are right as well. Notation as in bp_torch: z pre-activation, ŷ output, y target, C
cost, N number of samples, δ = ∂C/∂z.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Function = Callable[..., Tensor]
Formula = Callable[..., Tensor | tuple[Tensor, ...]]
Inputs = Callable[[torch.Generator], tuple[Tensor, ...]]


def hand_written(forward: Function, backward: Formula) -> Function:
    """`forward` with the gradients (g, *inputs, output) → `backward`, as autograd sees it."""

    class HandWritten(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(*inputs: Tensor) -> Tensor:
            return forward(*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs, output)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor | tuple[Tensor, ...]:
            return backward(g, *ctx.saved_tensors)

    return HandWritten.apply


@dataclass(frozen=True)
class Base:
    """A function, its gradients by hand, and inputs to try them on."""

    family: str
    names: tuple[str, ...]
    reference: Function  # in plain torch operations, for autograd
    backward: Formula
    inputs: Inputs
    own_forward: Function | None = None  # of the hand-written version; None: as the reference

    @property
    def forward(self) -> Function:
        return self.own_forward or self.reference

    @cached_property
    def right(self) -> Function:
        return hand_written(self.forward, self.backward)


# Inputs: float64, small, in an order that means nothing.


def evenly(generator: torch.Generator, limit: float, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [−limit, limit], evenly spread but for some jitter, none of them near 0."""
    count = torch.Size(shape).numel()
    values = torch.linspace(-limit, limit, count, dtype=torch.float64) * 0.99
    values += 0.01 * limit / count * torch.rand(count, dtype=torch.float64, generator=generator)
    return values[torch.randperm(count, generator=generator)].reshape(shape)


def spread(limit: float) -> Inputs:
    return lambda generator: (evenly(generator, limit, (6, 8)),)


def normal(*shapes: tuple[int, ...]) -> Inputs:
    def inputs(generator: torch.Generator) -> tuple[Tensor, ...]:
        return tuple(torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes)

    return inputs


# Elementwise.

sigmoid = Base(
    "elementwise", ("z",), torch.sigmoid, lambda g, z, y_hat: g * (1 - y_hat) * y_hat, spread(12)
)
# The missing minus sign: 1/(1 + e^{z}) = 1 − σ(z) = σ(−z). Its derivative by the two sigmoids and
# not by ŷ(1 − ŷ), as autograd loses no digits here either.
flipped_sigmoid = Base(
    "elementwise",
    ("z",),
    lambda z: 1 / (1 + torch.exp(z)),
    lambda g, z, y_hat: -g * y_hat * torch.sigmoid(z),
    spread(3),
)
tanh = Base(
    "elementwise", ("z",), torch.tanh, lambda g, z, y_hat: g * (1 - y_hat) * (1 + y_hat), spread(5)
)
softplus = Base(
    "elementwise",
    ("z",),
    lambda z: -functional.logsigmoid(-z),  # torch's own softplus is cut off at z = 20
    lambda g, z, y_hat: g * torch.sigmoid(z),
    spread(12),
)
square = Base("elementwise", ("x",), lambda x: x * x, lambda g, x, x2: 2 * g * x, spread(5))
product = Base(
    "elementwise",
    ("x", "y"),
    lambda x, y: x * y,
    lambda g, x, y, xy: (g * y, g * x),
    normal((6, 8), (6, 8)),
)
leaky_relu = Base(
    "elementwise",
    ("z",),
    lambda z: functional.leaky_relu(z, 0.1),
    lambda g, z, y_hat: torch.where(z > 0, g, 0.1 * g),
    spread(12),
)


def swish_backward(g: Tensor, z: Tensor, y_hat: Tensor) -> Tensor:
    gate = torch.sigmoid(z)
    return g * (gate + z * gate * (1 - gate))


swish = Base("elementwise", ("z",), lambda z: z * torch.sigmoid(z), swish_backward, spread(12))


# A neuron, a layer and a network of sigmoids: δ first, then what follows from it.


def neuron_forward(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return torch.sigmoid(x @ w + b)


def through_neuron(delta: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return delta[:, None] * w, delta @ x, delta.sum()


def neuron_backward(
    g: Tensor, x: Tensor, w: Tensor, b: Tensor, y_hat: Tensor
) -> tuple[Tensor, ...]:
    return through_neuron(g * (1 - y_hat) * y_hat, x, w)


NEURON = ("x", "weight", "bias")
neuron = Base("neuron", NEURON, neuron_forward, neuron_backward, normal((10, 4), (4,), ()))
flipped_neuron = Base(
    "neuron",
    NEURON,
    lambda x, w, b: 1 / (1 + torch.exp(x @ w + b)),
    lambda g, x, w, b, y_hat: through_neuron(-g * y_hat * torch.sigmoid(x @ w + b), x, w),
    normal((10, 4), (4,), ()),
)


def layer_forward(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return torch.sigmoid(x @ w.mT + b)


def through_layer(delta: Tensor, x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return delta @ w, delta.mT @ x, delta.sum(0)


def layer_backward(g: Tensor, x: Tensor, w: Tensor, b: Tensor, y_hat: Tensor) -> tuple[Tensor, ...]:
    return through_layer(g * (1 - y_hat) * y_hat, x, w)


def residual_backward(
    g: Tensor, x: Tensor, w: Tensor, b: Tensor, y_hat: Tensor
) -> tuple[Tensor, ...]:
    dx, dw, db = layer_backward(g, x, w, b, layer_forward(x, w, b))
    return g + dx, dw, db


square_layer = normal((6, 6), (6, 6), (6,))  # as many samples as inputs as outputs
layer = Base("layer", NEURON, layer_forward, layer_backward, normal((10, 3), (4, 3), (4,)))
residual_layer = Base(
    "layer", NEURON, lambda x, w, b: x + layer_forward(x, w, b), residual_backward, square_layer
)


def network_forward(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    return layer_forward(layer_forward(x, w1, b1), w2, b2)


def network_backward(
    g: Tensor, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, y_hat: Tensor
) -> tuple[Tensor, ...]:
    hidden = layer_forward(x, w1, b1)
    dhidden, dw2, db2 = layer_backward(g, hidden, w2, b2, y_hat)
    return *layer_backward(dhidden, x, w1, b1, hidden), dw2, db2


def trained_network_forward(*inputs: Tensor) -> Tensor:
    *network_inputs, y = inputs
    return cost_forward(network_forward(*network_inputs), y)


def through_cost(network_formula: Formula) -> Formula:
    """The gradients of a network's quadratic cost, from those of the network."""

    def backward(g: Tensor, *inputs_and_cost: Tensor) -> tuple[Tensor, ...]:
        *inputs, y, _ = inputs_and_cost
        y_hat = network_forward(*inputs)
        dy_hat, dy = cost_backward(g, y_hat, y, None)
        return *network_formula(dy_hat, *inputs, y_hat), dy

    return backward


def network_inputs(generator: torch.Generator) -> tuple[Tensor, ...]:
    """Three inputs, three hidden units (so that W₁ is square) and three outputs."""
    return normal((8, 3), (3, 3), (3,), (3, 3), (3,))(generator)


def trained_network_inputs(generator: torch.Generator) -> tuple[Tensor, ...]:
    """Small output weights, that a step of learning changes, and targets near 0."""
    x, w1, b1, w2, b2 = network_inputs(generator)
    y = 0.1 * torch.rand(8, 3, dtype=torch.float64, generator=generator)
    return x, w1, b1, 0.1 * w2, b2.abs(), y


NETWORK = ("x", "weight_1", "bias_1", "weight_2", "bias_2")
network = Base("network", NETWORK, network_forward, network_backward, network_inputs)
trained_network = Base(
    "network",
    (*NETWORK, "y"),
    trained_network_forward,
    through_cost(network_backward),
    trained_network_inputs,
)


# Reductions.


def cost_forward(y_hat: Tensor, y: Tensor) -> Tensor:
    return ((y_hat - y) ** 2).sum() / (2 * len(y))


def cost_backward(g: Tensor, y_hat: Tensor, y: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:
    dy_hat = g * (y_hat - y) / len(y)
    return dy_hat, -dy_hat


def logsumexp_reference(x: Tensor) -> Tensor:
    """Not torch.logsumexp: its gradient e^{x − logsumexp(x)} loses digits where x is large."""
    largest = x.amax(-1, keepdim=True).detach()
    return (x - largest).exp().sum(-1).log() + largest.squeeze(-1)


def softmax_backward(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return y * (g - (g * y).sum(-1, keepdim=True))


quadratic_cost = Base(
    "reduction", ("y_hat", "y"), cost_forward, cost_backward, normal((10, 3), (10, 3))
)
softmax = Base(
    "reduction", ("x",), lambda x: torch.softmax(x, -1), softmax_backward, normal((7, 7))
)
log_softmax = Base(
    "reduction",
    ("x",),
    lambda x: torch.log_softmax(x, -1),
    lambda g, x, y: g - torch.exp(y) * g.sum(-1, keepdim=True),
    normal((6, 8)),
)
logsumexp = Base(
    "reduction",
    ("x",),
    logsumexp_reference,
    lambda g, x, y: g[..., None] * torch.softmax(x, -1),
    normal((6, 8)),
    own_forward=lambda x: torch.logsumexp(x, -1),
)
mean = Base(
    "reduction",
    ("x",),
    torch.mean,
    lambda g, x, y: (g / x.numel()).expand_as(x),
    lambda generator: tuple(1 + x for x in normal((6, 8))(generator)),
)
sum_of_squares = Base(
    "reduction",
    ("x",),
    lambda x: (x * x).sum(-1),
    lambda g, x, y: 2 * g[..., None] * x,
    normal((6, 8)),
)
centring = Base(
    "reduction",
    ("x",),
    lambda x: x - x.mean(-1, keepdim=True),
    lambda g, x, y: g - g.mean(-1, keepdim=True),
    normal((6, 8)),
)
