"""The right way through every split, which proves that module and cost are one mean over
independent samples; or it comes out what else they are."""

from dataclasses import replace
from itertools import product

import torch

from bp_torch.judge.passes import Refused
from bp_torch.judge.rows import Diagnosis
from bp_torch.splits.cuts import Cut, sampled
from bp_torch.splits.independence import Kind, kind_of, why_coupled
from bp_torch.splits.judgement import Bench, row_of
from bp_torch.splits.omissions import what_the_sampler_does
from bp_torch.splits.ranks import Failure, why_not_here
from bp_torch.splits.record import Question, Record
from bp_torch.splits.report import SplitRow, Way
from bp_torch.splits.rounding import Tolerances
from bp_torch.splits.split import Tried, Unit
from bp_torch.splits.stage import Stage
from bp_torch.splits.ways import in_process, on_real_ranks

NO_PARTS = "the module takes the whole batch alone, so that no split can be tried"
ELSEWHERE = (
    "over real ranks the right way gives another gradient than in one process: module or cost "
    "depend on the process that they run in, such as on its rank"
)
IS_SUM = (
    "the cost adds up over the samples and is no mean: the gradients of parts add up to the whole "
    "batch's as they are, and nothing is divided; pass a mean, as with reduction='mean', or an "
    "accumulate= that adds"
)
IS_WEIGHTED = (
    "the cost's mean is weighted, as with ignore_index or class weights: combine with the sum of "
    "the weights in each part and not with its number of samples, and pass weight=, as in "
    "weight=lambda y: (y != -100).sum()"
)


def prove_ours(question: Question, stage: Stage, record: Record) -> Bench:
    """What the cost is of its parts, and by which digits; the rows, and where it is no mean the
    reason, go on record."""
    theirs = question.accumulate is not None or question.on_rank is not None
    benches = []
    for dtype in stage.dtypes:
        limits = stage.limits(dtype)
        rows, is_mean = _in_process(question, stage, dtype, limits, record)
        benches.append((Bench(stage, _kind(stage, limits, is_mean), dtype, limits), rows))
        if benches[-1][0].kind is not Kind.COUPLED:
            break
    # Where nothing is found with fewer digits either, the first look is the sharpest.
    bench, rows = benches[-1] if benches[-1][0].kind is not Kind.COUPLED else benches[0]
    if not rows:
        record.reasons.append(NO_PARTS)
    if bench.kind is Kind.MEAN:
        if not theirs:
            _real_ranks(question, bench, rows, record)
        record.rows += rows if not theirs else [row for row in rows if row.ok]
        _sampler(question, theirs, record)
        return bench
    said = {Kind.SUM: IS_SUM, Kind.WEIGHTED: IS_WEIGHTED}.get(bench.kind)
    if said is None or not theirs:
        record.reasons.append(said or why_coupled(question.subject.module))
    if not theirs:
        record.rows += [row if row.ok else replace(row, verdict="inconclusive") for row in rows]
    return bench


def _kind(stage: Stage, limits: Tolerances, is_mean: bool) -> Kind:
    if is_mean:
        return Kind.MEAN
    with stage.entered():
        return kind_of(stage.subject, stage.batch, stage.truth, limits)


def _in_process(
    question: Question, stage: Stage, dtype: torch.dtype, limits: Tolerances, record: Record
) -> tuple[list[SplitRow], bool]:
    """The rows, and whether all that have every sample once are right."""
    n, rows, is_mean = len(question.batch), [], True
    for way, cut in question.plan.ours(n):
        try:
            tried = Tried(Unit.RANK, cut, [in_process(stage, cut)])
        except Refused as refused:
            record.refused.setdefault(refused.reason, set()).add(str(cut))
            continue
        row = row_of(tried, way, dtype, stage.truth, limits)
        covers = all(count == 1 for count in cut.counts(n))
        rows.append(row if covers or row.ok else _with_sampler(row, cut, n))
        is_mean = is_mean and (row.ok or not covers)
    return rows, is_mean


def _real_ranks(question: Question, bench: Bench, rows: list[SplitRow], record: Record) -> None:
    n = len(question.batch)
    reason = why_not_here(question.batch.y.device)
    if not question.plan.ranks or reason:
        record.not_covered.append(f"real ranks: {reason or 'none are asked for'}")
        return
    for cut in question.plan.of_ranks(n):
        tried = on_real_ranks(bench.stage, None, cut, question.timeout)
        if isinstance(tried, Failure):
            record.not_covered.append(f"real ranks: {tried}")
            return
        row = row_of(tried, Way.REAL, bench.dtype, bench.stage.truth, bench.limits)
        covers = all(count == 1 for count in cut.counts(n))
        if covers and not row.ok:
            row = replace(row, verdict="inconclusive")
            record.reasons.append(ELSEWHERE)
        rows.append(row if covers or row.ok else _with_sampler(row, cut, n))


def _with_sampler(row: SplitRow, cut: Cut, n: int) -> SplitRow:
    return replace(row, mistake=what_the_sampler_does(cut, n))


def _sampler(question: Question, theirs: bool, record: Record) -> None:
    """Whether it gives every sample once, here and where the ranks do not divide their number."""
    sampler, n = question.plan.sampler, len(question.batch)
    if sampler is None:
        return
    for size, ranks in product((n, n + 1), question.plan.ranks):
        cut = sampled(sampler, size, ranks)
        counts = cut.counts(size)
        if all(count == 1 for count in counts):
            continue
        said = what_the_sampler_does(cut, size)
        if size > n:
            record.warnings.append(said)
        elif not theirs:  # else it will be told by their gradient
            word = "padded sampler" if max(counts) > 1 else "samples dropped"
            record.mistakes.append(Diagnosis(word, said))
        return
