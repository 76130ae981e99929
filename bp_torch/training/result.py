"""What a run came to."""

from dataclasses import dataclass
from pathlib import Path

from bp_torch.training.comparison import Comparison
from bp_torch.training.config import Config
from bp_torch.training.score import Score


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    config: Config
    """As it was run: a gradient in place of "auto"."""
    directory: Path
    model: Path
    module: str
    train: Score
    test: Score
    comparison: Comparison
    steps: int
    seconds: float
    """Spent in the descent, comparisons and looks included."""
    interrupted: bool
