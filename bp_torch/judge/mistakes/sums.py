"""Sums over the wrong samples, places or axes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from bp_torch.judge.criteria import MOST_SAMPLES
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.mistakes.hypothesis import Hypothesis
from bp_torch.judge.passes import Refused


def samples(e: Evidence) -> Iterator[Hypothesis]:
    """A reduction over the batch that is not the sum over it."""
    exact = e.point.exact()
    g, *more = exact.upstream
    if e.case.pointwise or more or not g.ndim or not 1 < g.shape[0] <= MOST_SAMPLES:
        return
    per_sample = []
    for sample in range(g.shape[0]):
        alone = torch.zeros_like(g)
        alone[sample] = g[sample]
        per_sample.append(replace(exact, upstream=(alone,)).run().gradients)
    stacked = {name: torch.stack([p[name] for p in per_sample]) for name in e.bad}
    ways: list[tuple[str, Callable[[Tensor], Tensor]]] = [
        ("takes the first sample alone, in place of the sum over samples", lambda u: u[0]),
        ("takes the last sample alone, in place of the sum over samples", lambda u: u[-1]),
        ("takes the maximum over samples in place of the sum", lambda u: u.amax(0)),
        ("takes the minimum over samples in place of the sum", lambda u: u.amin(0)),
        ("leaves out the first sample of the sum", lambda u: u[1:].sum(0)),
        ("leaves out the last sample of the sum", lambda u: u[:-1].sum(0)),
        ("has the first sample twice in its sum", lambda u: u.sum(0) + u[0]),
        ("has the last sample twice in its sum", lambda u: u.sum(0) + u[-1]),
    ]
    if all(u.ndim == 2 and u.shape[0] == u.shape[1] for u in stacked.values()):
        ways.append(("is summed over the wrong axis", lambda u: u.sum(1)))
    for text, reduce in ways:
        guess = {name: reduce(each) for name, each in stacked.items()}
        yield Hypothesis("reduction", f"{e.the_gradient} {text}", guess)


def contributions(e: Evidence) -> Iterator[Hypothesis]:
    """One of what several outputs owe to an input in the place of their sum, as where an index
    repeats and the last one wins."""
    exact = e.point.exact()
    g, *more = exact.upstream
    if more or e.case.pointwise or not 1 < g.numel() <= MOST_SAMPLES:
        return
    each = []
    for element in range(g.numel()):
        alone = torch.zeros_like(g)
        alone.view(-1)[element] = g.reshape(-1)[element]
        each.append(replace(exact, upstream=(alone,)).run().gradients)
    stacked = {name: torch.stack([found[name] for found in each]) for name in e.bad}

    def last(terms: Tensor) -> Tensor:
        order = torch.arange(1, len(terms) + 1, device=terms.device)
        order = order.reshape(-1, *[1] * (terms.ndim - 1)) * (terms != 0)
        return terms.gather(0, order.argmax(0, keepdim=True))[0]

    for word, pick in (("last", last), ("first", lambda u: last(u.flip(0)))):
        guess = {name: pick(terms) for name, terms in stacked.items()}
        text = f"{e.the_gradient} takes the {word} of several contributions for their sum"
        yield Hypothesis("reduction", text, guess)


def wrong_axis(e: Evidence) -> Iterator[Hypothesis]:
    """The reference along the other axis of a matrix, in its backward alone."""
    exact = e.point.exact()
    (name, x), *others = exact.inputs.items()
    g, *more = exact.upstream
    if others or more or x.ndim != 2 or g.shape != x.shape:
        return
    turned = replace(exact, inputs={name: x.mT}, upstream=(g.mT,)).run().gradients[name]
    text = f"{e.the_gradient} is reduced over the wrong axis"
    yield Hypothesis("reduction", text, {name: turned.mT})


def summed_too_far(e: Evidence) -> Iterator[Hypothesis]:
    """A sum, or a mean, over axes that the gradient still has, spread over them again."""
    for axes in _some_axes(max(e.exact(name).ndim for name in e.bad)):
        if any(e.exact(name).ndim <= axes[-1] for name in e.bad):
            continue
        for word, reduce in (("summed", torch.sum), ("averaged", torch.mean)):
            guess = {
                name: reduce(e.exact(name), dim=axes, keepdim=True).expand_as(e.exact(name))
                for name in e.bad
            }
            text = f"{e.the_gradient} is {word} over its own {_called(axes)} as well"
            yield Hypothesis("reduction", text, guess)


def summed_over_other_axes(e: Evidence) -> Iterator[Hypothesis]:
    """Of an input that was broadcast: the sum is over other axes than those it was spread over."""
    exact = e.point.exact()
    if len(exact.upstream) > 1 or len(e.bad) > 1:
        return
    (name,), (g,) = e.bad, exact.upstream
    small = exact.inputs[name]
    try:
        spread = replace(exact, inputs={**exact.inputs, name: small.expand(g.shape).clone()})
        terms = spread.run().gradients[name]
    except (Refused, RuntimeError):  # it is not spread over the output, or must not be
        return
    for axes in _some_axes(g.ndim):
        for word, found in (("summed", terms.sum(axes)), ("averaged", terms.mean(axes))):
            if found.numel() == small.numel():
                text = f"{e.the_gradient} is {word} over {_called(axes)} of the output"
                yield Hypothesis("reduction", text, {name: found.reshape(small.shape)})


def reversed_places(e: Evidence) -> Iterator[Hypothesis]:
    """The right numbers in reversed order, as of a convolution for a correlation."""
    for axes in _some_axes(max(e.exact(name).ndim for name in e.bad)):
        if any(e.exact(name).ndim <= axes[-1] for name in e.bad):
            continue
        text = f"{e.the_gradient} is reversed along {_called(axes)}"
        guess = {name: e.exact(name).flip(axes) for name in e.bad}
        yield Hypothesis("transposed", text, guess)


def _some_axes(count: int) -> Iterator[tuple[int, ...]]:
    for size in range(1, count + 1):
        yield from combinations(range(count), size)


def _called(axes: tuple[int, ...]) -> str:
    """ "dimension 1", "dimensions 0 and 2"."""
    listed = " and ".join(map(str, axes))
    return f"dimension {listed}" if len(axes) == 1 else f"dimensions {listed}"
