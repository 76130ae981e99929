"""One gradient, however the samples are split: over micro-batches, over ranks, in any order."""

from bp_torch.splits.comparison import compare_splits
from bp_torch.splits.report import SplitRow, SplitsReport, Way

__all__ = ["SplitRow", "SplitsReport", "Way", "compare_splits"]
