"""From what is asked to the report."""

import torch

from bp_torch.splits.independence import why_random
from bp_torch.splits.ours import prove_ours
from bp_torch.splits.own_dtype import hear_in_own_dtype
from bp_torch.splits.record import Question, Record
from bp_torch.splits.report import SplitsReport
from bp_torch.splits.rounding import largest
from bp_torch.splits.stage import own_stage, wide_stage
from bp_torch.splits.theirs import hear_accumulate, hear_on_rank

NO_GRADIENT = (
    "the gradient is 0 for every sample, so that nothing can be told; pass other samples, or a "
    "module that is not saturated"
)


def answer(question: Question) -> SplitsReport:
    """The whole comparison."""
    record = Record()
    own = own_stage(question.subject, question.batch)
    exact = wide_stage(question.subject, question.batch)
    stage = exact or own
    if stage.varies():
        record.reasons.append(why_random(question.subject.module))
        return record.report("")
    if not any(largest(size) for size in stage.size.values()):
        record.reasons.append(NO_GRADIENT)
        return record.report("")
    bench = prove_ours(question, stage, record)
    name = str(bench.dtype).removeprefix("torch.")
    if exact is None:
        record.findings.append(f"it cannot be run in float64, and was compared in {name}")
    elif bench.dtype != torch.float64:
        record.findings.append(
            f"something in it has fewer digits than float64, and those of {name} are asked for"
        )
    hear_accumulate(question, bench, own, record)
    hear_on_rank(question, bench, own, record)
    hear_in_own_dtype(question, bench, own, record)
    return record.report(
        f"the gradient of all {len(question.batch)} samples at once, in "
        f"{name if exact is None else 'float64'}; right is what is off by at most 1 of what "
        f"rounding can do"
    )
