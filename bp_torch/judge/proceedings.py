"""One question answered: cases are heard, the transforms tried, and the mistake called by its
name."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from bp_torch.judge.cases import Case, make_case
from bp_torch.judge.cost import costs
from bp_torch.judge.distance import name_of
from bp_torch.judge.drawing import Drawn, draws
from bp_torch.judge.evidence import Quantity
from bp_torch.judge.hearing import REMEDY, Hearing, Record
from bp_torch.judge.mistakes.diagnosis import diagnose
from bp_torch.judge.passes import Refused, foreign_code
from bp_torch.judge.report import Report
from bp_torch.judge.rows import Diagnosis, Outcome, Refusal, TransformRow, words
from bp_torch.judge.transforms import try_transforms
from bp_torch.judge.trials import Draw, Role, Trial
from bp_torch.judge.truth.witness import with_its_witness
from bp_torch.judge.undisturbed import undisturbed

Tell = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Question:
    """What `compare` was asked; its arguments by their names."""

    fn: Any
    reference: Any
    inputs: Any
    domain: Any
    backward: Callable[..., Any] | None
    dtypes: Sequence[torch.dtype] | None
    devices: Sequence[str | torch.device] | None
    transforms: bool
    compile: bool
    order: int
    cost: bool
    seed: int

    def case(self, drawn: Drawn) -> Case:
        """The case of one draw of the inputs."""
        made = make_case(self.fn, self.reference, drawn.make(), self.backward, self.domain)
        if drawn.change is not None:
            change = drawn.change
            changed = {
                name: change(t, made.domain_of(name)) if t.is_floating_point() and t.numel() else t
                for name, t in made.inputs.items()
            }
            made = replace(made, inputs=changed)
        return replace(with_its_witness(made, Draw(self.seed)), label=drawn.label)

    def in_each(self, case: Case) -> list[Case]:
        """The case in every dtype on every device that was asked for."""
        return [
            case.to(dtype, torch.device(device))
            for dtype in self.dtypes or (case.dtype,)
            for device in self.devices or (case.device,)
        ]

    def require_devices(self) -> None:
        """Raise TypeError or ValueError, in one line, for a device that is not here."""
        for given in self.devices or ():
            try:
                device = torch.device(given)
            except (RuntimeError, TypeError):
                raise TypeError(
                    f"devices must be such as ['cpu', 'cuda'], got {self.devices!r}"
                ) from None
            try:
                torch.ones((), device=device).item()  # it is there, and holds numbers
            except (RuntimeError, AssertionError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise ValueError(f"cannot compare on the device {device}: {reason}") from None


def answer(question: Question, tell: Tell) -> Report:
    """Everything that can be said to it. `tell` is told before each trial, and raises `Refused`
    where it must not be tried."""
    record = Record(order=question.order)
    table: tuple[TransformRow, ...] = ()
    question.require_devices()
    with undisturbed():
        first: list[Case] = []
        for drawn in draws(question.inputs, question.seed):
            try:
                with foreign_code() if first else nullcontext():
                    case = question.case(drawn)
            except Refused as refusal:
                not_made = Refusal(Role.AS_GIVEN, Quantity.GRADIENT, refusal.reason, drawn.label)
                record.refusals.append(not_made)
                continue
            record.findings += case.notes
            record.warnings += case.warnings
            cases = question.in_each(case)
            for one in cases:
                hearing = Hearing(one, Draw(question.seed), record)
                try:
                    with one.constants_cast():
                        hearing.hear(_teller(tell, one), only_given=bool(first))
                except NotImplementedError as error:  # torch lacks the kernel for that dtype
                    if not record.rows:
                        raise
                    why, where = Refused(error).reason, name_of(one.dtype)
                    record.refusals.append(Refusal(Role.AS_GIVEN, Quantity.GRADIENT, why, where))
            first = first or cases
        if question.transforms and record.ok:
            finest = min(first, key=lambda case: torch.finfo(case.dtype).eps)
            with finest.constants_cast():
                table = try_transforms(finest, compile=question.compile, tell=tell)
        report = _report(question, first[0], record, table)
        if question.cost:
            report = _with_costs(report, first[0], question, tell)
        if report.verdict != "wrong":
            return report
        try:
            tell("the mistake's name")
        except Refused:  # to look for it runs the function in further ways, and one of them kills
            return replace(report, diagnosis=NAMELESS)
        _look_closer(record, question.seed)
        counted = [row for row in table if row.order <= question.order]
        return replace(report, diagnosis=diagnose(record, counted))


def _with_costs(report: Report, case: Case, question: Question, tell: Tell) -> Report:
    trial = Trial(Role.AS_GIVEN, case.inputs, case.wanted, Draw(question.seed).upstream)
    functions = [case.fn] if case.reference is None else [case.fn, case.reference]
    try:
        tell("what it costs")
        with case.constants_cast():
            mine, *theirs = costs(trial.point(case.told_by), *functions)
    except Refused:  # why, the trials have told
        return report
    return replace(report, cost=mine, autograd_cost=theirs[0] if theirs else None)


NAMELESS = Diagnosis(
    "not-explained",
    "the gradient is wrong, and what is wrong with it could not be looked for",
)


def _look_closer(record: Record, seed: int) -> None:
    """Add the evidence in float64, at the inputs as given, to that in a coarser dtype: with more
    digits a mistake's name is surer. One too small for the coarser dtype is another mistake."""
    evidence = record.evidence
    if not evidence or any(e.dtype == torch.float64 for e in evidence):
        return
    case = evidence[0].case.to(torch.float64, evidence[0].case.device)
    closer = Record(order=record.order)
    with case.constants_cast():
        Hearing(case, Draw(seed), closer).hear(lambda role: None, only_given=True)
    visible = torch.finfo(evidence[0].dtype).eps / 4
    closer.evidence = [
        e for e in closer.evidence if any(e.judgements[n].yours.max_rel > visible for n in e.bad)
    ]
    record.closer = closer


