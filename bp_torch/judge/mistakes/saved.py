"""Mistakes planted in what the reference saves for its backward pass: a factor that is missing, a
parameter that has been updated before its time."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from bp_torch.judge.criteria import FEWEST_FITTED, MOST_PLACES
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.mistakes.hypothesis import Hypothesis, fitted
from bp_torch.judge.passes import Tensors

NEWTON = 8
"""Steps to a learning rate."""


def saved_replaced(e: Evidence) -> Iterator[Hypothesis]:
    """An input's factor is missing: wherever the reference saved that input, it finds ones."""
    for name, tensor in {**e.point.inputs, **e.case.constants}.items():
        if tensor.is_floating_point():
            guess = _with_saved(e, {name: torch.ones_like})
            text = f"{e.the_gradient} lacks the factor {name}"
            yield Hypothesis("missing-factor", text, e.of_the_bad(guess))


def saved_replaced_once(e: Evidence) -> Iterator[Hypothesis]:
    """An input's factor is missing in one of the places where the reference saved that input."""
    for name, tensor in {**e.point.inputs, **e.case.constants}.items():
        if not tensor.is_floating_point():
            continue
        for place in range(min(_times_saved(e, name), MOST_PLACES)):
            guess = _with_saved(e, {name: torch.ones_like}, only=place)
            text = f"{e.the_gradient} lacks the factor {name} in one of its terms"
            yield Hypothesis("missing-factor", text, e.of_the_bad(guess))


def saved_overwritten(e: Evidence) -> Iterator[Hypothesis]:
    """Where the reference saved an input, it finds the output, which was written over it."""
    if len(e.truth.outputs) > 1:
        return
    y = e.truth.outputs[0].value
    for name, tensor in e.point.inputs.items():
        if tensor.is_floating_point() and tensor.shape == y.shape:
            guess = _with_saved(e, {name: lambda t: y})
            text = f"{e.the_gradient} has the output in the place of {name}"
            yield Hypothesis("output-for-input", text, e.of_the_bad(guess))


def updated_weights(e: Evidence) -> Iterator[Hypothesis]:
    """Parameters were updated before the layers below saw them: w − ν ∂C/∂w in place of w; one of
    them, or all."""
    if sum(e.mine(bad).numel() for bad in e.bad) < FEWEST_FITTED:
        return
    parameters = [n for n in e.truth.gradients if e.point.inputs[n].ndim > 1]
    right = [[n] for n in e.truth.gradients if n not in e.bad]
    for names in [*right, parameters] if len(parameters) > 1 else right:
        found = _updated(e, names)
        if found is not None:
            rate, guess = found
            which = " and ".join(names)
            text = f"{e.the_gradient} comes from {which} already updated, with learning rate"
            yield Hypothesis("updated-weights", f"{text} {rate:.3g}", guess)


def _updated(e: Evidence, names: Sequence[str]) -> tuple[float, Tensors] | None:
    """The learning rate that fits best, by Gauss's and Newton's method, and its gradients."""

    def at(rate: float) -> Tensors:
        steps = {n: rate * e.mine(n) for n in names}
        changes = {n: lambda t, step=step: t - step for n, step in steps.items()}
        return e.of_the_bad(_with_saved(e, changes))

    rate, small = 0.0, 1e-6
    for _ in range(NEWTON):
        here, there = at(rate), at(rate + small)
        slope = {n: (there[n] - here[n]) / small for n in e.bad}
        step = fitted(slope, {n: e.mine(n) - here[n] for n in e.bad})
        if step is None:
            return None
        rate += step
    return (rate, at(rate)) if rate > 0 else None


def _times_saved(e: Evidence, name: str) -> int:
    """How often the reference unpacks that tensor on its way back; 0 for once, which is no choice
    between places."""
    times = 0

    def count(saved: Tensor) -> Tensor:
        nonlocal times
        times += 1
        return saved

    _with_saved(e, {name: count})
    return times if times > 1 else 0


def _with_saved(
    e: Evidence, changes: Mapping[str, Callable[[Tensor], Tensor]], only: int | None = None
) -> Tensors:
    """The reference's gradients when it finds these inputs or constants changed among the tensors
    that it saved, every time or at one time only."""
    exact = e.point.exact()
    known = {**exact.inputs, **e.case.constants}
    originals = [(known[name].detach().double(), change) for name, change in changes.items()]
    times = itertools.count()

    def unpack(saved: Tensor) -> Tensor:
        for original, change in originals:
            if saved.dtype != original.dtype or saved.numel() != original.numel():
                continue
            if saved.shape == original.shape and torch.equal(saved.detach(), original):
                return change(saved) if only in (None, next(times)) else saved
            if saved.ndim == original.ndim == 2 and torch.equal(saved.detach().mT, original):
                return change(saved.mT).mT if only in (None, next(times)) else saved
        return saved

    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        return exact.run().gradients
