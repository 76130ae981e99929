"""What is wrong, and which mistakes account for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bp_torch.splits.gradients import Gradients
from bp_torch.splits.mistakes import hypotheses
from bp_torch.splits.omissions import Hypothesis
from bp_torch.splits.rounding import Tolerances, units_of
from bp_torch.splits.split import Split, Tried


@dataclass(frozen=True, eq=False)
class Failed:
    """One that is wrong, and by what it may be told."""

    tried: Tried
    split: Split
    truth: Gradients
    limits: Tolerances
    names: list[str] = field(default_factory=list)
    """The parameters whose gradients are wrong."""

    def is_given_by(self, expected: Sequence[Gradients]) -> bool:
        """Whether a mistake with these gradients, one for each rank, accounts for what is wrong."""
        for found, gradients in zip(self.tried.found, expected, strict=True):
            units = units_of(found, gradients, self.limits)
            if any(units.get(name, 0.0) > 1 for name in self.names):
                return False
        return True

    def of_each_rank(self, hypothesis: Hypothesis) -> list[Gradients]:
        """What a mistake would have given."""
        return [hypothesis.gradients(rank) for rank in range(len(self.tried.found))]

    def hypotheses(self) -> Iterator[Hypothesis]:
        """Those that account for it."""
        for hypothesis in hypotheses(self.split):
            if self.is_given_by(self.of_each_rank(hypothesis)):
                yield hypothesis
