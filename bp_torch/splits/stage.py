"""Where it is tried: the module and its samples in float64, or as they are, and the truth there."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from bp_torch.judge.passes import Refused, note
from bp_torch.splits.batch import Batch
from bp_torch.splits.borrowing import borrowed
from bp_torch.splits.cuts import uneven
from bp_torch.splits.gradients import Gradients, Subject, in_parts, wide
from bp_torch.splits.rounding import (
    FACTORS,
    MOVE,
    PEER,
    Tolerances,
    errors,
    follows,
    largest,
    moved,
    tolerances,
)

RANDOM = 2e-6
"""Two runs that differ by a larger share of the largest entry are random; what adds up in another
order each time, as some kernels do, differs by less."""


@dataclass(eq=False)
class Stage:
    """The module as it is lent out."""

    subject: Subject
    batch: Batch
    wide: bool
    everything: bool = False
    """Whether whatever reaches torch is made float64: the code says float32 somewhere."""
    move: float = 0.0
    """By what share of themselves the parameters are moved."""
    _limits: dict[torch.dtype, Tolerances] = field(default_factory=dict)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Lent for as long."""
        modules = [m for m in (self.subject.module, self.subject.cost) if isinstance(m, nn.Module)]
        with (
            borrowed(modules, wide=self.wide, everything=self.everything),
            moved(self.subject, self.move) if self.move else nullcontext(),
        ):
            yield

    @property
    def nearby(self) -> "Stage":
        """The same a little to the side, which float64 sees and float32 does not."""
        generator = torch.Generator().manual_seed(1)

        def aside(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            move = 2 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 1
            return tensor * (1 + MOVE * move.to(tensor))

        return Stage(
            self.subject, self.batch.each(aside), self.wide, everything=self.everything, move=MOVE
        )

    @cached_property
    def dtypes(self) -> list[torch.dtype]:
        """Whose digits a right gradient may have here, the finest first. Something or other in
        float64 is often cast to float32; what has fewer digits is recognised by that."""
        if not self.wide:
            own = [parameter.dtype for parameter in self.subject.parameters.values()]
            return [max(own, key=lambda dtype: torch.finfo(dtype).eps)]
        if follows(self.nearby.truth, self.truth):
            return [torch.float64, torch.float32]
        return list(FACTORS)

    @property
    def is_float64(self) -> bool:
        """Whether there is nothing to widen."""
        tensors: list[Tensor] = [*self.subject.module.parameters()]
        self.batch.each(lambda tensor: tensors.append(tensor) or tensor)  # type: ignore[func-returns-value]
        return all(t.dtype == torch.float64 for t in tensors if t.is_floating_point())

    @cached_property
    def truth(self) -> Gradients:
        """Of the whole batch."""
        with self.entered():
            return wide(self.subject.gradient(self.batch))

    @cached_property
    def size(self) -> Gradients:
        """Σ|gₖ|, at least that of the whole."""
        size = Gradients()
        with self.entered(), suppress(Refused):  # as BatchNorm does a single sample
            _, size = in_parts(self.subject, self.batch, uneven(len(self.batch), 4))
        found = {n: g.abs() for n, g in self.truth.items()}
        for name, gradient in wide(size).items():
            if gradient.isfinite().all():
                found[name] = torch.maximum(found.get(name, gradient), gradient)
        return found

    def limits(self, dtype: torch.dtype) -> Tolerances:
        """What rounding in that dtype can do here."""
        if dtype not in self._limits:
            with self.entered():
                self._limits[dtype] = tolerances(
                    self.subject, self.batch, self.truth, self.size, dtype
                )
        return self._limits[dtype]

    def varies(self) -> bool:
        """Whether a second run gives another gradient."""
        with self.entered():
            self.subject.gradient(self.batch)
            again = wide(self.subject.gradient(self.batch))
        return any(
            error > RANDOM * largest(self.truth.get(name))
            for name, error in errors(again, self.truth).items()
        )


def own_stage(subject: Subject, batch: Batch) -> Stage:
    """Module and samples as they are; raises what they raise."""
    stage = Stage(subject, batch, wide=False)
    try:
        _ = stage.truth
    except Refused as refusal:
        note(refusal.error, "raised by the module or the cost on the whole batch")
        raise refusal.error from None
    return stage


def wide_stage(subject: Subject, batch: Batch) -> Stage | None:
    """The same in float64; None where the code cannot be run in it."""
    for everything in (False, True):
        stage = Stage(subject, batch.wide(), wide=True, everything=everything)
        try:
            if all(gradient.isfinite().all() for gradient in stage.truth.values()):
                return stage
        except Refused:
            continue
    return None


def within(own: Stage, truth: Gradients, limits: Tolerances) -> Tolerances:
    """With room for what the whole batch is off by in the same dtype."""
    peer = errors(own.truth, truth)
    return {name: limit + PEER * peer.get(name, 0.0) for name, limit in limits.items()}
