"""What a run came to."""

from dataclasses import dataclass
from pathlib import Path

from bp_torch.training.comparison import Comparison
from bp_torch.training.config import Config
from bp_torch.training.score import Metrics, Score
from bp_torch.training.trained import TrainedModel


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    config: Config
    """As it was run: a gradient in place of "auto"."""
    directory: Path
    path: Path | None
    """Of the model; None where it could not be saved anywhere."""
    model: TrainedModel
    """As it is saved."""
    exported: tuple[Path, ...]
    """The model for other programs."""
    description: str
    train: Score
    test: Score
    train_metrics: Metrics
    test_metrics: Metrics
    comparison: Comparison
    notes: tuple[str, ...]
    """What was left out of the table, and what went wrong with the run's files."""
    steps: int
    seconds: float
    """Spent in the descent, comparisons and looks included."""
    reading: float
    """Seconds spent to read the table, or to find it read."""
    checkpoint: Path | None
    """The newest state that the run can go on from; None where none was kept."""
    signal: int | None
    """That ended the run early; None: none did."""
    stopped: bool
    """Early, since the cost over what is held out did not fall any more."""

    trouble: tuple[str, ...]
    """Why it ended early, where its folder could not be written to, and how it goes on."""

    @property
    def unfinished(self) -> bool:
        """Whether there is more to learn, if it goes on."""
        return bool(self.trouble) or self.interrupted

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run early."""
        return self.signal is not None