def _teller(tell: Tell, case: Case) -> Callable[[Role], None]:
    device = "" if case.device.type == "cpu" else str(case.device)
    where = ", ".join(filter(None, (name_of(case.dtype), device, case.label)))
    return lambda role: tell(f"{where}, {words(role)}")


def _report(
    question: Question, case: Case, record: Record, table: tuple[TransformRow, ...]
) -> Report:
    failed = [row for row in table if row.outcome is Outcome.WRONG]
    counted = [row for row in table if row.order <= question.order]
    wrong = not record.ok or any(row in counted for row in failed)
    warnings = record.warnings + [
        f"under {row.name} the second derivative is silently wrong. {REMEDY}"
        for row in failed
        if row.order > question.order
    ]
    warnings += [
        f"under {row.name} torch itself is wrong: {row.detail}"
        for row in table
        if row.outcome is Outcome.TORCH
    ]
    warnings += [
        f"under {row.name} the gradient is wrong: {row.detail}"
        for row in table
        if row.outcome is Outcome.BYPASSED and row.error
    ]
    reason = "" if wrong else record.why_nothing_is_told()
    return Report(
        verdict="wrong" if wrong else "inconclusive" if reason else "right",
        reason=reason,
        rows=tuple(record.rows),
        checks=tuple(record.checks),
        transforms=table,
        warnings=tuple(dict.fromkeys(warnings)),
        findings=tuple(dict.fromkeys(record.findings)),
        witness=_witness(case, record),
        not_taken=tuple(dict.fromkeys(record.refusals)),
        not_covered=_not_covered(record, case, transforms=question.transforms),
    )


def _witness(case: Case, record: Record) -> str:
    if case.reference is None:
        return "differences of the function's own values, in float64"
    if case.own_forward:
        return "the function's own forward under autograd, in float64"
    if record.reference_is_wrong:
        return "differences of the reference's values, in float64"
    return "the reference under autograd, in float64"


def _not_covered(record: Record, case: Case, *, transforms: bool) -> tuple[str, ...]:
    left_out = []
    if transforms and not record.ok:
        left_out.append("torch's transforms, until the gradient itself is right")
    devices = sorted({row.device for row in record.rows})
    if devices:
        left_out.append(f"devices other than {', '.join(devices)}")
    if case.reference is not None and any(row.dtype == "float64" for row in record.rows):
        left_out.append("autograd's own rounding in float64, where it is the truth")
    if case.reference is None:
        left_out.append("value and second derivative, for want of a reference")
    return tuple(left_out)
