"""The user's ways through splits, judged and put on record."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from bp_torch.judge.rows import Diagnosis
from bp_torch.splits.cuts import Cut
from bp_torch.splits.diagnosis import NAMELESS, diagnose
from bp_torch.splits.judgement import Bench, Finding, Standing, row_of
from bp_torch.splits.ranks import Failure, why_not_here
from bp_torch.splits.record import Question, Record
from bp_torch.splits.report import Way
from bp_torch.splits.split import Tried
from bp_torch.splits.stage import Stage, within
from bp_torch.splits.ways import accumulated, adds_to_what_is_there, on_real_ranks, refusal

ADDS = "accumulate adds to a gradient that is there before; zero it before each step"


def hear_accumulate(question: Question, bench: Bench, own: Stage, record: Record) -> None:
    """Every cut through the user's loop."""
    loop = question.accumulate
    if loop is None:
        return
    cuts = question.plan.of_micro_batches(len(question.batch))
    cuts = [cut for cut in cuts if _is_taken(bench.stage, cut, record)]
    try:
        tries = [accumulated(bench.stage, loop, cut) for cut in cuts]
    except Exception:
        if bench.stage is own:
            raise
        bench = _as_it_is(bench, own, "accumulate", record)
        tries = [accumulated(own, loop, cut) for cut in cuts]
    findings = []
    for tried in tries:
        findings.append(
            bench.judge(tried, Way.ACCUMULATE, lambda s, t=tried: accumulated(s, loop, t.cut))  # type: ignore[misc]
        )
    _put_on_record(findings, bench, record)
    right = all(finding.standing is Standing.RIGHT for finding in findings)
    if right and adds_to_what_is_there(bench.stage, loop, tries[0].found[0]):
        record.findings.append(ADDS)


def hear_on_rank(question: Question, bench: Bench, own: Stage, record: Record) -> None:
    """Every cut on real ranks, and one that leaves a rank without samples."""
    function, n = question.on_rank, len(question.batch)
    if function is None:
        return
    reason = why_not_here(question.batch.y.device)
    if reason:
        record.reasons.append(f"on_rank needs real ranks, and there are none here: {reason}")
        return

    def run(stage: Stage, cut: Cut) -> Tried | Failure:
        return on_real_ranks(stage, function, cut, question.timeout)

    findings = []
    for cut in question.plan.of_ranks(n):
        if not _is_taken(bench.stage, cut, record):
            continue
        tried = run(bench.stage, cut)
        if isinstance(tried, Failure) and tried.raised and bench.stage is not own:
            again = run(own, cut)
            if not isinstance(again, Failure):
                bench, tried = _as_it_is(bench, own, "on_rank", record), again
        if isinstance(tried, Failure):
            record.reasons.append(f"on {len(cut)} ranks with {cut} samples {tried}")
            break
        findings.append(bench.judge(tried, Way.ON_RANK, _again(run, cut)))
    _put_on_record(findings, bench, record)
    told = record.mistakes or record.reasons
    if told or question.plan.sampler is not None or not question.plan.uneven:
        return
    _without_samples(question, run(bench.stage, Cut((tuple(range(n)), ()))), bench, record)


def _is_taken(stage: Stage, cut: Cut, record: Record) -> bool:
    reason = refusal(stage, cut)
    if reason:
        record.refused.setdefault(reason, set()).add(str(cut))
    return not reason


def _again(
    run: Callable[[Stage, Cut], Tried | Failure], cut: Cut
) -> Callable[[Stage], Tried | None]:
    def again(stage: Stage) -> Tried | None:
        tried = run(stage, cut)
        return None if isinstance(tried, Failure) else tried

    return again


def _without_samples(
    question: Question, tried: Tried | Failure, bench: Bench, record: Record
) -> None:
    if isinstance(tried, Failure):
        said = f"with a rank that has no samples {tried}"
    else:
        truth, limits = bench.stage.truth, bench.limits
        row = row_of(tried, Way.ON_RANK, bench.dtype, truth, limits)
        record.rows.append(row)
        if row.ok:
            return
        is_nan = any(not g.isfinite().all() for each in tried.found for g in each.values())
        said = (
            "with a rank that has no samples the gradient is NaN on every rank: the mean over "
            "nothing is 0/0; let that rank add zeros"
            if is_nan
            else "with a rank that has no samples the gradient is another one: that rank counts "
            "as much as the others; weigh each by its share of the samples"
        )
    if question.empty:
        record.mistakes.append(Diagnosis("rank without samples", said))
    else:
        record.warnings.append(said)


def _as_it_is(bench: Bench, own: Stage, what: str, record: Record) -> Bench:
    (dtype,) = own.dtypes
    name = str(dtype).removeprefix("torch.")
    record.findings.append(f"{what} cannot be run in float64, and was judged in {name}")
    limits = within(own, bench.stage.truth, own.limits(dtype))
    return Bench(own, bench.kind, dtype, limits)


def _put_on_record(findings: Sequence[Finding], bench: Bench, record: Record) -> None:
    failures = [f.failed for f in findings if f.failed is not None]
    with bench.stage.entered():
        if failures:
            record.mistakes.append(diagnose(failures) or NAMELESS)
        for finding in findings:
            said = diagnose([finding.failed]) if finding.failed is not None else None
            record.rows.append(replace(finding.row, mistake=said.sentence if said else ""))
    for finding in findings:
        if finding.standing is Standing.UNCLEAR:
            record.reasons.append(finding.note)
        elif finding.standing is Standing.COUPLED:
            record.reasons.append(
                f"with parts of {finding.row.parts} the gradients are not those that the samples "
                f"have in the whole batch, whoever adds them up"
            )
        elif finding.note:
            record.findings.append(finding.note)
    if not findings and not record.reasons:
        record.reasons.append("no split could be tried")
    # The first cut is the one with the most parts, uneven where they may be.
    if findings and findings[0].unseen:
        why = (
            "the samples give all but the same gradient; pass others"
            if findings[0].row.dtype == "float64"
            else f"it is smaller than what rounding in {findings[0].row.dtype} can do"
        )
        record.reasons.append(
            f"it is right here, and so would be a mistake ({findings[0].unseen}): {why}"
        )
