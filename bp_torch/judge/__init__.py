"""Proving a gradient. Nothing here imports the rest of bp_torch: the judge stays independent of
what it judges."""

from bp_torch.judge.prove import assert_gradients, compare
from bp_torch.judge.report import Check, Diagnosis, GradientMismatch, Report, Row

__all__ = [
    "Check",
    "Diagnosis",
    "GradientMismatch",
    "Report",
    "Row",
    "assert_gradients",
    "compare",
]
