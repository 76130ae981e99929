"""What a comparison of splits came to: a frozen result, and text as a view of it."""

import textwrap
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

from bp_torch.judge.rows import Diagnosis

WIDTH = 80
Verdict: TypeAlias = Literal["right", "wrong", "inconclusive"]

SHOWN = 8
"""Wrong rows that the text shows; of those that are right it has the worst of each way."""


class Way(Enum):
    """Who put the gradient together."""

    MICRO = "micro-batches"
    ORDER = "another order"
    SIMULATED = "simulated ranks"
    REAL = "real ranks"
    ACCUMULATE = "accumulate"
    ON_RANK = "on_rank"


@dataclass(frozen=True)
class SplitRow:
    """One way of splitting, at the parameter that is worst."""

    way: Way
    parts: str
    """The sizes of the parts, as "4, 3, 2 and 1"."""
    dtype: str
    verdict: Verdict
    """"wrong" is the user's way, or sampler; what is nobody's mistake is "inconclusive"."""
    error: float
    """In units of what rounding can do: what is right is at most 1."""
    relative: float
    """The largest error as a share of the gradient's largest entry."""
    parameter: str
    mistake: str = ""
    """In a sentence, where it has one."""

    @property
    def ok(self) -> bool:
        """Whether it gives the whole batch's gradient."""
        return self.verdict == "right"

    @property
    def split(self) -> str:
        """ "simulated ranks: 5, 3 and 2"."""
        return f"{self.way.value}: {self.parts}"


@dataclass(frozen=True)
class SplitsReport:
    """The outcome of `compare_splits`."""

    verdict: Verdict
    reason: str = ""
    """Why it is inconclusive; else empty."""
    diagnosis: Diagnosis | None = None
    """The mistake, in a word for programs and in a sentence for people; None: there is none."""
    rows: tuple[SplitRow, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is not part of the verdict and will bite, such as a rank without samples."""
    findings: tuple[str, ...] = ()
    """What is worth knowing beside it."""
    truth: str = ""
    """What the gradients were held against."""
    not_covered: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every way of splitting has been found to give one gradient."""
        return self.verdict == "right"

    def __str__(self) -> str:
        said = self.diagnosis.sentence if self.diagnosis else self.reason
        lines = _wrap(f"{self.verdict}: {said or 'one gradient, however the samples are split'}")
        for warning in self.warnings:
            lines += _wrap(f"warning: {warning}")
        for finding in self.findings:
            lines += _wrap(f"note: {finding}")
        lines += ["", *_table(self.rows)] if self.rows else []
        if self.truth:
            lines += ["", *_wrap(f"truth: {self.truth}", 7)]
        if self.not_covered:
            lines += _wrap(f"not covered: {'; '.join(self.not_covered)}", 13)
        return "\n".join(lines)


def _table(rows: tuple[SplitRow, ...]) -> list[str]:
    """What is wrong, and of everything else the worst of each way."""
    failed = [row for row in rows if row.verdict == "wrong"]
    worst: dict[tuple[Way, str, Verdict], SplitRow] = {}
    for row in rows:
        key = row.way, row.dtype, row.verdict
        if row.verdict != "wrong" and row.error >= worst.get(key, row).error:
            worst[key] = row
    lines = [f"{'split':37}{'dtype':9}{'off by':>8}{'of rounding':>13}"]
    for row in (*failed[:SHOWN], *worst.values()):
        split = textwrap.shorten(row.split, 36, placeholder=" …")
        numbers = f"{row.relative:8.0e}{row.error:13.2g}"
        lines.append(f"{split:37}{row.dtype:9}{numbers}  {row.verdict}")
    if len(failed) > SHOWN:
        lines.append(f"… and {len(failed) - SHOWN} more")
    return lines


def _wrap(text: str, indent: int = 2) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent)
