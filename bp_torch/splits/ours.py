"""The right way through every split, which proves that module and cost are one mean over
independent samples; or it comes out what else they are."""

from dataclasses import replace
from itertools import product

from bp_torch.judge.rows import Diagnosis
from bp_torch.splits.cuts import Cut, sampled
from bp_torch.splits.diagnosis import Tried
from bp_torch.splits.independence import Kind, kind_of, why_coupled
from bp_torch.splits.judgement import row_of
from bp_torch.splits.mistakes import Unit, what_the_sampler_does
from bp_torch.splits.ranks import Failure, why_not_here
from bp_torch.splits.record import Question, Record
from bp_torch.splits.report import SplitRow, Way
from bp_torch.splits.rounding import Tolerances
from bp_torch.splits.stage import Stage
from bp_torch.splits.ways import in_process, on_real_ranks, refusal

NO_PARTS = "the module takes the whole batch alone, so that no split can be tried"
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


def prove_ours(question: Question, stage: Stage, limits: Tolerances, record: Record) -> Kind:
    """What the cost is of its parts; the rows, and where it is no mean the reason, go on record."""
    n = len(question.batch)
    rows, whole = [], []
    for way, cut in question.plan.ours(n):
        if reason := refusal(stage, cut):
            record.not_covered.append(f"{way.value}: {cut} ({reason})")
            continue
        tried = Tried(Unit.RANK, cut, [in_process(stage, cut)])
        row = row_of(tried, way, stage.dtype, stage.truth, limits)
        covers = all(count == 1 for count in cut.counts(n))
        rows.append(row if covers or row.ok else _with_sampler(row, cut, n))
        if covers:
            whole.append(row.ok)
    theirs = question.accumulate is not None or question.on_rank is not None
    if not rows:
        record.reasons.append(NO_PARTS)
    if all(whole):
        if not theirs:
            _real_ranks(question, stage, limits, rows, record)
        record.rows += rows if not theirs else [row for row in rows if row.ok]
        _sampler(question, theirs, record)
        return Kind.MEAN
    with stage.entered():
        kind = kind_of(stage.subject, stage.batch, stage.truth, limits)
    said = {Kind.SUM: IS_SUM, Kind.WEIGHTED: IS_WEIGHTED}.get(kind) or why_coupled(
        question.subject.module
    )
    if kind is Kind.COUPLED or not theirs:
        record.reasons.append(said)
    if not theirs:
        record.rows += [replace(row, verdict="inconclusive") for row in rows]
    return kind


def _real_ranks(
    question: Question, stage: Stage, limits: Tolerances, rows: list[SplitRow], record: Record
) -> None:
    n = len(question.batch)
    reason = why_not_here(question.batch.y.device)
    if not question.plan.ranks or reason:
        record.not_covered.append(f"real ranks: {reason or 'none are asked for'}")
        return
    for cut in question.plan.of_ranks(n):
        tried = on_real_ranks(stage, None, cut, question.timeout)
        if isinstance(tried, Failure):
            record.not_covered.append(f"real ranks: {tried}")
            return
        row = row_of(tried, Way.REAL, stage.dtype, stage.truth, limits)
        covers = all(count == 1 for count in cut.counts(n))
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
