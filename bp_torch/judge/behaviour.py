"""What a gradient must not do besides being wrong: disturb tensors, wear off, or vary."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bp_torch.judge.criteria import FACTOR, FLOOR
from bp_torch.judge.evaluate import leaves, run
from bp_torch.judge.problem import Function
from bp_torch.judge.report import Check
from bp_torch.judge.trials import Draw, Trial

RUNS = 3
"""How often a run is repeated, to see whether it varies."""


def observe(
    fn: Function, trial: Trial, draw: Draw, dtype: torch.dtype
) -> tuple[list[Check], list[str]]:
    """Run one trial's forward and backward, and look at everything around it.

    Returns:
        Checks on inputs, outputs and upstream gradient, on a second backward through the same
        graph, and on repeated runs; and findings that are no mistakes.
    """
    arguments = leaves([t.clone() for t in trial.inputs], trial.wanted)
    # The function sees copies that are no leaves, so that an edit in place is seen and not refused.
    copies = [a.clone() if a.requires_grad else a for a in arguments]
    outputs = fn(*copies)
    reached = [o for o in outputs if o.requires_grad]
    upstream = [draw.upstream(o) for o in reached]
    values, sent = ([t.detach().clone() for t in tensors] for tensors in (reached, upstream))
    sources = [a for a in arguments if a.requires_grad]

    def backward() -> list[Tensor]:
        found = torch.autograd.grad(
            reached, sources, upstream, retain_graph=True, allow_unused=True
        )
        return [
            torch.zeros_like(s) if g is None else g.clone()
            for g, s in zip(found, sources, strict=True)
        ]

    first = backward()
    checks = [
        _check("inputs unchanged", _same(copies, trial.inputs), "an input was overwritten"),
        _check("outputs unchanged", _same(reached, values), "backward overwrote the output"),
        _check(
            "upstream unchanged", _same(upstream, sent), "backward overwrote its upstream gradient"
        ),
    ]
    with torch.no_grad():
        for target, source in zip(upstream, sent, strict=True):
            target.copy_(source)
    twice = _distance(first, backward())

    left = iter(sent)
    again = [next(left) if o.requires_grad else torch.zeros_like(o) for o in outputs]
    runs = [
        run(fn, trial.inputs, trial.wanted, [g.clone() for g in again]).gradients
        for _ in range(RUNS)
    ]
    varies = max(_distance(first, [g for g in other if g is not None]) for other in runs)

    eps = torch.finfo(dtype).eps
    findings = []
    if varies > FACTOR * eps:
        text = f"repeated runs differ by {varies:.2g} of the largest entry"
        checks.append(_check("deterministic", False, text))
    else:
        if varies > 0:
            findings.append(f"not deterministic: repeated runs differ by {varies:.2g}")
        text = (
            f"a second backward differs by {twice:.2g} of the largest entry: the first overwrote "
            f"what was saved for it"
        )
        checks.append(_check("backward twice", twice <= FLOOR * eps, text))
    return checks, findings


def _check(name: str, ok: bool, detail: str) -> Check:
    return Check(name, ok, "" if ok else detail)


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(
        torch.equal(a.detach().nan_to_num(7.0), b.detach().nan_to_num(7.0))
        for a, b in zip(one, other, strict=False)
    )


def _distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest entry of the same tensor."""
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        if a.shape == b.shape and a.numel():
            difference = (a.double() - b.double()).abs().nan_to_num(0.0, 0.0).max().item()
            largest = a.double().abs().nan_to_num(0.0, 0.0, 0.0).max().item()
            worst = max(worst, difference / largest if largest else difference)
    return worst
