"""`compare`: cases are heard, the transforms tried, and the mistake called by its name."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from bp_torch.judge.cases import Case, make_case
from bp_torch.judge.criteria import DRAWN_INPUTS
from bp_torch.judge.distance import name_of
from bp_torch.judge.hearing import REMEDY, Hearing, Record
from bp_torch.judge.mistakes.diagnosis import diagnose
from bp_torch.judge.progress import progress_line
from bp_torch.judge.report import GradientMismatch, Outcome, Report, TransformRow, words
from bp_torch.judge.transforms import try_transforms
from bp_torch.judge.trials import Draw, Role
from bp_torch.judge.truth.witness import with_its_witness
from bp_torch.judge.undisturbed import undisturbed


def compare(
    fn: Any = None,
    reference: Any = None,
    *,
    inputs: Any,
    domain: Any = None,
    backward: Callable[..., Any] | None = None,
    dtypes: torch.dtype | Sequence[torch.dtype] | None = None,
    devices: str | torch.device | Sequence[str | torch.device] | None = None,
    transforms: bool = True,
    compile: bool = True,
    order: Literal[1, 2] = 1,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Hold a hand-written gradient against autograd's and against the truth.

    The truth is the reference in float64 on the same quantised inputs. Without a reference it is
    the forward of fn itself under autograd, where fn is an autograd.Function, and else differences
    of fn's own values; the report says which. `criteria` has the rule, `trials` what is tried.

    Args:
        fn: the hand-written function; an autograd.Function class; or an nn.Module, whose
            parameters then count as inputs.
        reference: the same mathematics for autograd, called as fn is; None: fn tells itself.
        inputs: a tensor; a sequence of arguments; a mapping of arguments by their names; or a
            function of a seeded generator that makes one of these (drawn three times). Lists,
            dictionaries and dataclasses of tensors are differentiated by their paths, as
            params["w"]; what is no tensor is handed on. Of the tensors those that require a
            gradient are differentiated; where none does, all floating ones.
        domain: the open interval (low, high) in which the inputs must lie, None for no end; or a
            function of a tensor that says so; or one of these or None for each argument, as a
            list or by name. Every trial keeps to it.
        backward: a bare formula (upstream, *inputs) → gradients, in place of fn.
        dtypes: to be judged; None: that of the inputs.
        devices: to be judged on; None: that of the inputs.
        transforms: whether to look at torch's transforms as well, in the finest of the dtypes
            (autocast in float32).
        compile: whether torch.compile and torch.export are among them (they take seconds).
        order: 2: the second derivative is part of the verdict; 1: it is tried all the same, and a
            warning where it is silently wrong.
        seed: of everything random; the global generator is left as it is.
        progress: told what is being tried; None: a line on a terminal where it takes over 2 s.

    Returns:
        `Report`; report.verdict is "right", "wrong", or "inconclusive" where nothing could be told.

    Raises:
        TypeError, ValueError: what cannot be compared, in one line.
        Whatever fn raises on the given inputs, with a note on the trial and the shapes.
    """
    dtypes, devices = _dtypes(dtypes), _devices(devices)
    record = Record(order=order)
    table: tuple[TransformRow, ...] = ()
    with undisturbed(), progress_line(progress) as tell:
        drawn = [
            with_its_witness(make_case(fn, reference, given, backward, domain), Draw(seed))
            for given in _drawn(inputs, seed)
        ]
        for case in drawn:
            record.findings += case.notes
            record.warnings += case.warnings
        asked = [_in_each(case, dtypes, devices) for case in drawn]
        for number, cases in enumerate(asked):
            for case in cases:
                hearing = Hearing(case, Draw(seed), record)
                with case.constants_cast():
                    hearing.hear(_teller(tell, case), only_given=number > 0)
        if transforms and record.ok:
            tell("torch's transforms")
            finest = min(asked[0], key=lambda case: torch.finfo(case.dtype).eps)
            with finest.constants_cast():
                table = try_transforms(finest, compile=compile)
    failed = [row for row in table if row.outcome is Outcome.WRONG]
    counted = [row for row in table if row.order <= order]
    wrong = not record.ok or any(row in counted for row in failed)
    record.warnings += [
        f"under {row.name} the second derivative is silently wrong. {REMEDY}"
        for row in failed
        if row.order > order
    ]
    reason = "" if wrong else record.why_nothing_is_told()
    return Report(
        verdict="wrong" if wrong else "inconclusive" if reason else "right",
        reason=reason,
        diagnosis=diagnose(record, counted) if wrong else None,
        rows=tuple(record.rows),
        checks=tuple(record.checks),
        transforms=table,
        warnings=tuple(dict.fromkeys(record.warnings)),
        findings=tuple(dict.fromkeys(record.findings)),
        not_taken=tuple(dict.fromkeys(record.refusals)),
        witness=_witness(drawn[0], record),
        not_covered=_not_covered(record, drawn[0].reference is not None, transforms),
    )


