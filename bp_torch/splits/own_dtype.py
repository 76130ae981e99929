"""What is right in float64, once more in the module's own dtype, where sums overflow and lose."""

from dataclasses import replace

import torch

from bp_torch.judge.rows import Diagnosis
from bp_torch.splits.gradients import Gradients
from bp_torch.splits.independence import Kind
from bp_torch.splits.judgement import Bench, row_of
from bp_torch.splits.ranks import Failure, why_not_here
from bp_torch.splits.record import Question, Record
from bp_torch.splits.report import SplitRow, Way
from bp_torch.splits.rounding import FACTORS
from bp_torch.splits.split import Tried, Unit
from bp_torch.splits.stage import Stage, within
from bp_torch.splits.ways import accumulated, in_process, on_real_ranks, refusal


def hear_in_own_dtype(question: Question, bench: Bench, own: Stage, record: Record) -> None:
    """One cut of each way, against what rounding and the whole batch come to in that dtype.

    What is beyond it is a warning, since it is right in float64; an infinity where the whole batch
    has none is a mistake.
    """
    if bench.stage is own or own.is_float64 or record.mistakes or record.reasons:
        return
    truth = bench.stage.truth
    for way, tried in _tries(question, bench, own):
        if isinstance(tried, Failure):
            record.warnings.append(f"in the module's own dtype {tried}")
            continue
        row, said = _judged(tried, way, own, truth)
        record.findings += said
        finite = all(g.isfinite().all() for each in tried.found for g in each.values())
        expected = all(gradient.isfinite().all() for gradient in own.truth.values())
        overflows = not finite and expected
        record.rows.append(row if row.ok or overflows else replace(row, verdict="inconclusive"))
        if overflows:
            record.mistakes.append(Diagnosis("overflow", _overflow(row)))
        elif not row.ok:
            record.warnings.append(
                f"right in float64, and in {row.dtype} off by {row.relative:.1g} of the gradient, "
                f"{row.error:.2g} times what rounding does ({row.split}): it loses digits on the "
                f"way, as where large terms are added before they are divided"
            )


def _tries(question: Question, bench: Bench, own: Stage) -> list[tuple[Way, Tried | Failure]]:
    plan, n = question.plan, len(question.batch)
    tries: list[tuple[Way, Tried | Failure]] = []
    if question.accumulate is not None:
        cut = next(c for c in plan.of_micro_batches(n) if not refusal(own, c))
        tries.append((Way.ACCUMULATE, accumulated(own, question.accumulate, cut)))
    if question.on_rank is not None and not why_not_here(question.batch.y.device):
        cut = next(c for c in plan.of_ranks(n) if not refusal(own, c))
        tries.append((Way.ON_RANK, on_real_ranks(own, question.on_rank, cut, question.timeout)))
    if not tries and bench.kind is Kind.MEAN:
        ours = plan.ours(n)
        for way in (Way.MICRO, Way.SIMULATED):
            cuts = sorted((c for each, c in ours if each is way), key=len, reverse=True)
            taken = next((c for c in cuts if not refusal(own, c)), None)
            if taken is not None:
                tries.append((way, Tried(Unit.MICRO_BATCH, taken, [in_process(own, taken)])))
    return tries


def _judged(tried: Tried, way: Way, own: Stage, truth: Gradients) -> tuple[SplitRow, list[str]]:
    """By the digits of the dtype, or by fewer where it has them, as under autocast."""
    (dtype,) = own.dtypes
    row = row_of(tried, way, dtype, truth, within(own, truth, own.limits(dtype)))
    for coarser in FACTORS:
        if row.ok or torch.finfo(coarser).eps <= torch.finfo(dtype).eps:
            continue
        by_fewer = row_of(tried, way, coarser, truth, within(own, truth, own.limits(coarser)))
        if by_fewer.ok:
            said = f"on {row.dtype} {way.value} loses digits, as under autocast, and is right by"
            return by_fewer, [f"{said} those of {by_fewer.dtype}"]
    return row, []


def _overflow(row: SplitRow) -> str:
    return (
        f"in {row.dtype} the gradient of {row.parameter} is not finite, and the whole batch's is: "
        f"a sum overflows that would not, were it divided before it is added"
    )
