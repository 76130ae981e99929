"""What is asked, and what has come to light."""

from dataclasses import dataclass, field

from bp_torch.judge.rows import Diagnosis
from bp_torch.splits.batch import Batch
from bp_torch.splits.gradients import Subject
from bp_torch.splits.report import SplitRow, SplitsReport
from bp_torch.splits.ways import Accumulate, OnRank, Plan


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked."""

    subject: Subject
    batch: Batch
    plan: Plan
    accumulate: Accumulate | None
    on_rank: OnRank | None
    empty: bool
    timeout: float


@dataclass(eq=False)
class Record:
    """What has come to light so far."""

    rows: list[SplitRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    not_covered: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Why it is inconclusive."""
    mistakes: list[Diagnosis] = field(default_factory=list)
    refused: dict[str, set[str]] = field(default_factory=dict)
    """By the module's reason, the parts that it does not take."""

    def report(self, truth: str) -> SplitsReport:
        """The verdict: one mistake is enough, and one doubt without a mistake."""
        verdict = "wrong" if self.mistakes else "inconclusive" if self.reasons else "right"
        diagnosis = self.mistakes[0] if self.mistakes else None
        reason = "" if diagnosis or not self.reasons else self.reasons[0]
        others = [str(mistake) for mistake in self.mistakes[1:]]
        others += self.reasons if diagnosis else self.reasons[1:]
        return SplitsReport(
            verdict=verdict,  # type: ignore[arg-type]
            reason=reason,
            diagnosis=diagnosis,
            rows=tuple(self.rows),
            warnings=tuple(dict.fromkeys(self.warnings)),
            findings=tuple(dict.fromkeys((*others, *self.findings))),
            truth=truth,
            not_covered=(*dict.fromkeys(self.not_covered), *self._refusals()),
        )

    def _refusals(self) -> list[str]:
        return [
            f"parts of {min(parts)}{f', and {len(parts) - 1} further splits' * (len(parts) > 1)} "
            f"({reason})"
            for reason, parts in self.refused.items()
        ]
