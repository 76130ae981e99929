"""Whether a way of the user's gives the whole batch's gradient, and if not, what is known of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

import torch

from bp_torch.judge.passes import seed_torch
from bp_torch.judge.undisturbed import undisturbed
from bp_torch.splits.diagnosis import hidden
from bp_torch.splits.failed import Failed
from bp_torch.splits.gradients import Gradients, combined
from bp_torch.splits.independence import Kind, parts_of
from bp_torch.splits.report import SplitRow, Way
from bp_torch.splits.rounding import FACTORS, Tolerances, errors, follows, largest, units_of, worst
from bp_torch.splits.split import Split, Tried
from bp_torch.splits.stage import RANDOM, Stage

RANDOM_WAY = (
    "it draws random numbers, or switches dropout on, and nothing can be told of it; draw none, or "
    "set the seed in it"
)


class Standing(Enum):
    """What is known of one that was tried."""

    RIGHT = auto()
    WRONG = auto()
    UNCLEAR = auto()
    """Its digits are too few to tell."""
    COUPLED = auto()
    """Put together rightly, of parts that do not make up the whole."""


@dataclass(frozen=True, eq=False)
class Finding:
    """One way with one cut, judged."""

    standing: Standing
    row: SplitRow
    failed: Failed | None = None
    note: str = ""
    unseen: str = ""
    """A mistake that would look right here as well."""


@dataclass(eq=False)
class Bench:
    """What it is held against."""

    stage: Stage
    kind: Kind
    dtype: torch.dtype
    """Whose digits a right gradient has here."""
    limits: Tolerances
    """What rounding in it can do."""

    def split(self, tried: Tried) -> Split:
        """With the gradients of its parts, the samples' module being lent meanwhile."""
        stage = self.stage
        with stage.entered():
            parts = parts_of(self.kind, stage.subject, stage.batch, tried.cut, stage.truth)
        by_samples = self.kind is not Kind.WEIGHTED and _by_samples(parts.shares, tried)
        return Split(
            tried.unit,
            tried.cut,
            stage.subject,
            stage.batch,
            parts.gradients,
            parts.shares,
            by_samples,
        )

    def judge(self, tried: Tried, way: Way, again: Callable[[Stage], Tried | None]) -> Finding:
        """Its standing, with its row.

        Args:
            again: tries the same on another stage.
        """
        split, truth = self.split(tried), self.stage.truth
        row = row_of(tried, way, self.dtype, truth, self.limits)
        if row.ok:
            return Finding(Standing.RIGHT, row, unseen=self._unseen(split, self.limits))
        if self._varies(tried, again):
            row = replace(row, verdict="inconclusive")
            return Finding(
                Standing.UNCLEAR, row, note=f"two runs of {way.value} differ: {RANDOM_WAY}"
            )
        if all(count == 1 for count in tried.cut.counts(len(self.stage.batch))):
            ours = combined(split.shares, split.parts)
            if row_of(tried, way, self.dtype, ours, self.limits).ok:  # nobody's mistake
                return Finding(Standing.COUPLED, replace(row, verdict="inconclusive"))
            truth = ours if self.kind is Kind.COUPLED else truth
        failed = failure(tried, split, truth, self.limits)
        if self._has_a_name(failed):
            return Finding(Standing.WRONG, row, failed)
        for dtype in FACTORS:
            if torch.finfo(dtype).eps <= torch.finfo(self.dtype).eps:
                continue
            if dtype.itemsize < torch.float32.itemsize and self._has_all_digits(tried, again):
                return Finding(Standing.WRONG, row, failed)
            limits = self.stage.limits(dtype)
            coarse, failed = (
                row_of(tried, way, dtype, truth, limits),
                failure(tried, split, truth, limits),
            )
            if coarse.ok:
                return self._by_fewer_digits(coarse, way, split, limits)
            if self._has_a_name(failed):
                return Finding(Standing.WRONG, row, failed)
        note = f"{way.value} loses digits, and is off by more than they are worth"
        return Finding(Standing.UNCLEAR, replace(row, verdict="inconclusive"), note=note)

    def _by_fewer_digits(
        self, row: SplitRow, way: Way, split: Split, limits: Tolerances
    ) -> Finding:
        """What loses digits on its way, as a cast or autocast does, is judged by those it has."""
        if row.dtype == "float32":  # a factor such as n / N is often one
            return Finding(Standing.RIGHT, row, unseen=self._unseen(split, limits))
        said = f"{way.value} loses digits, as under autocast, and is judged by those of {row.dtype}"
        if unseen := self._unseen(split, limits):
            row = replace(row, verdict="inconclusive")
            return Finding(Standing.UNCLEAR, row, note=f"{said}, which hides: {unseen}")
        return Finding(Standing.RIGHT, row, note=said)

    def _varies(self, tried: Tried, again: Callable[[Stage], Tried | None]) -> bool:
        """Whether other random numbers give another gradient."""
        with undisturbed():
            seed_torch(1)
            other = again(self.stage)
        return other is not None and any(
            off > RANDOM * largest(one.get(name))
            for one, two in zip(tried.found, other.found, strict=True)
            for name, off in errors(two, one).items()
        )

    def _has_all_digits(self, tried: Tried, again: Callable[[Stage], Tried | None]) -> bool:
        nearby = again(self.stage.nearby) if self.dtype == torch.float64 else None
        return nearby is None or follows(nearby.found[0], tried.found[0])

    def _has_a_name(self, failed: Failed) -> bool:
        with self.stage.entered():
            return next(failed.hypotheses(), None) is not None

    def _unseen(self, split: Split, limits: Tolerances) -> str:
        with self.stage.entered():
            return hidden(split, self.stage.truth, limits)


def failure(tried: Tried, split: Split, truth: Gradients, limits: Tolerances) -> Failed:
    """With the names of the parameters that are wrong on any rank."""
    wrong = [
        name
        for name in split.subject.parameters
        if any(units_of(found, truth, limits).get(name, 0.0) > 1 for found in tried.found)
    ]
    return Failed(tried, split, truth, limits, wrong)


def row_of(
    tried: Tried, way: Way, dtype: torch.dtype, truth: Gradients, limits: Tolerances
) -> SplitRow:
    """The worst parameter on the worst rank."""
    found = max(tried.found, key=lambda each: worst(units_of(each, truth, limits)))
    units = units_of(found, truth, limits)
    off = errors(found, truth)
    name = max(units, key=units.__getitem__, default="")
    size = largest(truth.get(name))
    return SplitRow(
        way=way,
        parts=str(tried.cut),
        dtype=str(dtype).removeprefix("torch."),
        verdict="right" if worst(units) <= 1 else "wrong",
        error=worst(units),
        relative=off.get(name, 0.0) / size if size else off.get(name, 0.0),
        parameter=name,
    )


def _by_samples(shares: list[float], tried: Tried) -> bool:
    n = sum(tried.cut.sizes)
    return all(abs(c - s / n) < 1e-9 for c, s in zip(shares, tried.cut.sizes, strict=True))
