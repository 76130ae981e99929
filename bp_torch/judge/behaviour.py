"""What a gradient must not do besides being wrong: disturb tensors, wear off, or vary."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise

import torch
from torch import Tensor

from bp_torch.judge.criteria import FACTOR, FLOOR, MEAN_RUNS, RUNS
from bp_torch.judge.distance import relative_distance
from bp_torch.judge.passes import SEED, Function, Pass, Point, Refused, differentiate, outputs_of
from bp_torch.judge.rows import Check, Property
from bp_torch.judge.trials import Draw, Trial


def observe(fn: Function, trial: Trial, draw: Draw) -> tuple[list[Check], list[str]]:
    """Run one trial's forward and backward, and look at everything around it.

    Returns:
        Checks on inputs, outputs and upstream gradient, on a second backward through the same
        graph, and on repeated runs; and findings that are no mistakes.
    """
    given = list(trial.inputs.values())
    leaves = {n: t.clone().requires_grad_(n in trial.wanted) for n, t in trial.inputs.items()}
    # The function sees copies that are no leaves, so that an edit in place is seen and not refused.
    copies = [t.clone() if t.requires_grad else t for t in leaves.values()]
    outputs = outputs_of(fn, *copies)
    upstream = [draw.upstream(output) for output in outputs]
    values, sent = ([t.detach().clone() for t in tensors] for tensors in (outputs, upstream))

    def backward() -> tuple[Tensor, ...]:
        sources = [leaves[name] for name in trial.wanted]
        found = differentiate(outputs, upstream, sources, retain=True)
        return tuple(gradient.clone() for gradient in found)

    first = backward()
    checks = [
        _check(Property.INPUTS_UNCHANGED, _same(copies, given), "an input was overwritten"),
        _check(Property.OUTPUTS_UNCHANGED, _same(outputs, values), "backward overwrote the output"),
        _check(
            Property.UPSTREAM_UNCHANGED,
            _same(upstream, sent),
            "backward overwrote its upstream gradient",
        ),
    ]
    with torch.no_grad():
        for target, source in zip(upstream, sent, strict=True):
            target.copy_(source)
    twice = _distance(backward(), first)

    eps = max(torch.finfo(gradient.dtype).eps for gradient in first)
    runs = [_another_run(fn, trial, sent, seed) for seed in range(1, RUNS + 1)]
    notes = []
    if any(not _same(run.outputs, values) for run in runs):
        # Its forward draws random numbers: then the same ones, as all other trials do.
        runs = [_another_run(fn, trial, sent, SEED) for _ in range(RUNS)]
        notes.append("fn draws random numbers: every run begins with the same random state")
    found = [tuple(run.gradients.values()) for run in runs]
    varies = max(_distance(each, first) for each in found)
    if varies > FACTOR * eps and _adds_up(found):
        text = "each run adds to what an earlier one has left: a buffer is not set to zero"
        return [*checks, _check(Property.EACH_RUN_ANEW, False, text)], notes
    if varies > FACTOR * eps:
        text = f"repeated runs differ by {varies:.2g} of the largest entry"
        return [*checks, _check(Property.DETERMINISTIC, False, text)], notes
    text = (
        f"a second backward differs by {twice:.2g} of the largest entry: the first overwrote "
        f"what was saved for it"
    )
    checks.append(_check(Property.SAME_BACKWARD_TWICE, twice <= FLOOR * eps, text))
    stale = _distance(_after_another_call(fn, trial, sent), first)
    text = (
        f"backward of a call uses what a later call has saved: with another call in between the "
        f"gradient differs by {stale:.2g} of the largest entry"
    )
    checks.append(_check(Property.INTERLEAVED, stale <= FLOOR * eps, text))
    if varies:
        notes.append(f"not deterministic: repeated runs differ by {varies:.2g}")
    return checks, notes


def _adds_up(found: Sequence[tuple[Tensor, ...]]) -> bool:
    """Whether from run to run the same is added."""
    moves = [
        torch.cat([(b - a).flatten() for a, b in zip(one, other, strict=True)]).double()
        for one, other in pairwise(found)
    ]
    size = moves[0].abs().max().item()
    last = max(gradient.abs().max().item() for gradient in found[-1])
    near = FLOOR * torch.finfo(found[0][0].dtype).eps * last
    return size > near and all(bool(((m - moves[0]).abs() <= near).all()) for m in moves)


def mean_of_runs(point: Point) -> tuple[Pass, dict[str, Tensor]]:
    """The mean of a random gradient over many runs, and four standard errors of it."""
    runs = [point.run(seed=seed) for seed in range(MEAN_RUNS)]
    stacked = {n: torch.stack([r.gradients[n].double() for r in runs]) for n in point.wanted}
    means = {name: each.mean(0) for name, each in stacked.items()}
    errors = {name: 4 * each.std(0) / MEAN_RUNS**0.5 for name, each in stacked.items()}
    return Pass(runs[0].outputs, means), errors


def _after_another_call(
    fn: Function, trial: Trial, upstream: Iterable[Tensor]
) -> tuple[Tensor, ...]:
    """The gradient where the function is called at other inputs before its backward runs."""
    leaves = {n: t.clone().requires_grad_(n in trial.wanted) for n, t in trial.inputs.items()}
    outputs = outputs_of(fn, *leaves.values())
    others = {n: t.flip(0) if t.ndim else t for n, t in trial.inputs.items()}
    with suppress(Refused):
        outputs_of(fn, *(t.detach().requires_grad_(n in trial.wanted) for n, t in others.items()))
    copies = [gradient.clone() for gradient in upstream]
    return differentiate(outputs, copies, [leaves[name] for name in trial.wanted])


def _another_run(fn: Function, trial: Trial, upstream: Iterable[Tensor], seed: int) -> Pass:
    copies = tuple(gradient.clone() for gradient in upstream)
    return Point(fn, trial.inputs, trial.wanted, copies).run(seed=seed)


def _distance(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> float:
    """The largest difference, each tensor's by its own largest entry."""
    return max(relative_distance({"": a}, {"": b})[0] for a, b in zip(one, other, strict=True))


def _check(what: Property, ok: bool, detail: str) -> Check:
    return Check(what, ok, "" if ok else detail)


def _same(one: Iterable[Tensor], other: Iterable[Tensor]) -> bool:
    return all(
        torch.equal(a.detach().nan_to_num(7.0), b.detach().nan_to_num(7.0))
        for a, b in zip(one, other, strict=True)
    )
