"""Gradient descent: w ← w − ν ∂C/∂w, one mini-batch after another."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from bp_torch.neuron import Model
from bp_torch.training.data import Samples
from bp_torch.training.gradients import (
    GRADIENTS,
    CostAndGradients,
    GradientName,
    NamedGradients,
    gradient_with,
    weighted,
)
from bp_torch.training.order import Order
from bp_torch.training.steps import Steps


class DivergedError(ArithmeticError):
    """The cost or a weight stopped being finite; the message says at which step."""

    def __init__(self, what: str, step: int, learning_rate: float) -> None:
        super().__init__(
            f"{what} stopped being finite at step {step} and nothing was saved; "
            f"try a smaller learning rate than {learning_rate:g}, or a wider dtype"
        )


@dataclass(frozen=True)
class Position:
    """Where a descent stands between two steps; with the weights and their velocities, all that
    its future depends on."""

    epoch: int = 0
    block: int = 0
    """Of the epoch, in the order in which they are walked."""
    batch: int = 0
    """Of the block, the next one."""
    steps: int = 0
    """Made so far."""
    in_stretches: bool = True
    """Whether steps that nobody wants to see are made in one call."""


@dataclass(frozen=True, eq=False)
class Update:
    """One update of the weights: its gradients are known, and it has not been made yet."""

    step: int
    epoch: int
    x: Tensor
    y: Tensor
    weight: Tensor | None
    """How much each sample counts; None: all alike."""
    cost: float
    gradients: NamedGradients
    learning_rate: float


@dataclass(frozen=True)
class Made:
    """Updates have been made, and none is pending: here a descent can be left, and taken up."""

    position: Position
    ends_epoch: bool = False


def descend(
    module: Model,
    samples: Samples,
    steps: Steps,
    *,
    cost: str,
    gradient: GradientName,
    mistake: str | None = None,
    epochs: int,
    batch_size: int,
    seed: int,
    start: Position = Position(),
    next_seen: Callable[[int], int] = lambda step: step,
) -> Iterator[Update | Made]:
    """Train `module` in place; yields updates before they are made, to be looked at.

    Those of one neuron with the fused gradient are made in stretches that nobody wants to see,
    which is some thirty times faster than a call for each.

    Args:
        samples: all that there are to learn from, in the module's dtype and on its device.
        steps: what makes a step of a gradient.
        gradient: the way to ∂C/∂w.
        mistake: one to make in every gradient, on purpose; `gradient` is not asked then.
        batch_size: samples per step, in a new random order every epoch; 0: all of them.
        seed: of that order.
        start: where another descent was left, whose weights and velocities these are.
        next_seen: the first step from a given one on that is to be yielded.

    Raises:
        DivergedError: a batch's cost is not finite; that update is not made.
    """
    rule = steps.rule
    gradient_of = _gradient_of(gradient, mistake, rule.learning_rate, samples)
    batch_size = min(batch_size or len(samples), len(samples))
    order = Order(len(samples), samples.x.shape[1], batch_size, seed, (batch_size,))
    fused = gradient == "fused" and mistake is None
    at = start
    while at.epoch < epochs:
        steps.rate = rate = rule.rate(at.epoch / epochs)
        for block in order.blocks(at.epoch)[at.block :]:
            drawn = None if order.is_one_batch else order.block(at.epoch, block, range(1))
            batches = order.batches(block)
            while at.batch < batches:
                unseen = min(next_seen(at.steps) - at.steps, batches - at.batch)
                if fused and at.in_stretches and unseen > 0:
                    rows = None if drawn is None else drawn.rows(at.batch, at.batch + unseen)
                    if steps.walk(samples, rows, cost, batch_size):
                        at = replace(at, batch=at.batch + unseen, steps=at.steps + unseen)
                        yield Made(at)
                        continue
                    # It diverges: step by step it is seen where.
                    at = replace(at, in_stretches=False)
                batch = samples
                if drawn is not None:
                    batch = samples.at(drawn.rows(at.batch, at.batch + 1))
                if batch.weight is None or batch.weight.any():  # else nobody counts in it
                    value, gradients = gradient_of(module, batch, cost)
                    if not math.isfinite(batch_cost := value.item()):
                        raise DivergedError("the cost", at.steps, rule.learning_rate)
                    yield Update(
                        at.steps,
                        at.epoch,
                        batch.x,
                        batch.y,
                        batch.weight,
                        batch_cost,
                        gradients,
                        rate,
                    )
                    steps(gradients)
                at = replace(at, batch=at.batch + 1, steps=at.steps + 1)
                yield Made(at)
            at = replace(at, block=at.block + 1, batch=0)
        at = replace(at, epoch=at.epoch + 1, block=0)
        yield Made(at, ends_epoch=True)


def require_finite_weights(module: Model, step: int, learning_rate: float) -> None:
    """Raise DivergedError where the last update, which no cost has been seen of, went too far."""
    for name, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise DivergedError(f"the parameter {name}", step, learning_rate)


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """⌈N/batch⌉; the last batch of an epoch may be smaller."""
    return math.ceil(samples / (batch_size or samples))


def _gradient_of(
    gradient: GradientName, mistake: str | None, learning_rate: float, samples: Samples
) -> Callable[[Model, Samples, str], CostAndGradients]:
    if mistake is not None:
        return lambda module, batch, cost: gradient_with(
            mistake, learning_rate, module, batch.x, batch.y, cost
        )
    if samples.weight is not None:
        return lambda module, batch, cost: weighted(module, batch.x, batch.y, cost, batch.weight)
    return lambda module, batch, cost: GRADIENTS[gradient](module, batch.x, batch.y, cost)
