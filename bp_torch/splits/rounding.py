"""What rounding can do to a gradient, and the units that errors are given in.

Added in another order, N terms gₖ differ by at most N ε Σ|gₖ| (Higham 2002, "Accuracy and Stability
of Numerical Algorithms", §4.2); Σ|gₖ| and not |Σgₖ|, since terms cancel. Within the passes
themselves small matrices round otherwise than large ones do. How much that comes to is measured:
every parameter is moved by half a last place at random, and `spread` is how far the gradient moves.
With both taken at a tensor's largest entry, since entries share their roundings,

    what rounding can do = FACTORS[dtype] · (ε Σ|gₖ| + spread)

An error of 1 is that; what is right is below, and a mistake is off by 1/N of Σ|gₖ| or so, which in
float64 is 10⁸ or more.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from bp_torch.splits.batch import Batch
from bp_torch.splits.gradients import Gradients, Subject, wide

FACTORS = {torch.float64: 4096.0, torch.float32: 16.0, torch.float16: 8.0, torch.bfloat16: 4.0}
"""In float64 far more than any right gradient needs, since there is room: a spread of a few draws
may by accident be a hundred times too small. With fewer digits there is less room: a factor of some
ten for a chain of roundings of half a place each."""

DRAWS = 3
"""Random moves of the parameters; each costs a pass over the batch."""

PEER = 4.0
"""Times the error of the whole batch in the same dtype that is as good as that: the same
mathematics in another order."""

TELLING = 4.0
"""A mistake that is less than so many times what rounding can do from the truth could not be told
from it."""

Tolerances = dict[str, float]
"""What rounding can do, by the name of a parameter."""

MOVE = 1e-12
"""A part of themselves that parameters are moved by to see whether float64 is there all the way:
4,500 places of float64, and nothing at all of float32."""


def tolerances(
    subject: Subject, batch: Batch, truth: Gradients, size: Gradients, dtype: torch.dtype
) -> Tolerances:
    """What rounding in that dtype can do to the gradient of this batch.

    Args:
        size: Σ|gₖ|.
    """
    eps = torch.finfo(dtype).eps
    spread = dict.fromkeys(truth, 0.0)
    for draw in range(DRAWS):
        with moved(subject, eps, draw):
            gradient = wide(subject.gradient(batch))
        for name, error in errors(gradient, truth).items():
            spread[name] = max(spread.get(name, 0.0), error)
    # A sum's roundings grow with the number of terms at worst, and with its root as a rule.
    terms = len(batch) if dtype == torch.float64 else math.sqrt(len(batch))
    return {
        name: max(FACTORS[dtype], terms) * (eps * largest(size.get(name)) + spread.get(name, 0.0))
        for name in subject.parameters
    }


@contextmanager
def moved(subject: Subject, share: float, seed: int = 0) -> Iterator[None]:
    """Every parameter is off by such a share of itself at most, at random. What is 0 stays 0: many
    a kink is there."""
    generator = torch.Generator().manual_seed(seed)
    kept = [(parameter, parameter.detach().clone()) for parameter in subject.parameters.values()]
    with torch.no_grad():
        for parameter, old in kept:
            move = 2 * torch.rand(old.shape, generator=generator, dtype=torch.float64) - 1
            parameter.copy_(old * (1 + share * move.to(old)))
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, old in kept:
                parameter.copy_(old)


def follows(found: Gradients, before: Gradients) -> bool:
    """Whether a gradient follows so small a move: what is rounded to fewer digits than float64's on
    its way stays where it is."""
    there = [(found[n] != before[n], before[n] != 0) for n in before if n in found]
    entries = sum(int(nonzero.sum()) for _, nonzero in there)
    return 2 * sum(int((moved & nonzero).sum()) for moved, nonzero in there) >= entries


def errors(found: Gradients, expected: Gradients) -> dict[str, float]:
    """The largest error of each parameter's gradient; a missing one is 0, NaN is infinite."""
    return {
        name: largest(found.get(name), expected.get(name))
        for name in dict.fromkeys((*found, *expected))
    }


def largest(one: Tensor | None, other: Tensor | None = None) -> float:
    """max |a − b|, infinite where it is NaN; None is 0."""
    given = [tensor for tensor in (one, other) if tensor is not None]
    if not given or given[0].numel() == 0:
        return 0.0
    difference = given[0] if len(given) == 1 else given[0] - given[1]
    found = difference.abs().max().item()
    return math.inf if math.isnan(found) else found


def units_of(found: Gradients, expected: Gradients, limits: Tolerances) -> dict[str, float]:
    """Each parameter's error in units of what rounding can do; at most 1 where it is right."""
    return {
        name: 0.0 if error == 0 else (error / limits[name] if limits.get(name) else math.inf)
        for name, error in errors(found, expected).items()
    }


def worst(units: dict[str, float]) -> float:
    """The largest; 0 of none."""
    return max(units.values(), default=0.0)
