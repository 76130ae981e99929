"""Gradient descent: w ← w − ν ∂C/∂w, one mini-batch after another."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bp_torch.dtypes import WIDE
from bp_torch.fused import sgd_epoch
from bp_torch.neuron import Model
from bp_torch.training.data import Samples
from bp_torch.training.gradients import (
    GRADIENTS,
    CostAndGradients,
    GradientName,
    NamedGradients,
    gradient_with,
    require_one_neuron,
    weighted,
)

Schedule = Literal["constant", "linear", "cosine"]

NUMBERS_PER_BLOCK = 2**22
"""Of features that are shuffled together: larger data are read block by block, in a random order of
blocks, so that a disk is read in long stretches. Every block is a cross-section of the table."""


class DivergedError(ArithmeticError):
    """The cost or a weight stopped being finite; the message says at which step."""

    def __init__(self, what: str, step: int, learning_rate: float) -> None:
        super().__init__(
            f"{what} stopped being finite at step {step} and nothing was saved; "
            f"try a smaller learning rate than {learning_rate:g}, or a wider dtype"
        )


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a gradient becomes a step."""

    learning_rate: float
    """ν, of the first epoch."""
    momentum: float = 0.0
    """μ in v ← μv + ∂C/∂w, w ← w − νv (torch.optim.SGD)."""
    l2: float = 0.0
    """λ in C + λ/2 Σw², over weights and not biases."""
    l1: float = 0.0
    """λ in C + λ Σ|w|: after each step |w| ← max(|w| − νλ, 0), which makes weights 0 (the proximal
    step; Parikh & Boyd 2014, "Proximal Algorithms", §6.5.2)."""
    schedule: Schedule = "constant"
    """Of ν over the epochs: constant, linear to a hundredth, or along a cosine to 0."""

    @property
    def is_plain(self) -> bool:
        """w ← w − ν ∂C/∂w and nothing else."""
        return not (self.momentum or self.l2 or self.l1)

    def rate(self, done: float) -> float:
        """ν where that share of the epochs is done."""
        shares = {
            "constant": 1.0,
            "linear": 1 - 0.99 * done,
            "cosine": (1 + math.cos(math.pi * done)) / 2,
        }
        return self.learning_rate * shares[self.schedule]


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
class Stretch:
    """Updates have been made that nobody wanted to see."""

    steps: int
    """So far, all together."""
    ends_epoch: bool = False


def descend(
    module: Model,
    samples: Samples,
    *,
    cost: str,
    gradient: GradientName,
    mistake: str | None = None,
    epochs: int,
    batch_size: int,
    rule: Rule,
    generator: torch.Generator,
    next_seen: Callable[[int], int] = lambda step: step,
) -> Iterator[Update | Stretch]:
    """Train `module` in place; yields updates before they are made, to be looked at.

        w ← w − ν ∂C/∂w

    One neuron with the fused gradient makes all the steps that nobody wants to see in one call,
    which is some thirty times faster than a call for each.

    Args:
        samples: all that there are to learn from, in the module's dtype and on its device.
        gradient: the way to ∂C/∂w.
        mistake: one to make in every gradient, on purpose; `gradient` is not asked then.
        batch_size: samples per step, in a new random order every epoch; 0: all of them.
        rule: how a gradient becomes a step.
        generator: on the CPU, so that the order is the same on every device.
        next_seen: the first step from a given one on that is to be yielded.

    Raises:
        DivergedError: a batch's cost is not finite; that update is not made.
    """
    gradient_of = _gradient_of(gradient, mistake, rule.learning_rate, samples)
    batch_size = min(batch_size or len(samples), len(samples))
    walks = gradient == "fused" and mistake is None
    take = _Steps(module, rule)
    step = 0
    for epoch in range(epochs):
        take.rate = rate = rule.rate(epoch / epochs)
        for order in _orders(len(samples), samples.x.shape[1], batch_size, generator):
            done, size = 0, len(samples) if order is None else len(order)
            while done < size:
                unseen = min(next_seen(step) - step, math.ceil((size - done) / batch_size))
                if walks and unseen > 0:
                    until = min(done + unseen * batch_size, size)
                    rows = None if order is None else order[done:until]
                    if take.walk(samples, rows, cost, batch_size):
                        done, step = until, step + unseen
                        yield Stretch(step)
                        continue
                    walks = False  # it diverges: step by step it is seen where
                batch = samples if order is None else samples.at(order[done : done + batch_size])
                done = min(done + batch_size, size)
                if batch.weight is not None and not batch.weight.any():
                    step += 1  # nobody counts in it
                    continue
                value, gradients = gradient_of(module, batch, cost)
                if not math.isfinite(batch_cost := value.item()):
                    raise DivergedError("the cost", step, rule.learning_rate)
                yield Update(
                    step, epoch, batch.x, batch.y, batch.weight, batch_cost, gradients, rate
                )
                take(gradients)
                step += 1
        yield Stretch(step, ends_epoch=True)


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


