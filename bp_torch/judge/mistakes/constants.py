"""A constant in the code that was rounded or mistyped: the one whose right value makes the gradient
right."""

import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from bp_torch.judge.closures import functions_within
from bp_torch.judge.criteria import MOST_CONSTANTS, NEARBY
from bp_torch.judge.distance import apart
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.mistakes.hypothesis import Hypothesis
from bp_torch.judge.passes import Refused, Tensors

TRIVIAL = (0.0, 1.0, -1.0)

NO_ROUNDED = 1e-6
"""A constant that should be 1 or 0 is no rounded one: it should not be there."""

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
    """Of each constant in the code of fn: is there another value near it with which the gradient is
    right? Its effect is taken as linear, and what is found is tried."""
    for constant in _constants(e.case.sources)[:MOST_CONSTANTS]:
        right = _right_value(e, constant)
        if right is None or any(abs(right - number) < NO_ROUNDED for number in TRIVIAL):
            continue
        written, should = apart(constant.value, right)
        text = (
            f"{e.the_gradient} has a wrong constant: {written} in "
            f"{constant.function.__qualname__.split('.<locals>.')[-1]} should be {should}"
        )
        # With the right one the gradient is the truth: so it is the constant that was wrong.
        yield Hypothesis("constants", text, {name: e.mine(name) for name in e.bad})


def _right_value(e: Evidence, constant: Constant) -> float | None:
    """The value, within reach of the one written, that explains all of the error."""
    point = e.point.of(e.case.fn).exact()

    def gradients(value: float) -> Tensors:
        with constant.replaced(value):
            return point.run().gradients

    try:
        written = gradients(constant.value)
        step = 1e-4 * abs(constant.value)
        value = constant.value
        for _ in range(ROUNDS):
            here, there = gradients(value), gradients(value + step)
            slope = {n: (there[n] - here[n]) / step for n in e.bad}
            move = _least_squares(slope, {n: e.exact(n) - here[n] for n in e.bad})
            if move is None:
                return None
            value += move
            if not abs(value - constant.value) <= NEARBY * abs(constant.value):
                return None
        if not 0 < abs(value - constant.value) <= NEARBY * abs(constant.value):
            return None
        found = gradients(value)
    except Refused:
        return None
    corrected = replace(
        e.yours, gradients={n: e.mine(n) - written[n] + found[n] for n in e.judgements}
    )
    right = all(
        bool(((corrected.gradients[n] - e.exact(n)).abs() <= e.judgements[n].limit)[known].all())
        for n in e.judgements
        for known in [e.exact(n).isfinite()]
    )
    return value if right else None


def _least_squares(slope: Tensors, error: Tensors) -> float | None:
    products = squares = 0.0
    for name, s in slope.items():
        known = error[name].isfinite() & s.isfinite()
        products += (s[known] * error[name][known]).sum().item()
        squares += s[known].square().sum().item()
    return products / squares if squares else None


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
