"""A constant in the code that was rounded or mistyped: the one whose right value makes the gradient
right."""

import types
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bp_torch.judge.closures import functions_within
from bp_torch.judge.criteria import FEWEST_FITTED, MOST_CONSTANTS, MOST_TOGETHER, NEARBY
from bp_torch.judge.distance import apart
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.mistakes.hypothesis import Hypothesis
from bp_torch.judge.passes import Refused, Tensors

TRIVIAL = (0.0, 1.0, -1.0)

NO_ROUNDED = 1e-6
"""A constant that should be 1 or 0 is no rounded one: it should not be there."""

NO_CHANGE = 1e-12
"""Of itself: such a constant was right."""

ROUNDS = 6
"""Of Newton's method with a slope from differences, each of which is right to four more digits."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A number that a function's code holds, or one that it finds under a name."""

    function: types.FunctionType
    value: float
    cell: types.CellType | None = None
    """Where it is kept, if the function closes over it."""

    @contextmanager
    def replaced(self, value: float) -> Iterator[None]:
        """Inside, there is another number in its place."""
        code = self.function.__code__
        if self.cell is not None:
            self.cell.cell_contents = value
        else:
            others = tuple(value if _is(each, self.value) else each for each in code.co_consts)
            self.function.__code__ = code.replace(co_consts=others)
        try:
            yield
        finally:
            self.function.__code__ = code
            if self.cell is not None:
                self.cell.cell_contents = self.value


def constants(e: Evidence) -> Iterator[Hypothesis]:
    """Of each constant in the code of fn, and then of all together: are there other values near
    them with which the gradient is right? What is found is tried."""
    found = _constants(e.case.sources)[:MOST_CONSTANTS]
    for tried in [*([constant] for constant in found), found[:MOST_TOGETHER]]:
        right = _right_values(e, tried)
        wrong = [
            (constant, value)
            for constant, value in zip(tried, right or (), strict=False)
            if abs(value - constant.value) > NO_CHANGE * abs(constant.value)
        ]
        trivial = any(abs(value - n) < NO_ROUNDED for _, value in wrong for n in TRIVIAL)
        if wrong and not trivial:
            text = f"{e.the_gradient} has {_listed(wrong)}"
            # With the right one the gradient is the truth: so it is the constant that was wrong.
            yield Hypothesis("constants", text, {name: e.mine(name) for name in e.bad})


def _listed(wrong: Sequence[tuple[Constant, float]]) -> str:
    """ "a wrong constant: 0.044 in backward should be 0.044715"."""
    pairs = [apart(constant.value, value) for constant, value in wrong]
    where = wrong[0][0].function.__qualname__.split(".<locals>.")[-1]
    if len(pairs) == 1:
        return f"a wrong constant: {pairs[0][0]} in {where} should be {pairs[0][1]}"
    listed = ", ".join(f"{written} for {should}" for written, should in pairs)
    return f"wrong constants in {where}: {listed}"


def _right_values(e: Evidence, tried: Sequence[Constant]) -> list[float] | None:
    """The values, within reach of those written, that together explain all of the error."""
    point = e.point.of(e.case.fn).exact()
    written = [constant.value for constant in tried]
    if not tried or sum(e.mine(name).numel() for name in e.bad) < FEWEST_FITTED * len(tried):
        return None

    def gradients(values: Sequence[float]) -> Tensors:
        with ExitStack() as stack:
            for constant, value in zip(tried, values, strict=True):
                stack.enter_context(constant.replaced(value))
            return point.run().gradients

    try:
        values, before = list(written), gradients(written)
        for _ in range(ROUNDS):
            here = gradients(values)
            slopes = []
            for k, value in enumerate(written):
                step = 1e-4 * abs(value)
                there = gradients([v + step * (j == k) for j, v in enumerate(values)])
                slopes.append(_flat({n: (there[n] - here[n]) / step for n in e.bad}))
            error = _flat({n: e.exact(n) - here[n] for n in e.bad})
            moves = _least_squares(slopes, error)
            if moves is None:
                return None
            values = [value + move for value, move in zip(values, moves, strict=True)]
            if any(abs(v - w) > NEARBY * abs(w) for v, w in zip(values, written, strict=True)):
                return None
        after = gradients(values)
    except Refused:
        return None
    right = all(
        bool(((e.mine(n) - before[n] + after[n] - e.exact(n)).abs() <= j.limit)[known].all())
        for n, j in e.judgements.items()
        for known in [e.exact(n).isfinite()]
    )
    return values if right else None


def _flat(tensors: Tensors) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def _least_squares(slopes: Sequence[Tensor], error: Tensor) -> list[float] | None:
    columns = torch.stack(tuple(slopes), -1)
    known = error.isfinite() & columns.isfinite().all(-1)
    if not known.any() or not columns[known].any():
        return None
    scale = columns[known].norm(dim=0).clamp(min=torch.finfo(torch.float64).tiny)
    found = torch.linalg.lstsq(columns[known] / scale, error[known, None], driver="gelsd")
    moves: list[float] = (found.solution[:, 0] / scale).tolist()
    return moves


def _constants(sources: Sequence[Any]) -> list[Constant]:
    found: dict[tuple[Any, float], Constant] = {}
    for function in functions_within(*sources):
        for value in function.__code__.co_consts:
            if isinstance(value, float):
                found.setdefault((function, value), Constant(function, value))
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # not bound yet
                value = cell.cell_contents
                if isinstance(value, float):
                    found.setdefault((id(cell), value), Constant(function, value, cell))
    return [constant for (_, value), constant in found.items() if value not in TRIVIAL]


def _is(one: Any, value: float) -> bool:
    return isinstance(one, float) and one == value
