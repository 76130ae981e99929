"""Gradient descent: w ← w − ν ∂C/∂w, one mini-batch after another."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.neuron import Model
from bp_torch.training.gradients import GRADIENTS, Gradients


class DivergedError(ArithmeticError):
    """The cost or a weight stopped being finite; the message says at which step."""

    def __init__(self, what: str, step: int, learning_rate: float) -> None:
        super().__init__(
            f"{what} stopped being finite at step {step} and nothing was saved; "
            f"try a smaller learning rate than {learning_rate:g}, or a wider dtype"
        )


@dataclass(frozen=True, eq=False)
class Step:
    """One step of the descent, its gradients known and the weights not yet moved."""

    number: int
    epoch: int
    x: Tensor
    y: Tensor
    cost: float
    gradients: Gradients


def descend(
    module: Model,
    x: Tensor,
    y: Tensor,
    *,
    cost: str,
    gradient: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
) -> Iterator[Step]:
    """Train `module` in place; yields each step before it is taken, to be looked at.

        w ← w − ν ∂C/∂w

    Args:
        x, y: all training samples, in the module's dtype and on its device.
        gradient: the way to ∂C/∂w, a name in `GRADIENTS`.
        batch_size: samples per step, in a new random order every epoch; 0: all of them.
        learning_rate: ν.
        generator: on the CPU, so that the order is the same on every device.

    Raises:
        DivergedError: a batch's cost is not finite; that step is not taken.
    """
    gradient_of = GRADIENTS[gradient]
    parameters = dict(module.named_parameters())
    number = 0
    for epoch in range(epochs):
        for x_batch, y_batch in _batches(x, y, batch_size, generator):
            value, gradients = gradient_of(module, x_batch, y_batch, cost)
            if not math.isfinite(batch_cost := value.item()):
                raise DivergedError("the cost", number, learning_rate)
            yield Step(number, epoch, x_batch, y_batch, batch_cost, gradients)
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.sub_(learning_rate * gradients[name])
            number += 1


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
