"""Mistakes planted in what the reference saves for its backward pass: a factor that is missing, a
parameter that has been updated before its time."""

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bp_torch.judge.criteria import FEWEST_FITTED, MOST_PLACES
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.mistakes.hypothesis import Hypothesis
from bp_torch.judge.passes import Tensors


def saved_replaced(e: Evidence) -> Iterator[Hypothesis]:
    """An input's factor is missing: wherever the reference saved that input, it finds ones."""
    for name, tensor in {**e.point.inputs, **e.case.constants}.items():
        if tensor.is_floating_point():
            guess = _with_saved(e, tensor, torch.ones_like)
            text = f"{e.the_gradient} lacks the factor {name}"
            yield Hypothesis("missing-factor", text, e.of_the_bad(guess))


def saved_replaced_once(e: Evidence) -> Iterator[Hypothesis]:
    """An input's factor is missing in one of the places where the reference saved that input."""
    for name, tensor in {**e.point.inputs, **e.case.constants}.items():
        if not tensor.is_floating_point():
            continue
        for place in range(min(_times_saved(e, tensor), MOST_PLACES)):
            guess = _with_saved(e, tensor, torch.ones_like, only=place)
            text = f"{e.the_gradient} lacks the factor {name} in one of its terms"
            yield Hypothesis("missing-factor", text, e.of_the_bad(guess))


def updated_weights(e: Evidence) -> Iterator[Hypothesis]:
    """A parameter was updated before the layers below saw it: w − ν ∂C/∂w in place of w."""
    for name, estimate in e.truth.gradients.items():
        if name in e.bad:
            continue
        parameter = e.point.inputs[name]
        one = _with_saved(e, parameter, lambda t, step=estimate.value: t - step)  # type: ignore[misc]
        numerator = denominator = 0.0
        for bad in e.bad:
            moved = one[bad] - e.exact(bad)
            numerator += ((e.mine(bad) - e.exact(bad)) * moved).sum().item()
            denominator += moved.square().sum().item()
        if not denominator:
            continue
        rate = numerator / denominator
        if rate <= 0 or sum(e.mine(bad).numel() for bad in e.bad) < FEWEST_FITTED:
            continue
        guess = {bad: e.exact(bad) + rate * (one[bad] - e.exact(bad)) for bad in e.bad}
        text = f"{e.the_gradient} comes from {name} already updated, with learning rate {rate:.3g}"
        yield Hypothesis("updated-weights", text, guess)


def _times_saved(e: Evidence, tensor: Tensor) -> int:
    """How often the reference unpacks that tensor on its way back; 0 for once, which is no choice
    between places."""
    times = 0

    def count(saved: Tensor) -> Tensor:
        nonlocal times
        times += 1
        return saved

    _with_saved(e, tensor, count)
    return times if times > 1 else 0


def _with_saved(
    e: Evidence, tensor: Tensor, change: Callable[[Tensor], Tensor], only: int | None = None
) -> Tensors:
    """The reference's gradients when it finds that tensor changed among those it saved, every time
    or at one time only."""
    exact, original = e.point.exact(), tensor.detach().double()
    times = itertools.count()

    def unpack(saved: Tensor) -> Tensor:
        changed = matching(saved)
        if changed is saved or only is None:
            return changed
        return changed if next(times) == only else saved

    def matching(saved: Tensor) -> Tensor:
        if saved.dtype != original.dtype or saved.numel() != original.numel():
            return saved
        if saved.shape == original.shape and torch.equal(saved.detach(), original):
            return change(saved)
        if saved.ndim == original.ndim == 2 and torch.equal(saved.detach().mT, original):
            return change(saved.mT).mT
        return saved

    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        return exact.run().gradients
