"""How a function with a hand-written backward fares under each of torch's transforms.

Some transforms drop the rule without a word and differentiate the forward, so right numbers are
not enough: see marked.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bp_torch.judge.eager import (
    Case,
    along,
    derive,
    dot,
    floating,
    gradient,
    hessian_by_differences,
    jacobian,
    of_each,
    pull_back,
    values_and_gradients,
)
from bp_torch.judge.marked import Function, functions_asked, nodes, undisturbed, verdict

# Rounding units of the inputs' dtype, relative to the largest entry of the expected result: the
# transforms reorder some ten operations and sums over a few dozen entries. Mistakes in a
# derivative are larger by orders of magnitude.
TOLERANCE_EPS = 64

# Autocast works in fewer digits, but for few operations: over random neurons 1.5 of its own
# rounding units were seen.
AUTOCAST_DTYPE = torch.bfloat16
AUTOCAST_TOLERANCE = 8 * torch.finfo(AUTOCAST_DTYPE).eps


@dataclass(frozen=True)
class TransformRow:
    """One transform and what became of the function under it."""

    name: str
    """The transform, such as "func.grad" or "compile(vmap(grad))"."""
    verdict: str
    """One of "right", "wrong", "refused" (it raised), "bypassed" (the rule by hand did not run)."""
    detail: str
    """One short line: how wrong and where, why refused, what was bypassed; "" where right."""


# The transforms themselves.


def _vmap(case: Case) -> Any:
    leaves = tuple(t.requires_grad_() for t in case.stacked())
    values = torch.vmap(case)(*leaves)
    return {"value": values, "gradient": derive(case.weigh(values), leaves)}


def _per_sample(case: Case) -> Any:
    dims, samples = case.samples()

    def cost(*inputs: Tensor) -> Tensor:
        return samples[0].weigh(floating(case.function(*inputs)))

    return torch.vmap(torch.func.grad(cost, case.places), dims)(*case.inputs)


def _double_backward(case: Case) -> Any:
    # As in a network the upstream gradient has a graph of its own, and the second backward goes to
    # every leaf there is: only so does torch raise where a backward is once_differentiable.
    leaves, weights = case.leaves(), [w.clone().requires_grad_() for w in case.weights]
    first = derive(dot(case(*leaves), weights), leaves, graph=True)
    others = [node.variable for node in nodes(first) if "AccumulateGrad" in node.name()]
    return derive(dot(first, case.direction()), [*leaves, *others])[: len(leaves)]


def _checkpoint(case: Case) -> Any:
    return pull_back(case, lambda *point: checkpoint(case, *point, use_reentrant=False))


def _autocast(case: Case) -> Any:
    def under_autocast(*point: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(point[0].device.type, dtype=AUTOCAST_DTYPE):
            return case(*point)

    return pull_back(case, under_autocast)  # the backward runs outside, as torch recommends


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled anew, without torch._dynamo.reset(), which is the caller's to call."""

    def entry(*inputs: Tensor) -> Any:
        return function(*inputs)

    # Dynamo keeps what it compiled, and how often, with the code object: a copy starts empty.
    code, closure = entry.__code__.replace(), entry.__closure__
    fresh = FunctionType(code, entry.__globals__, "entry", None, closure)
    return torch.compile(fresh, fullgraph=True, dynamic=False, backend="aot_eager")