class _Steps:
    """Makes the steps that a rule asks for, one by one or in long stretches.

    v ← μv + ∂C/∂w + λ₂w ,   w ← w − νv ,   |w| ← max(|w| − νλ₁, 0)
    """

    def __init__(self, module: Model, rule: Rule) -> None:
        self._module, self._rule = module, rule
        self._parameters = dict(module.named_parameters())
        self.rate = rule.learning_rate
        # Of one neuron in one piece, for the fused epoch: of the weights, and then of the bias.
        wide = WIDE[module.layers[-1].bias.dtype]
        sizes = [parameter.numel() for parameter in self._parameters.values()]
        self._velocity = module.layers[-1].bias.new_zeros(sum(sizes), dtype=wide)
        pieces = zip(self._parameters.items(), self._velocity.split(sizes), strict=True)
        self._pieces = {name: piece.view(p.shape) for (name, p), piece in pieces}

    @torch.no_grad()
    def __call__(self, gradients: NamedGradients) -> None:
        """One step."""
        rule, rate = self._rule, self.rate
        for name, parameter in self._parameters.items():
            if rule.is_plain:
                parameter.sub_(rate * gradients[name])
                continue
            v, is_weight = self._pieces[name], name.endswith("weight")
            v.mul_(rule.momentum).add_(gradients[name])
            if is_weight:
                v.add_(parameter, alpha=rule.l2)
            parameter.sub_((rate * v).to(parameter))
            if is_weight and rule.l1:
                parameter.copy_(parameter.sign() * (parameter.abs() - rate * rule.l1).clamp(min=0))

    def walk(self, samples: Samples, rows: Tensor | None, cost: str, batch_size: int) -> bool:
        """All steps of one neuron over those rows in one call; whether all is finite still. Where
        it is not nothing is changed."""
        neuron, rule = require_one_neuron(self._module), self._rule
        if rows is not None:
            rows = rows.to(samples.x.device)
            if samples.weight is not None and not samples.weight[rows].any():
                return True  # nobody counts in them
        changed = [*neuron.parameters(), self._velocity]
        before = [each.detach().clone() for each in changed]
        with torch.no_grad():
            mean_cost = sgd_epoch(
                samples.x,
                samples.y,
                neuron.weight,
                neuron.bias,
                self.rate,
                batch_size,
                rows,
                cost,
                sample_weight=samples.weight,
                momentum=rule.momentum,
                l2=rule.l2,
                l1=rule.l1,
                velocity=None if rule.is_plain else self._velocity,
            )
            if math.isfinite(mean_cost) and all(p.isfinite().all() for p in neuron.parameters()):
                return True
            for each, old in zip(changed, before, strict=True):
                each.copy_(old)
        return False


def _orders(
    samples: int, features: int, batch_size: int, generator: torch.Generator
) -> Iterator[Tensor | None]:
    """The samples' indices in the order of an epoch, block by block; None: all in one batch, where
    the order does not matter."""
    if batch_size >= samples:
        yield None
        return
    rows = max(1, NUMBERS_PER_BLOCK // features // batch_size) * batch_size
    blocks = -(-samples // rows)
    # The last block, which may be smaller, stays last: all batches but the last are whole.
    whole = torch.randperm(blocks - 1, generator=generator).tolist() if blocks > 1 else []
    for block in (*whole, blocks - 1):
        size = min(rows, samples - block * rows)
        yield block * rows + torch.randperm(size, generator=generator)
