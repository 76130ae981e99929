"""The transforms, a row each: what torch makes of the function, held against eager reverse mode.

A further transform is a line in `ROWS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bp_torch.judge import criteria
from bp_torch.judge.cases import Case
from bp_torch.judge.distance import Result, name_of, relative_distance
from bp_torch.judge.graph import is_leaf, nodes
from bp_torch.judge.passes import (
    Point,
    Refused,
    differentiate,
    foreign_code,
    outputs_of,
    seed_torch,
)
from bp_torch.judge.rows import Outcome, TransformRow
from bp_torch.judge.transforms import expected as by_eager
from bp_torch.judge.transforms.expected import cost, gradient, places, pull_back, wanted
from bp_torch.judge.transforms.marks import functions_asked, that_did_not_run
from bp_torch.judge.trials import Draw, Role, Trial
from bp_torch.judge.undisturbed import quiet, undisturbed


@dataclass(frozen=True)
class Row:
    """One transform: how it is run, and what it should give."""

    name: str
    kind: str
    """Of what it gives, to name a place in it; "" where it gives several kinds by name."""
    run: Callable[[Point], Any]
    expect: Callable[[Point], Any] = gradient
    expect_alone: Callable[[Point], Any] | None = None
    """What it should give where there is no reference; None: as `expect`."""
    by_differences: Callable[[Point, float], Any] | None = None
    """The same, from the function's own gradient over steps so many times the best one."""
    rule: str = "backward"
    """What has to run: "backward" or "jvp"."""
    compiles: bool = False
    autocasts: bool = False
    order: int = 1
    """Of the derivative that it takes."""


def _vmap(point: Point) -> Any:
    leaves = tuple(t.requires_grad_() for t in by_eager.stacked(point))
    values = torch.vmap(point)(*leaves)
    upstream = [g.expand_as(v) for g, v in zip(point.upstream, values, strict=True)]
    return {"value": values, "gradient": differentiate(values, upstream, leaves)}


def _of_each_copy(point: Point) -> Any:
    copies = by_eager.copies(point)
    values = by_eager.each_of(copies, by_eager.values)
    return {"value": values, "gradient": by_eager.each_of(copies)}


def _per_sample(point: Point) -> Any:
    dims, samples = by_eager.samples(point)
    numbers = tuple(list(point.inputs).index(name) for name in point.wanted)

    def sample_cost(*inputs: Tensor) -> Tensor:
        return by_eager.dot(point.function(*inputs), samples[0].upstream)

    return torch.vmap(torch.func.grad(sample_cost, numbers), dims)(*point.inputs.values())


def _double_backward(point: Point) -> Any:
    # As in a network the upstream gradient has a graph of its own, and the second backward goes to
    # every leaf there is: only so does torch raise where a backward is once_differentiable.
    leaves, upstream = point.leaves(), [g.clone().requires_grad_() for g in point.upstream]
    first = differentiate(point(*leaves), upstream, leaves, graph=True)
    others = [node.variable for node in nodes(first) if is_leaf(node)]
    return differentiate(first, by_eager.direction(point), [*leaves, *others])[: len(leaves)]


def _checkpoint(point: Point) -> Any:
    return pull_back(point, lambda *leaves: checkpoint(point, *leaves, use_reentrant=False))


