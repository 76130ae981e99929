"""A batch in parts: what was tried with it, and what it can be put together from."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from bp_torch.splits.batch import Batch
from bp_torch.splits.cuts import Cut
from bp_torch.splits.gradients import Gradients, Subject


class Unit(Enum):
    """What the parts are."""

    MICRO_BATCH = "micro-batch"
    RANK = "rank"

    @property
    def several(self) -> str:
        """The plural."""
        return "ranks" if self is Unit.RANK else "micro-batches"


@dataclass(frozen=True, eq=False)
class Split:
    """A batch in parts, with the gradient of each."""

    unit: Unit
    cut: Cut
    subject: Subject
    batch: Batch
    parts: Sequence[Gradients]
    """gₖ, of the mean over part k alone; of an empty part nothing."""
    shares: Sequence[float]
    """The right cₖ; they add up to 1, where the cost is a mean."""
    by_samples: bool
    """Whether these are nₖ/N, and no other weights."""


@dataclass(frozen=True, eq=False)
class Tried:
    """What a way of the user's gave with one cut."""

    unit: Unit
    cut: Cut
    found: Sequence[Gradients]
    """On every rank; of micro-batches one."""
    moved: bool = False
    """Whether the parameters were changed on the way."""