class _Module(torch.nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case

    def forward(self, *point: Tensor) -> tuple[Tensor, ...]:
        return self.case(*point)


def _export(case: Case) -> Any:
    program = torch.export.export(_Module(case), case.leaves())
    return pull_back(case, program.module())


@dataclass(frozen=True)
class _Row:
    name: str
    what: str  # names the result
    run: Callable[[Case], Any]
    expect: Callable[[Case], Any] = gradient
    expect_alone: Callable[[Case], Any] | None = None  # from the function's own gradient
    rule: str = "backward"
    compiles: bool = False


_ROWS = (
    _Row("vmap", "", _vmap, values_and_gradients),
    _Row("func.grad", "gradient", lambda c: torch.func.grad(c.cost, c.all)(*c.point)),
    _Row(
        *("jvp", "tangent", lambda c: torch.func.jvp(c, c.point, c.direction())[1]),
        lambda c: along(jacobian(c), c.direction()),
        rule="jvp",
    ),
    _Row(
        *("jacfwd", "jacobian", lambda c: torch.func.jacfwd(c, c.all)(*c.point), jacobian),
        rule="jvp",
    ),
    _Row("jacrev", "jacobian", lambda c: torch.func.jacrev(c, c.all)(*c.point), jacobian),
    _Row(
        *("hessian", "hessian", lambda c: torch.func.hessian(c.cost, c.all)(*c.point)),
        lambda c: torch.autograd.functional.hessian(c.cost, c.point),
        expect_alone=hessian_by_differences,
    ),
    _Row(
        *("per-sample gradients", "gradient", _per_sample),
        lambda c: of_each(c.samples()[1]),
    ),
    _Row(
        *("double backward", "second derivative", _double_backward, _double_backward),
        expect_alone=lambda c: along(hessian_by_differences(c), c.direction()),
    ),
    _Row("checkpoint", "gradient", _checkpoint),
    _Row("autocast", "gradient", _autocast, _autocast, gradient),
    _Row("compile", "gradient", lambda c: pull_back(c, _compiled(c)), compiles=True),
    _Row(
        *("compile(func.grad)", "gradient"),
        lambda c: _compiled(torch.func.grad(c.cost, c.all))(*c.point),
        compiles=True,
    ),
    _Row(
        *("compile(vmap(grad))", "gradient"),
        lambda c: _compiled(torch.vmap(torch.func.grad(c.cost, c.all)))(*c.stacked()),
        lambda c: of_each(c.copies()),
        compiles=True,
    ),
    _Row("export", "gradient", _export, compiles=True),
)


def transform_table(
    fn: Callable[..., Any],
    reference: Callable[..., Any] | None,
    inputs: Sequence[Tensor],
    *,
    compile: bool = True,
) -> tuple[TransformRow, ...]:
    """How `fn` fares under each of torch's transforms.

    Args:
        fn: tensors to one tensor or a tuple of them; its floating-point outputs are weighed with
            fixed random numbers and summed where a transform wants a scalar.
        reference: the same mathematics in plain operations. Without one, the expected values come
            from fn's own gradient in eager reverse mode, the second derivatives by differences.
        inputs: small tensors; it is differentiated by those in floating point. For per-sample
            gradients, those as long as the first in dimension 0 hold one sample per row. Autocast
            leaves float64 alone, so its row says something for float32 only.
        compile: also what needs a compiler: compile, its combinations, and export.

    Returns:
        A row per transform. "bypassed": an autograd.Function that fn applies was not asked.

    Raises:
        ValueError: no floating-point input or output, or the reference's outputs have another
            shape.
    """
    if not any(t.is_floating_point() for t in inputs):
        raise ValueError("inputs must hold a floating-point tensor")
    with undisturbed(inputs):
        case = Case(fn, inputs)
        truth = _widened(reference or fn, inputs)
        if [w.shape for w in truth.weights] != [w.shape for w in case.weights]:
            raise ValueError("fn and reference must return tensors of the same shapes")
        plain = None if reference is None else Case(reference, inputs)
        functions = functions_asked(case(*case.leaves()), lambda: gradient(case))
        return tuple(
            _judge(row, case, truth, plain, functions)
            for row in _ROWS
            if compile or not row.compiles
        )


def _judge(
    row: _Row, case: Case, truth: Case, plain: Case | None, functions: Sequence[Function]
) -> TransformRow:
    expect, tolerance = row.expect, TOLERANCE_EPS * case.eps
    if row.name == "autocast":
        tolerance = max(tolerance, AUTOCAST_TOLERANCE)
        truth = plain or truth  # autocast would leave a reference in float64 alone
    if plain is None and row.expect_alone is not None:
        expect = row.expect_alone
        # As good as central differences can be.
        tolerance = max(tolerance, TOLERANCE_EPS * truth.eps ** (2 / 3))
    judged = verdict(
        lambda: {row.what: row.run(case)} if row.what else row.run(case),
        lambda: {row.what: expect(truth)} if row.what else expect(truth),
        tolerance,
        functions,
        row.rule,
    )
    return TransformRow(row.name, *judged)


def _widened(function: Callable[..., Any], inputs: Sequence[Tensor]) -> Case:
    wide = [t.double() if t.is_floating_point() else t for t in inputs]
    try:
        case = Case(function, wide)
        gradient(case)
    except Exception:  # it holds weights of its own, or a kernel, for one dtype only
        return Case(function, inputs)
    return case
