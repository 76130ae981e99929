"""Gradient descent: w ← w − ν ∂C/∂w, one mini-batch after another."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from bp_torch.neuron import Model
from bp_torch.training.data import Samples
from bp_torch.training.gradients import NamedGradients
from bp_torch.training.sharing import Whole


class DivergedError(ArithmeticError):
    """The cost or a weight stopped being finite; the message says at which step."""

    def __init__(self, what: str, step: int, learning_rate: float) -> None:
        self._said = what, step, learning_rate
        super().__init__(
            f"{what} stopped being finite at step {step} and nothing was saved; "
            f"try a smaller learning rate than {learning_rate:g}, or a wider dtype"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return DivergedError, self._said  # from one process to another


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
    batch: Samples
    cost: float
    gradients: NamedGradients
    learning_rate: float


@dataclass(frozen=True)
class Made:
    """Updates have been made, and none is pending: here a descent can be left, and taken up."""

    position: Position
    ends_epoch: bool = False


def descend(
    sharing: Whole,
    *,
    epochs: int,
    start: Position = Position(),
    next_seen: Callable[[int], int] = lambda step: step,
) -> Iterator[Update | Made]:
    """Train a module in place; yields updates before they are made, to be looked at.

    Those of one neuron with the fused gradient are made in stretches that nobody wants to see,
    which is some thirty times faster than a call for each.

    Args:
        sharing: what is learnt from which samples, in which order, and by whom.
        epochs: passes over all samples.
        start: where another descent was left, whose weights and velocities these are.
        next_seen: the first step from a given one on that is to be yielded.

    Raises:
        DivergedError: a batch's cost is not finite; that update is not made.
    """
    order, steps = sharing.order, sharing.steps
    at = start
    while at.epoch < epochs:
        steps.rate = steps.rule.rate(at.epoch / epochs)
        for number in order.blocks(at.epoch)[at.block :]:
            block, batches = sharing.block(at.epoch, number), order.batches(number)
            while at.batch < batches:
                ahead = next_seen(at.steps) - at.steps
                unseen = int(min(ahead, batches - at.batch, sharing.most(at.steps)))
                if at.in_stretches and unseen > 0:
                    if sharing.stretch(block, at.batch, at.batch + unseen):
                        at = replace(at, batch=at.batch + unseen, steps=at.steps + unseen)
                        if sharing.settle(at.steps, ends_epoch=False):
                            yield Made(at)
                        continue
                    # It diverges: step by step it is seen where.
                    at = replace(at, in_stretches=False)
                batch, found = sharing.gradient(block, at.batch, seen=not ahead)
                if found is not None:
                    value, gradients = found
                    if not math.isfinite(cost := value.item()):
                        raise DivergedError("the cost", at.steps, steps.rule.learning_rate)
                    if not ahead:
                        yield Update(at.steps, at.epoch, batch, cost, gradients, steps.rate)
                    steps(gradients)
                at = replace(at, batch=at.batch + 1, steps=at.steps + 1)
                if sharing.settle(at.steps, ends_epoch=False):
                    yield Made(at)
            at = replace(at, block=at.block + 1, batch=0)
        at = replace(at, epoch=at.epoch + 1, block=0)
        sharing.settle(at.steps, ends_epoch=True)
        yield Made(at, ends_epoch=True)


def require_finite_weights(module: Model, step: int, learning_rate: float) -> None:
    """Raise DivergedError where the last update, which no cost has been seen of, went too far."""
    for name, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise DivergedError(f"the parameter {name}", step, learning_rate)


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """⌈N/batch⌉; the last batch of an epoch may be smaller."""
    return math.ceil(samples / (batch_size or samples))
