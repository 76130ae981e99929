"""`compare`: the trials of every dtype and device, the transforms, and the mistake by its name."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bp_torch.judge.progress import progress_line
from bp_torch.judge.report import Check, GradientMismatch, Report, Row

# The trials and the diagnosis load with the first comparison: `import bp_torch` brings this module
# along, and they would be most of what it costs.
if TYPE_CHECKING:
    from bp_torch.judge.evidence import Evidence
    from bp_torch.judge.problem import Problem

DRAWN_INPUTS = 3

FEW = 12
MOST_FOR_TRANSFORMS = 2048
"""Elements: whole Jacobians and Hessians are built there."""


def compare(
    fn: Any = None,
    reference: Any = None,
    *,
    inputs: Sequence[Tensor] | Callable[[torch.Generator], Sequence[Tensor]],
    backward: Callable[..., Any] | None = None,
    dtypes: Sequence[torch.dtype] | None = None,
    devices: Sequence[str | torch.device] | None = None,
    transforms: bool = True,
    compile: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Hold a hand-written gradient against autograd's and against the truth.

    The truth is the reference in float64 on the same quantised inputs; without a reference it is
    differences of fn's own values. `criteria` has the rule, `trials` what is tried.

    Args:
        fn: the hand-written function or nn.Module, whose parameters then count as inputs.
        reference: the same mathematics for autograd; None: fn's own values are the truth.
        inputs: tensors, or a function of a seeded generator that makes them (drawn three times).
            Those that require a gradient are differentiated; where none does, all floating ones.
        backward: a bare formula (upstream, *inputs) → gradients, in place of fn.
        dtypes: to be judged; None: that of the inputs.
        devices: to be judged on; None: that of the inputs.
        transforms: whether to look at torch's transforms as well.
        compile: whether torch.compile and torch.export are among them (they take seconds).
        seed: of everything random; the global generator is left as it is.
        progress: told what is being tried; None: a line on a terminal where it takes over 2 s.

    Returns:
        `Report`; report.ok says whether the gradient is right.

    Raises:
        TypeError, ValueError: what cannot be compared, in one line.
        Whatever fn raises on the given inputs, with a note on the trial and the shapes.
    """
    from bp_torch.judge.bench import Bench
    from bp_torch.judge.diagnosis import diagnose
    from bp_torch.judge.problem import make_problem
    from bp_torch.judge.trials import Draw

    drawn = _draw_inputs(inputs, seed)
    rows: list[Row] = []
    checks: list[Check] = []
    evidence: list[Evidence] = []
    not_taken: list[str] = []
    findings: list[str] = []
    table: tuple[tuple[str, str, str], ...] = ()
    with _undisturbed(), progress_line(progress) as tell:
        for number, given in enumerate(drawn):
            problem = make_problem(fn, reference, given, backward)
            for dtype, device in _cases(problem, dtypes, devices):
                cast = [_cast(t, dtype, device) for t in problem.inputs]
                bench = Bench(replace(problem, inputs=tuple(cast)), dtype, device, Draw(seed))
                bench.prove(tell, only_given=number > 0)
                rows += bench.rows
                checks += bench.checks
                evidence += bench.evidence
                not_taken += bench.not_taken
                findings += bench.findings
        covered = []
        if transforms and not _all_right(rows, checks):
            covered.append("torch's transforms, until the gradient itself is right")
        elif transforms:
            tell("torch's transforms")
            table = _transforms(problem, dtype, compile)
            if any(verdict == "wrong" for _, verdict, _ in table):
                # Of a function that has been proven right its own gradient is as good a reference,
                # where autograd's was found less exact: only what contradicts both is wrong.
                alone = _transforms(replace(problem, reference=None), dtype, compile)
                table = tuple(
                    own if row[1] == "wrong" else row for row, own in zip(table, alone, strict=True)
                )
    wrong = [f"{name}: {detail}" for name, verdict, detail in table if verdict == "wrong"]
    checks += [Check("transform", False, text) for text in wrong]
    ok = _all_right(rows, checks)
    covered.append("devices other than " + ", ".join(sorted({row.device for row in rows})))
    if reference is not None and any(row.dtype == "float64" for row in rows):
        covered.append("autograd's own rounding in float64, where it is the truth")
    if reference is None:
        covered.append("value and second derivative, for want of a reference")
    return Report(
        ok=ok,
        diagnosis=None if ok else diagnose(rows, checks, evidence),
        rows=tuple(rows),
        checks=tuple(checks),
        transforms=table,
        findings=tuple(dict.fromkeys(findings)),
        not_taken=tuple(dict.fromkeys(not_taken)),
        not_covered=tuple(covered),
    )


def assert_gradients(fn: Any = None, reference: Any = None, **options: Any) -> Report:
    """`compare`, for tests: raises `GradientMismatch` with the report where the gradient is wrong.

    Takes what `compare` takes.
    """
    report = compare(fn, reference, **options)
    if not report.ok:
        raise GradientMismatch(report)
    return report


def _all_right(rows: Sequence[Row], checks: Sequence[Check]) -> bool:
    return all(row.ok for row in rows) and all(check.ok for check in checks)


def _draw_inputs(inputs: Any, seed: int) -> list[Sequence[Tensor]]:
    if not callable(inputs):
        return [inputs]
    generator = torch.Generator().manual_seed(seed)
    return [tuple(inputs(generator)) for _ in range(DRAWN_INPUTS)]


def _cases(
    problem: "Problem", dtypes: Sequence[torch.dtype] | None, devices: Sequence[Any] | None
) -> Iterator[tuple[torch.dtype, torch.device]]:
    first = next(t for t, want in zip(problem.inputs, problem.wanted, strict=True) if want)
    for dtype in dtypes or (first.dtype,):
        for device in devices or (first.device,):
            yield dtype, torch.device(device)


def _cast(tensor: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)


def _transforms(
    problem: "Problem", dtype: torch.dtype, compile: bool
) -> tuple[tuple[str, str, str], ...]:
    """The table of transforms on few elements: it speaks of rules, not of numbers."""
    from bp_torch.judge.evaluate import is_pointwise
    from bp_torch.judge.transforms import transform_table

    reference = problem.reference
    inputs = tuple(_cast(t, dtype, t.device) for t in problem.inputs)
    if is_pointwise(reference or problem.fn, inputs):
        inputs = tuple(t.flatten()[:FEW] for t in inputs)
    elif sum(t.numel() for t in inputs) > MOST_FOR_TRANSFORMS:
        return (("all", "refused", f"more than {MOST_FOR_TRANSFORMS} elements: try fewer"),)
    rows = transform_table(problem.fn, reference, inputs, compile=compile)
    return tuple((row.name, row.verdict, row.detail) for row in rows)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Grad mode on, and everything global as it was afterwards."""
    state = torch.get_rng_state()
    dtype = torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        with torch.enable_grad():
            yield
    finally:
        torch.set_rng_state(state)
        torch.set_default_dtype(dtype)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
