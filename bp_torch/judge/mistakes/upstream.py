"""What happens to the upstream gradient before anything else: it is forgotten, taken from one place
for all, or sent through the wrong output."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import torch

from bp_torch.judge.criteria import ALIKE, EXACTLY, FEWEST_FITTED
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.mistakes.hypothesis import Hypothesis, Mistake, fitted
from bp_torch.judge.passes import Refused, Tensors


def upstream_ignored(e: Evidence) -> Iterator[Hypothesis]:
    """The local derivative, as if every upstream gradient were 1."""
    text = f"{e.the_gradient} ignores the upstream gradient: it is the local derivative alone"
    yield Hypothesis("upstream-ignored", text, _local(e))


def upstream_ignored_but_for_a_factor(e: Evidence) -> Iterator[Hypothesis]:
    """The local derivative times a constant that is not even 1."""
    if sum(g.numel() for g in e.point.upstream) < FEWEST_FITTED:  # times a constant it is no other
        return
    local = _local(e)
    c = fitted(local, {name: e.mine(name) for name in e.bad})
    if c is not None and sum(t.numel() for t in local.values()) >= FEWEST_FITTED:
        guess = {name: c * t for name, t in local.items()}
        text = f"{e.the_gradient} ignores the upstream gradient: it is {c:.6g} times the local one"
        yield Hypothesis("upstream-ignored", text, guess)


def _local(e: Evidence) -> Tensors:
    exact = e.point.exact()
    ones = tuple(map(torch.ones_like, exact.upstream))
    return e.of_the_bad(replace(exact, upstream=ones).run().gradients)


def upstream_of_one(e: Evidence) -> Iterator[Hypothesis]:
    """One number in the place of a whole upstream gradient, as of a cost without a reduction."""
    exact = e.point.exact()
    if len(exact.upstream) != 1 or exact.upstream[0].numel() < 2:
        return
    (g,) = exact.upstream
    flat = g.flatten()
    ways = (
        ("the first element of the upstream gradient", flat[0]),
        ("the last element of the upstream gradient", flat[-1]),
        ("the mean of the upstream gradient", flat.mean()),
        ("the sum of the upstream gradient", flat.sum()),
    )
    for word, value in ways:
        try:
            found = replace(exact, upstream=(value.expand(g.shape),)).run().gradients
        except Refused:
            return
        text = f"{e.the_gradient} takes {word} for all of it"
        yield Hypothesis("reduction", text, e.of_the_bad(found))


def upstream_elsewhere(e: Evidence) -> Iterator[Hypothesis]:
    """Of several outputs: one's upstream gradient goes the way of another's as well."""
    exact = e.point.exact()
    for one, other in itertools.permutations(range(len(exact.upstream)), 2):
        if exact.upstream[one].shape != exact.upstream[other].shape:
            continue
        sent = list(exact.upstream)
        sent[other], sent[one] = sent[one] + sent[other], torch.zeros_like(sent[one])
        found = replace(exact, upstream=tuple(sent)).run().gradients
        text = (
            f"{e.the_gradient} sends the upstream gradient of output {one} the way of output "
            f"{other}, whose derivative it then has as a factor"
        )
        yield Hypothesis("missing-factor", text, e.of_the_bad(found))


def upstream_not_linear(e: Evidence) -> Iterator[Hypothesis]:
    """A backward pass that is not linear in its upstream gradient, as every derivative is."""
    doubled = e.point.changed(lambda t: 2 * t, inputs=False).of(e.case.fn).run().gradients
    twice = {name: doubled[name].double() for name in e.bad}
    mine = {name: e.mine(name) for name in e.bad}
    c = fitted(mine, twice)
    if c is None or abs(c - 2) <= ALIKE:
        return
    word: Mistake = "not-explained"  # but worth saying
    text = (
        f"twice the upstream gradient gives {c:.4g} times {e.the_gradient}: it is not linear in it"
    )
    if abs(c - 4) <= EXACTLY:  # to double a number costs no rounding
        word, text = "missing-factor", f"{e.the_gradient} has the upstream gradient squared"
    elif abs(c - 1) <= EXACTLY:
        word = "upstream-ignored"
        text = f"{e.the_gradient} stays as it is where the upstream gradient is doubled"
    yield Hypothesis(word, text, mine)
