"""The slope of a function from its values alone, with a bound on what it is wrong by.

    D(h) = [f(x + h) − f(x − h)] / 2h ,   R(h) = [16 D(h/4) − D(h)] / 15

(Richardson 1911: the h² term of the central difference cancels in R). No one h is good for all: a
large one overlooks what the function does in between, a small one sees how its values are rounded.
So h goes down by fours over some eight decades, and where neighbouring R come closer and closer
together the one with the smallest error is taken. Where they never do, the slope is not known.

How much the values are rounded is measured and not assumed: by third differences over steps that
are too small for anything else to show (Moré and Wild 2011, "Estimating computational noise").
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.judge import criteria

Terms = Callable[[Tensor], Tensor]
"""From a step for each place to the terms, of which the function is the sum: (terms, *places)."""


@dataclass(frozen=True, eq=False)
class Slope:
    """A slope for each place, in float64."""

    value: Tensor
    """NaN where it is not known: at a jump or a pole, or where values are missing."""
    error: Tensor
    """What it is wrong by at the most."""
    terms: Tensor
    """The sum of the absolute slopes of the terms."""
    kink: Tensor
    """How far the slopes to both sides are apart where they stay apart, at a kink; else 0."""


def slope(f: Terms, x: Tensor) -> Slope:
    """The derivative of Σ f by a step at each place.

    Args:
        f: the function's terms at x + step. What it gives where it is not defined is NaN.
        x: from where the steps go, for their size: a number for each place, in the dtype that f
            computes in.
    """
    unit = x.abs().clamp(min=1.0)
    eps = torch.finfo(x.dtype).eps
    here = f(torch.zeros_like(x)).double()
    noise = _noise(f, here, unit, torch.finfo(x.dtype))

    value, error = torch.full_like(here[0], torch.nan), torch.full_like(here[0], torch.inf)
    total, kink = torch.zeros_like(value), torch.zeros_like(value)
    stairs = noise > criteria.NOISE_IS_NONE * (here.abs() + typical(here)).sum(0)
    moves = torch.zeros_like(stairs)
    central = richardson = change = bend = torch.full_like(value, torch.nan)
    size = 1 / criteria.STEPS_FROM
    while size > criteria.LEAST_STEP * eps:
        h = size * unit
        up, down = f(h).double() - here, here - f(-h).double()
        step = h.double()
        both = (up + down) / (2 * step)
        absolute = both.abs().sum(0)
        apart, steeper = (up - down).abs().sum(0), torch.maximum(up.abs(), down.abs()).sum(0)
        # x ± h is rounded as well: its distance from x, and so the place where the slope is taken.
        rounding = noise / step + eps * (absolute * (1 + x.double().abs() / step) + apart / step)

        finer = both.sum(0)
        extrapolated = (16 * finer - central) / 15
        moved = (extrapolated - richardson).abs()
        bound = torch.maximum(moved, change / criteria.CONVERGENCE) + 1.2 * rounding
        settles = moved <= change / 2 + 2 * rounding
        # A closer look that contradicts takes back what was thought before.
        error = error.where((extrapolated - value).abs() <= 2 * error + 4 * rounding, torch.inf)
        value = value.where(error.isfinite(), torch.nan)
        better = settles & (bound < error)
        value, error = value.where(~better, extrapolated), error.where(~better, bound)
        total = total.where(~better, absolute)

        # A smooth function's slopes to both sides approach each other as h does, at a kink not.
        visible = 4 * noise < criteria.KINK / 5 * torch.maximum(steeper, kink * step)
        stays = (apart > criteria.KINK * steeper) & (apart > bend / 8)
        kink = torch.where(visible, torch.where(stays, apart / step, 0.0), kink)

        moves |= (steeper > 0) & (size < criteria.STAIRS)
        central, richardson, change, bend = finer, extrapolated, moved, apart
        size /= 4
    stairs |= moves & (steeper == 0)
    return Slope(value.where((kink == 0) & ~stairs, torch.nan), error, total, kink)


def typical(values: Tensor) -> Tensor:
    """A size that one in four of the finite values has or exceeds."""
    sizes = values.abs()[values.isfinite()]
    if not sizes.numel():
        return values.new_zeros(())
    return sizes.kthvalue(1 + 3 * (sizes.numel() - 1) // 4).values


def _noise(f: Terms, here: Tensor, unit: Tensor, limits: torch.finfo) -> Tensor:
    """How far a value is off at random, summed over the terms; at least a last place, its own and
    that of what went in, or of 1: on its way it may have lost so much to a larger term, as the tail
    of x (1 + erf x) does, which is a staircase and looks smooth on every stair."""
    found = limits.eps * (here.abs() + 2 * unit) + limits.tiny * limits.eps
    for size in criteria.NOISE_STEPS:
        step = (size * limits.eps) * unit
        near = [f(k * step).double() for k in range(1, criteria.NOISE_VALUES + 1)]
        third = torch.stack(near).diff(n=3, dim=0).abs().amax(0)
        found = torch.maximum(found, third.nan_to_num(torch.inf, torch.inf))
    return found.sum(0)
