"""Proving a gradient. Nothing here imports the rest of bp_torch: the judge stays independent of
what it judges.

Read in the order in which a function goes through it: `arguments` and `callables` bring what people
write into one shape, a case (`cases`); `trials` says at which inputs it is tried, `truth` what is
right there, `judgement` whether it is far from that; `mistakes` gives what is wrong its name, and
`report` says it. `hearing` takes one case through them, `proceedings` all cases and torch's
`transforms`, in a process apart if so wished (`isolation`); `proof` is what a user calls.
"""

from bp_torch.judge.proof import assert_gradients, compare
from bp_torch.judge.report import GradientMismatch, Report
from bp_torch.judge.rows import Check, Diagnosis, Row, TransformRow

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
