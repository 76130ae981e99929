"""Whether a way of the user's gives the whole batch's gradient, and if not, what is known of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property

import torch

from bp_torch.splits.diagnosis import Failed, Tried, hidden
from bp_torch.splits.gradients import Gradients, combined
from bp_torch.splits.independence import Kind, parts_of
from bp_torch.splits.mistakes import Split
from bp_torch.splits.report import SplitRow, Way
from bp_torch.splits.rounding import FACTORS, Tolerances, errors, follows, largest, units_of, worst
from bp_torch.splits.stage import Stage


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
    limits: Tolerances

    @cached_property
    def coarser(self) -> list[tuple[torch.dtype, Tolerances]]:
        """What rounding can do in dtypes of fewer digits."""
        eps = torch.finfo(self.stage.dtype).eps
        return [(d, self.stage.limits(d)) for d in FACTORS if torch.finfo(d).eps > eps]

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
        truth, limits = self.stage.truth, self.limits
        row = row_of(tried, way, self.stage.dtype, truth, limits)
        split = self.split(tried)
        if row.ok:
            return Finding(Standing.RIGHT, row, unseen=self._not_told(split, limits))
        with self.stage.entered():
            if all(count == 1 for count in tried.cut.counts(len(self.stage.batch))):
                # Nobody's mistake, if ours gives the same.
                ours = combined(split.shares, split.parts)
                if row_of(tried, way, self.stage.dtype, ours, limits).ok:
                    return Finding(Standing.COUPLED, replace(row, verdict="inconclusive"))
                if self.kind is Kind.COUPLED:
                    truth = ours
            failed = failure(tried, split, truth, limits)
            if next(failed.hypotheses(), None) is not None:
                return Finding(Standing.WRONG, row, failed)
        nearby = again(self.stage.nearby) if self.stage.dtype == torch.float64 else None
        if nearby is None or follows(nearby.found[0], tried.found[0]):
            return Finding(Standing.WRONG, row, failed)
        return self._with_fewer_digits(tried, way, split, truth)

    def _with_fewer_digits(self, tried: Tried, way: Way, split: Split, truth: Gradients) -> Finding:
        """What casts to fewer digits on its way, as autocast does, is judged by those."""
        for dtype, limits in self.coarser:
            row = row_of(tried, way, dtype, truth, limits)
            name = str(dtype).removeprefix("torch.")
            if row.ok:
                said = f"{way.value} loses digits, as under autocast, and is judged by {name}'s"
                with self.stage.entered():
                    unseen = hidden(split, truth, limits)
                if not unseen:
                    return Finding(Standing.RIGHT, row, note=said)
                row = replace(row, verdict="inconclusive")
                return Finding(Standing.UNCLEAR, row, note=f"{said}, which hides: {unseen}")
            failed = failure(tried, split, truth, limits)
            with self.stage.entered():
                if next(failed.hypotheses(), None) is not None:
                    return Finding(Standing.WRONG, row, failed)
        note = (
            f"{way.value} computes in fewer digits than it is given, and is off by more than those"
        )
        return Finding(Standing.UNCLEAR, replace(row, verdict="inconclusive"), note=note)

    def _not_told(self, split: Split, limits: Tolerances) -> str:
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