def _autocast(point: Point) -> Any:
    def under_autocast(*leaves: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(leaves[0].device.type, dtype=criteria.AUTOCAST_DTYPE):
            return point(*leaves)

    return pull_back(point, under_autocast)  # the backward runs outside, as torch recommends


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled anew, without torch._dynamo.reset(), which is the caller's to call."""

    def entry(*inputs: Tensor) -> Any:
        return function(*inputs)

    # Dynamo keeps what it compiled, and how often, with the code object: a copy starts empty.
    code, closure = entry.__code__.replace(), entry.__closure__
    fresh = FunctionType(code, entry.__globals__, "entry", None, closure)
    return torch.compile(fresh, fullgraph=True, dynamic=False, backend="aot_eager")


class _Module(torch.nn.Module):
    def __init__(self, point: Point) -> None:
        super().__init__()
        self.point = point

    def forward(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        return self.point(*leaves)


def _export(point: Point) -> Any:
    program = torch.export.export(_Module(point), point.leaves())
    return pull_back(point, program.module())


ROWS = (
    Row("vmap", "", _vmap, _of_each_copy),
    Row("func.grad", "gradient", lambda p: torch.func.grad(cost(p), places(p))(*wanted(p))),
    Row(
        "jvp",
        "tangent",
        lambda p: torch.func.jvp(p, wanted(p), by_eager.direction(p))[1],
        lambda p: by_eager.along(by_eager.jacobian(p), by_eager.direction(p)),
        rule="jvp",
    ),
    Row(
        "jacfwd",
        "jacobian",
        lambda p: torch.func.jacfwd(p, places(p))(*wanted(p)),
        by_eager.jacobian,
        rule="jvp",
    ),
    Row(
        "jacrev",
        "jacobian",
        lambda p: torch.func.jacrev(p, places(p))(*wanted(p)),
        by_eager.jacobian,
    ),
    Row(
        "hessian",
        "hessian",
        lambda p: torch.func.hessian(cost(p), places(p))(*wanted(p)),
        by_eager.hessian,
        by_differences=by_eager.hessian_by_differences,
        order=2,
    ),
    Row(
        "per-sample gradients",
        "gradient",
        _per_sample,
        lambda p: by_eager.each_of(by_eager.samples(p)[1]),
    ),
    Row(
        "double backward",
        "second derivative",
        _double_backward,
        _double_backward,
        by_differences=lambda p, steps: by_eager.along(
            by_eager.hessian_by_differences(p, steps), by_eager.direction(p)
        ),
        order=2,
    ),
    Row("checkpoint", "gradient", _checkpoint),
    Row("autocast", "gradient", _autocast, _autocast, gradient, autocasts=True),
    Row("compile", "gradient", lambda p: pull_back(p, _compiled(p)), compiles=True),
    Row(
        "compile(func.grad)",
        "gradient",
        lambda p: _compiled(torch.func.grad(cost(p), places(p)))(*wanted(p)),
        compiles=True,
    ),
    Row(
        "compile(vmap(grad))",
        "gradient",
        lambda p: _compiled(torch.vmap(torch.func.grad(cost(p), places(p))))(*by_eager.stacked(p)),
        lambda p: by_eager.each_of(by_eager.copies(p)),
        compiles=True,
    ),
    Row("export", "gradient", _export, compiles=True),
)


def transform_table(
    case: Case, *, compile: bool, tell: Callable[[str], None]
) -> tuple[TransformRow, ...]:
    """How the function of a case fares under each of torch's transforms.

    Without a reference the expected values come from its own gradient in eager reverse mode, the
    second derivatives by differences. For per-sample gradients, inputs as long as the first in
    dimension 0 hold one sample per row. Autocast leaves float64 alone: its row is of float32.

    Args:
        case: small; whole Jacobians and Hessians are built.
        compile: also what needs a compiler: compile, its combinations, and export.
        tell: is told before each; raises `Refused` for what must not be tried.
    """
    rows = [row for row in ROWS if compile or not row.compiles]
    with undisturbed(), quiet():
        scene = Scene.of(case)
        try:
            in_float32 = Scene.of(case.to(torch.float32, case.device))
        except Refused:  # it takes its own dtype alone
            in_float32 = scene
        return tuple(_judged(row, in_float32 if row.autocasts else scene, tell) for row in rows)


@dataclass(frozen=True, eq=False)
class Scene:
    """The function at the point where the transforms are tried."""

    point: Point
    exact: Point
    """What tells the truth there: in float64, where it takes that."""
    reference: Point | None
    dtype: torch.dtype
    functions: list[type[torch.autograd.Function]]
    """Whose backward plain eager reverse mode asks."""

    @classmethod
    def of(cls, case: Case) -> "Scene":
        """The case's inputs, and upstream gradients drawn for them."""
        trial = Trial(Role.AS_GIVEN, case.inputs, case.wanted, Draw(seed=0).upstream)
        point = trial.point(case.fn)
        exact = point.of(case.told_by).exact()
        try:
            exact.run()
        except Refused:  # it has a kernel for one dtype only
            exact = point.of(case.told_by)
        if case.reference is None:  # the function itself is what torch should make of it
            exact = point
        return cls(
            point=point,
            exact=exact,
            reference=None if case.reference is None else point.of(case.reference),
            dtype=case.dtype,
            functions=functions_asked(outputs_of(point, *point.leaves()), point.run),
        )


def _judged(row: Row, scene: Scene, tell: Callable[[str], None]) -> TransformRow:
    error = 0.0
    try:
        tell(row.name)
        outcome, detail, error = _outcome(row, scene)
    except Refused as refusal:
        outcome, detail = Outcome.REFUSED, refusal.reason
    dtype = name_of(scene.dtype)
    return TransformRow(row.name, dtype, outcome, row.order, detail, error)


def _outcome(row: Row, scene: Scene) -> tuple[Outcome, str, float]:
    """What became of the function, one short line that says why, and the error where it is wrong.

    Raises `Refused` where the function or the reference does.
    """
    actual = _result(row, row.run, scene.point)
    expected, tolerance = _expected(row, scene)
    silent = that_did_not_run(
        scene.functions, row.rule, lambda: _result(row, row.run, scene.point), actual
    )
    idle = ", ".join(f"{function.__name__}.{row.rule}" for function in silent)
    size, place = relative_distance(actual, expected)
    if size <= tolerance:
        if silent:
            return Outcome.BYPASSED, f"{idle} did not run, torch differentiated its forward", 0.0
        return Outcome.RIGHT, "", 0.0
    off = f"relative error {size:.1e} in {place}"
    if silent:  # no rule by hand is to blame for what torch makes of the forward
        return Outcome.BYPASSED, f"{off}; {idle} did not run", size
    # Nor where what is right in eager mode is not when compiled.
    eager = _result(row, row.expect, scene.point) if row.compiles else actual
    compiler = relative_distance(actual, eager)[0] > tolerance
    if compiler or _is_torchs_own(row, scene, expected, tolerance):
        return Outcome.TORCH, off, size
    return Outcome.WRONG, off, size


def _expected(row: Row, scene: Scene) -> tuple[Result, float]:
    """What the transform should give, and how far from it is right."""
    truth, expect = scene.exact, row.expect
    tolerance = criteria.TRANSFORM_EPS * torch.finfo(scene.dtype).eps
    if row.autocasts:
        eps = torch.finfo(criteria.AUTOCAST_DTYPE).eps
        tolerance = max(tolerance, criteria.AUTOCAST_EPS * eps)
        truth = scene.reference or truth  # autocast would leave a reference in float64 alone
    alone = row.by_differences if scene.reference is None else None
    if scene.reference is None:
        expect = row.expect_alone or expect
    try:
        if alone is None:
            return _result(row, expect, truth), tolerance
        found = _result(row, lambda p: alone(p, 1.0), truth)
        # Over twice the step they err four times as much; and they are as good as they can be.
        twice = _result(row, lambda p: alone(p, 2.0), truth)
    except Refused as refusal:
        raise Refused(ValueError(f"no reference: {refusal.reason}")) from refusal
    own = torch.finfo(truth.upstream[0].dtype).eps
    best = criteria.TRANSFORM_EPS * own ** (2 / 3)
    return found, max(tolerance, best, 2 * relative_distance(twice, found)[0])


def _is_torchs_own(row: Row, scene: Scene, expected: Result, tolerance: float) -> bool:
    """Whether the transform is wrong for the reference too, or for what has no rule by hand."""
    if scene.reference is None:
        return not scene.functions
    try:
        found = _result(row, row.run, scene.reference)
    except Refused:
        return False
    return relative_distance(found, expected)[0] > tolerance


def _result(row: Row, run: Callable[[Point], Any], point: Point) -> Result:
    seed_torch()
    with foreign_code():
        found = run(point)
    return {row.kind: found} if row.kind else found
