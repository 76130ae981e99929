"""Proving a gradient. Nothing here imports the rest of bp_torch: the judge stays independent of
what it judges.

Read in the order in which a function goes through it: `cases`, `trials`, `truth`, `judgement`,
`evidence`, `mistakes`, `report`; `hearing` takes one case through them, `proof` all of them.
"""

from bp_torch.judge.proof import assert_gradients, compare
from bp_torch.judge.report import Check, Diagnosis, GradientMismatch, Report, Row, TransformRow

__all__ = [
    "Check",
    "Diagnosis",
    "GradientMismatch",
    "Report",
    "Row",
    "TransformRow",
    "assert_gradients",
    "compare",
]
