"""Mistakes that show in the numbers: a sign, a factor, a place, a sum over the wrong samples."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from bp_torch.judge.closures import numbers_of
from bp_torch.judge.criteria import (
    ALIKE,
    COARSER,
    DIGITS_LAST,
    DIGITS_NEAR,
    DIGITS_SHARE,
    FEWEST_FITTED,
    MOST_SAMPLES,
)
from bp_torch.judge.distance import name_of
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.mistakes.hypothesis import Hypothesis, changed, fitted
from bp_torch.judge.passes import Refused, Tensors
from bp_torch.judge.truth import Estimate

ELSEWHERE = 1.25
"""Inputs so many times as large show whether a factor is constant."""


def signs_and_places(e: Evidence) -> Iterator[Hypothesis]:
    """The right numbers with the other sign, or where they do not belong."""
    yield Hypothesis("sign", f"{e.the_gradient} has the wrong sign", changed(e, torch.neg))
    for place, one in enumerate(e.bad):
        for other in e.bad[place + 1 :]:
            if e.exact(one).shape == e.exact(other).shape:
                swapped = {one: e.exact(other), other: e.exact(one)}
                text = f"the gradients of {one} and {other} are swapped"
                yield Hypothesis("swapped", text, swapped)
    if all(e.exact(name).ndim == 2 for name in e.bad):
        text = f"{e.the_gradient} is transposed"
        yield Hypothesis("transposed", text, changed(e, lambda t: t.mT))


def known_factors(e: Evidence) -> Iterator[Hypothesis]:
    """Factors that are forgotten or taken twice: ½, 2, and the sizes of the inputs."""
    words = {
        0.0: "zero everywhere",
        2.0: "twice the truth: a factor ½ is missing, as of ½(ŷ − y)²",
        0.5: "half the truth: a factor 2 is missing, as of the derivative of a square",
    }
    for origin, size in _sizes(e):
        if size > 1:
            for c, why in (
                (size, f"a division by {origin} is missing"),
                (1 / size, f"divided by {origin} once too often"),
                ((size + 1) / size, f"(N + 1)/N with N = {origin}, one term too many"),
            ):
                words.setdefault(c, f"{c:.6g} times the truth: {why}")
    for name, number in {**e.case.numbers, **numbers_of(*e.case.sources)}.items():
        lacks, twice = f"the factor {name} is missing", f"it has the factor {name} once too often"
        words.setdefault(1 / number, f"{1 / number:.6g} times the truth: {lacks}")
        words.setdefault(number, f"{number:.6g} times the truth: {twice}")
    for c, text in words.items():
        guess = changed(e, lambda t: c * t)  # noqa: B023, used before c moves on
        yield Hypothesis("factor", f"{e.the_gradient} is {text}", guess)


def _sizes(e: Evidence) -> Iterator[tuple[str, int]]:
    """Numbers that a mean divides by."""
    for name, tensor in e.point.inputs.items():
        for axis, size in enumerate(tensor.shape):
            yield f"the size {size} of dimension {axis} of {name}", size
        yield f"the {tensor.numel()} elements of {name}", tensor.numel()
    for output in e.point.upstream:
        yield f"the {output.numel()} elements of the output", output.numel()


def any_factor(e: Evidence) -> Iterator[Hypothesis]:
    """One factor for all wrong gradients, the one that fits best."""
    if sum(e.exact(name).numel() for name in e.bad) < 2:
        return  # One number is a multiple of any other: that names nothing.
    c = fitted({n: e.exact(n) for n in e.bad}, {n: e.mine(n) for n in e.bad})
    if c is None:
        return
    guess = changed(e, lambda t: c * t)
    there = _factor_elsewhere(e)
    if there is None or abs(there - c) <= ALIKE * abs(c):
        text = f"{e.the_gradient} is {c:.6g} times the truth, a constant factor"
        yield Hypothesis("factor", text, guess)
        return
    text = (
        f"{e.the_gradient} is {c:.4g} times the truth here and {there:.4g} times it at inputs "
        f"{ELSEWHERE:g} times as large: a factor that depends on the inputs"
    )
    yield Hypothesis("missing-factor", text, guess)


def _factor_elsewhere(e: Evidence) -> float | None:
    """The factor at other inputs, where the same reference tells it."""
    if e.case.reference is None:
        return None
    moved = {
        name: e.case.domain_of(name).scaled(t, ELSEWHERE) if t.is_floating_point() else t
        for name, t in e.point.inputs.items()
    }
    point = replace(e.point, inputs=moved)
    try:
        mine, again = (point.of(e.case.fn).run(seed).gradients for seed in (1, 2))
        exact = point.exact().run().gradients
    except Refused:
        return None
    if any(not torch.equal(mine[name], again[name]) for name in e.bad):
        return None  # it draws, and one draw shows no factor
    return fitted(e.of_the_bad(exact), {n: t.double() for n, t in mine.items()})


def functions_of_input_and_output(e: Evidence) -> Iterator[Hypothesis]:
    """Factors and terms that are simple functions of the inputs or of the output."""
    if not e.case.pointwise or len(e.point.upstream) > 1:
        return
    exact = e.point.exact()
    inputs, (g,), y = exact.inputs, exact.upstream, e.truth.outputs[0].value
    if len(inputs) == 1 and next(iter(inputs.values())).shape == y.shape:
        at_output = replace(exact, inputs=dict.fromkeys(inputs, y)).run()
        # Where f′ is 1 at every output that is no slip but the upstream gradient handed on.
        says = any(not torch.equal(found, g) for found in at_output.gradients.values())
        text = f"{e.the_gradient} is taken at the output: f′(f(x)) in place of f′(x)"
        if says:
            yield Hypothesis("output-for-input", text, at_output.gradients)
    simple = dict(_simple_functions(inputs, y))
    for name, h in simple.items():
        lacking = changed(e, lambda t: torch.where(h == 0, 0.0, t / h))  # noqa: B023
        yield Hypothesis("missing-factor", f"{e.the_gradient} lacks the factor {name}", lacking)
    for name, h in simple.items():
        text = f"{e.the_gradient} has the factor {name} once too often"
        yield Hypothesis("missing-factor", text, changed(e, lambda t: t * h))  # noqa: B023
    for name, h in simple.items():
        for term, word in ((g * h, name), (-g * h, f"−{name}")):
            text = f"{e.the_gradient} lacks a term: upstream · ({word})"
            yield Hypothesis("missing-term", text, changed(e, lambda t: t - term))  # noqa: B023


def _simple_functions(inputs: Tensors, y: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield "1 − ŷ (ŷ: the output)", 1 - y
    yield "ŷ (the output)", y
    yield "ŷ(1 − ŷ) (ŷ: the output)", y * (1 - y)
    yield "1 − ŷ² (ŷ: the output)", 1 - y * y
    yield "1 + ŷ (ŷ: the output)", 1 + y
    for name, x in inputs.items():
        yield name, x
        yield f"{name}²", x * x
    name, x = next(iter(inputs.items()))
    s = torch.sigmoid(x)
    yield f"σ({name})", s
    yield f"1 − σ({name})", 1 - s
    yield f"σ′({name})", s * (1 - s)
    yield f"{name} · σ′({name})", x * s * (1 - s)
    yield f"tanh({name})", torch.tanh(x)


def shifted(e: Evidence) -> Iterator[Hypothesis]:
    """A pointwise derivative times a constant, plus a constant: as where it was kept on a scale
    whose ends are not those that it is read with."""
    if not e.case.pointwise or len(e.point.upstream) > 1 or len(e.bad) > 1:
        return
    (name,), g = e.bad, e.point.upstream[0].double()
    exact, mine = e.exact(name) / g, e.mine(name) / g
    known = exact.isfinite() & mine.isfinite()
    if int(known.sum()) < FEWEST_FITTED + 1:  # two constants are fitted
        return
    centred = exact[known] - exact[known].mean()
    if not centred.any():
        return
    slope = ((centred * mine[known]).sum() / centred.square().sum()).item()
    shift = (mine[known].mean() - slope * exact[known].mean()).item()
    text = (
        f"{e.the_gradient} has a local derivative that is {slope:.6g} times the true one "
        f"{'−' if shift < 0 else '+'} {abs(shift):.3g}: a constant in it is another"
    )
    yield Hypothesis("constants", text, {name: slope * e.exact(name) + shift * g})


def diagonal(e: Evidence) -> Iterator[Hypothesis]:
    """Only the diagonal of the Jacobian, or the upstream gradient handed on as it is."""
    exact = e.point.exact()
    g, y = exact.upstream[0], e.truth.outputs[0].value
    if e.case.pointwise or not all(e.exact(name).shape == y.shape for name in e.bad):
        return
    text = f"{e.the_gradient} is the upstream gradient itself: the other terms are missing"
    yield Hypothesis("missing-term", text, dict.fromkeys(e.bad, g))
    if y.numel() > MOST_SAMPLES or len(exact.upstream) > 1:
        return
    diagonals = {name: torch.zeros_like(y) for name in e.bad}
    for element in range(y.numel()):
        one = torch.zeros_like(y)
        one.view(-1)[element] = 1
        column = replace(exact, upstream=(one,)).run().gradients
        for name, found in diagonals.items():
            found.view(-1)[element] = column[name].reshape(-1)[element]
    text = (
        f"{e.the_gradient} has only the diagonal of the Jacobian: what each output owes to the "
        f"other inputs is missing"
    )
    yield Hypothesis("missing-term", text, {name: g * d for name, d in diagonals.items()})


def precision(e: Evidence) -> Iterator[Hypothesis]:
    """Your own numbers, where they carry no more digits than a coarser dtype has."""
    found = [
        digits_of(e.mine(name), e.truth.gradients[name], e, pointwise=e.case.pointwise)
        for name in e.bad
    ]
    if found[0] is not None and None not in found:
        text = (
            f"{e.the_gradient} has lost precision: its numbers carry only the digits of "
            f"{name_of(found[0])}"
        )
        yield Hypothesis("precision", text, {name: e.mine(name) for name in e.bad})


def digits_of(mine: Tensor, known: Estimate, e: Evidence, *, pointwise: bool) -> torch.dtype | None:
    """The coarser dtype of whose numbers a tensor, or tensor/upstream, is made, near the truth."""
    exact = known.value
    for coarse in COARSER:
        coarser = torch.finfo(coarse).eps / torch.finfo(e.dtype).eps
        if coarser <= 1:
            continue
        size = exact.abs() if pointwise else exact.abs().max()
        unit = torch.finfo(coarse).eps * size + coarser * known.spread
        if not bool(((mine - exact).abs() <= DIGITS_NEAR * unit).all()):
            continue
        candidates = [mine]
        upstream, *more = e.point.upstream
        if not more and upstream.shape == mine.shape:
            candidates.append(mine / upstream.double())
        last = DIGITS_LAST * torch.finfo(e.dtype).eps
        for c in candidates:
            digits = (c.to(coarse).double() - c).abs() <= last * c.abs()
            if bool(digits.double().mean() > DIGITS_SHARE):
                return coarse
    return None