def assert_gradients(fn: Any = None, reference: Any = None, **options: Any) -> Report:
    """`compare`, for tests: raises `GradientMismatch` with the report unless the gradient is right.

    Takes what `compare` takes.
    """
    report = compare(fn, reference, **options)
    if not report.ok:
        raise GradientMismatch(report)
    return report


def _drawn(inputs: Any, seed: int) -> list[Any]:
    if not callable(inputs):
        return [inputs]
    generator = torch.Generator().manual_seed(seed)
    return [inputs(generator) for _ in range(DRAWN_INPUTS)]


def _dtypes(dtypes: Any) -> Sequence[torch.dtype] | None:
    given = (dtypes,) if isinstance(dtypes, torch.dtype) else dtypes
    if given is None:
        return None
    if isinstance(given, str) or not all(
        isinstance(dtype, torch.dtype) and dtype.is_floating_point for dtype in given
    ):
        raise TypeError(
            f"dtypes must be floating-point dtypes, as [torch.float32, torch.bfloat16]; "
            f"got {dtypes!r}"
        )
    return tuple(given)


def _devices(devices: Any) -> Sequence[torch.device] | None:
    if devices is None:
        return None
    single = isinstance(devices, str | torch.device)
    try:
        found = [torch.device(device) for device in ((devices,) if single else devices)]
    except (RuntimeError, TypeError):
        raise TypeError(f"devices must be such as ['cpu', 'cuda'], got {devices!r}") from None
    for device in found:
        try:
            torch.ones((), device=device).item()  # it is there, and holds numbers
        except (RuntimeError, AssertionError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"cannot compare on the device {device}: {reason}") from None
    return found


def _in_each(
    case: Case, dtypes: Sequence[torch.dtype] | None, devices: Sequence[Any] | None
) -> list[Case]:
    """The case in every dtype on every device that was asked for."""
    return [
        case.to(dtype, torch.device(device))
        for dtype in dtypes or (case.dtype,)
        for device in devices or (case.device,)
    ]


def _teller(tell: Callable[[str], None], case: Case) -> Callable[[Role], None]:
    dtype = name_of(case.dtype)
    return lambda role: tell(f"{dtype}, {words(role)}")


def _witness(case: Case, record: Record) -> str:
    if case.reference is None:
        return "differences of the function's own values, in float64"
    if case.own_forward:
        return "the function's own forward under autograd, in float64"
    if record.reference_is_wrong:
        return "differences of the reference's values, in float64"
    return "the reference under autograd, in float64"


def _not_covered(record: Record, has_reference: bool, transforms: bool) -> tuple[str, ...]:
    left_out = []
    if transforms and not record.ok:
        left_out.append("torch's transforms, until the gradient itself is right")
    devices = sorted({row.device for row in record.rows})
    left_out.append(f"devices other than {', '.join(devices)}")
    if has_reference and any(row.dtype == "float64" for row in record.rows):
        left_out.append("autograd's own rounding in float64, where it is the truth")
    if not has_reference:
        left_out.append("value and second derivative, for want of a reference")
    return tuple(left_out)
