"""Gradient descent: w ← w − ν ∂C/∂w, one mini-batch after another."""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.neuron import Model
from bp_torch.training.gradients import GRADIENTS, GradientName, NamedGradients, gradient_with


class DivergedError(ArithmeticError):
    """The cost or a weight stopped being finite; the message says at which step."""

    def __init__(self, what: str, step: int, learning_rate: float) -> None:
        super().__init__(
            f"{what} stopped being finite at step {step} and nothing was saved; "
            f"try a smaller learning rate than {learning_rate:g}, or a wider dtype"
        )


@dataclass(frozen=True, eq=False)
class Update:
    """One update of the weights: its gradients are known, and it has not been made yet."""

    step: int
    epoch: int
    x: Tensor
    y: Tensor
    cost: float
    gradients: NamedGradients


def descend(
    module: Model,
    x: Tensor,
    y: Tensor,
    *,
    cost: str,
    gradient: GradientName,
    mistake: str | None = None,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
) -> Iterator[Update]:
    """Train `module` in place; yields each update before it is made, to be looked at.

        w ← w − ν ∂C/∂w

    Args:
        x, y: all training samples, in the module's dtype and on its device.
        gradient: the way to ∂C/∂w.
        mistake: one to make in every gradient, on purpose; `gradient` is not asked then.
        batch_size: samples per step, in a new random order every epoch; 0: all of them.
        learning_rate: ν.
        generator: on the CPU, so that the order is the same on every device.

    Raises:
        DivergedError: a batch's cost is not finite; that update is not made.
    """
    gradient_of = GRADIENTS[gradient]
    if mistake is not None:
        gradient_of = functools.partial(gradient_with, mistake, learning_rate)
    parameters = dict(module.named_parameters())
    step = 0
    for epoch in range(epochs):
        for x_batch, y_batch in _batches(x, y, batch_size, generator):
            value, gradients = gradient_of(module, x_batch, y_batch, cost)
            if not math.isfinite(batch_cost := value.item()):
                raise DivergedError("the cost", step, learning_rate)
            yield Update(step, epoch, x_batch, y_batch, batch_cost, gradients)
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.sub_(learning_rate * gradients[name])
            step += 1


def require_finite_weights(module: Model, step: int, learning_rate: float) -> None:
    """Raise DivergedError where the last update, which no cost has been seen of, went too far."""
    for name, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise DivergedError(f"the parameter {name}", step, learning_rate)


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """⌈N/batch⌉; the last batch of an epoch may be smaller."""
    return math.ceil(samples / (batch_size or samples))


def _batches(
    x: Tensor, y: Tensor, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    if batch_size == 0 or batch_size >= len(x):
        yield x, y  # The order within a batch does not matter.
        return
    order = torch.randperm(len(x), generator=generator).to(x.device)
    for chosen in torch.split(order, batch_size):
        yield x[chosen], y[chosen]
