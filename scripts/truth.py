"""What σ, σ′ and σ″ really are, and what a dtype can say of it.

In float64 and, where that cannot tell which of two neighbours is nearer, and for float64 itself,
with 50 digits of mpmath.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bp_torch.compare.ulp import unit

QUANTITIES = ("σ", "σ′", "σ″")
DIGITS = 50
# Relative error of what float64 gives: six operations of at most 2⁻⁵³ each, and as much again.
DOUBT = 2.0**-49

# The same for float64 tensors and for mpmath's numbers: e = e^{−|z|}, left = 1 where z < 0, else 0.
FORMULAS: dict[str, Callable[..., Any]] = {
    "σ": lambda z, e, left, tanh: (left * e + (1 - left)) / (1 + e),
    "σ′": lambda z, e, left, tanh: e / (1 + e) ** 2,
    "σ″": lambda z, e, left, tanh: -e / (1 + e) ** 2 * tanh(z / 2),
}


@dataclass(frozen=True)
class Truth:
    """What a quantity really is at some z, and what a dtype can say of it."""

    value: Tensor  # float64
    rest: Tensor | float  # what value lacks: two parts where float64 itself is judged
    nearest: Tensor  # float64: the number of the dtype that is nearest
    dtype: torch.dtype

    @cached_property
    def unit(self) -> Tensor:
        """A last place of the dtype, float64."""
        return unit(self.value, self.dtype)


def truth(quantity: str, z: Tensor) -> Truth:
    """At numbers of any dtype."""
    if z.dtype == torch.float64:
        return _truth_in_two_parts([exact(quantity, each) for each in z.tolist()])
    wide = z.double()
    value = FORMULAS[quantity](wide, torch.exp(-wide.abs()), (wide < 0).double(), torch.tanh)
    nearest = _nearest(value, z.dtype)
    # Two neighbours may be as near as float64 can tell: at less than one place in a million. (But
    # σ″ of a tiny z, −z/8, lies midway between subnormal numbers to more digits than matter.)
    if quantity != "σ″":
        bounds = [_nearest(value * (1 + sign * DOUBT), z.dtype) for sign in (-1, 1)]
        doubtful = (bounds[0] != bounds[1]) & ~value.isnan()
        for at in doubtful.nonzero().flatten().tolist():
            place = unit(value[at], z.dtype).item()
            nearest[at] = _round_exact(exact(quantity, z[at].item()), place)
    return Truth(value, 0.0, nearest, z.dtype)


def exact(quantity: str, z: float) -> Any:
    """To 50 digits, in mpmath."""
    import mpmath

    with mpmath.workdps(DIGITS):
        number = mpmath.mpf(z)
        return FORMULAS[quantity](number, mpmath.exp(-abs(number)), int(z < 0), mpmath.tanh)


def _truth_in_two_parts(values: list[Any]) -> Truth:
    value = torch.tensor([float(each) for each in values], dtype=torch.float64)
    rest = [float(each - head) for each, head in zip(values, value.tolist(), strict=True)]
    return Truth(value, torch.tensor(rest, dtype=torch.float64), value, torch.float64)


def _nearest(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Rounded to a dtype, and not by .to(dtype): torch rounds to float16 by way of float32."""
    if dtype == torch.float32:
        return values.to(dtype).double()
    place = unit(values, dtype)
    return torch.round(values / place) * place


def _round_exact(value: Any, place: float) -> float:
    import mpmath

    with mpmath.workdps(DIGITS):
        return float(mpmath.nint(value / place)) * place  # nint takes the even one of two as near
