"""What is really so: the one truth that tests and benchmarks hold results against.

Functions of single numbers are known to 50 digits, by mpmath; σ, σ′ and σ″ also at billions of
numbers, in float64 wherever that can tell; sums over many samples in long double.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mpmath
import numpy as np
import torch
from torch import Tensor

from bp_torch.judge.distance import unit

DIGITS = 50


def to_50_digits(function: Callable[..., Any], *tensors: Tensor) -> Tensor:
    """A function of each element, or of corresponding ones, rounded once to float64."""
    with mpmath.workdps(DIGITS):
        flat = [[mpmath.mpf(value) for value in tensor.double().tolist()] for tensor in tensors]
        values = [float(function(*each)) for each in zip(*flat, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def sigmoid(z: Any) -> Any:
    """σ of one of mpmath's numbers."""
    return 1 / (1 + mpmath.exp(-z))


@functools.cache
def sigmoid_derivative(order: int, z: float) -> float:
    """The derivative of that order, a polynomial in σ and σ′, by mpmath's differences."""
    with mpmath.workdps(120):  # differences take digits: of 120, more than 50 are left
        return float(mpmath.diff(sigmoid, mpmath.mpf(z), order))


# σ, σ′ and σ″ at very many numbers.

QUANTITIES = ("σ", "σ′", "σ″")
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


def of_sigmoid(quantity: str, z: Tensor) -> Truth:
    """One of `QUANTITIES` at numbers of any dtype."""
    if z.dtype == torch.float64:
        return _in_two_parts([_exact(quantity, each) for each in z.tolist()])
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
            nearest[at] = _round_exact(_exact(quantity, z[at].item()), place)
    return Truth(value, 0.0, nearest, z.dtype)


def _exact(quantity: str, z: float) -> Any:
    with mpmath.workdps(DIGITS):
        number = mpmath.mpf(z)
        return FORMULAS[quantity](number, mpmath.exp(-abs(number)), int(z < 0), mpmath.tanh)


def _in_two_parts(values: list[Any]) -> Truth:
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
    with mpmath.workdps(DIGITS):
        return float(mpmath.nint(value / place)) * place  # nint takes the even one of two as near


def bit_patterns(first: int, count: int, step: int, dtype: torch.dtype) -> Tensor:
    """The numbers whose bits are first, first + step, …"""
    bits = torch.arange(first, first + count, step, dtype=torch.int64)
    if dtype == torch.float32:
        return torch.where(bits < 2**31, bits, bits - 2**32).to(torch.int32).view(dtype)
    return torch.where(bits < 2**15, bits, bits - 2**16).to(torch.int16).view(dtype)


EDGE = 708.0  # beyond, σ and σ′ leave float64's normal numbers


def float64_samples(count: int) -> Tensor:
    """Where σ bends, where it is nearly linear, out to the edge, and the special numbers."""
    generator = torch.Generator().manual_seed(0)

    def uniform(low: float, high: float, size: int) -> Tensor:
        drawn = torch.rand(size, generator=generator, dtype=torch.float64)
        return low + (high - low) * drawn

    third = count // 3
    sizes = torch.exp2(uniform(-60, 3, third))
    signs = torch.where(torch.rand(third, generator=generator) < 0.5, -1.0, 1.0)
    edges = torch.tensor([0.0, -0.0, EDGE, -EDGE, 36.7, 37.0, 5e-324, 1e-300], dtype=torch.float64)
    wide, bend = uniform(-EDGE, EDGE, third), uniform(-40, 40, count - 2 * third)
    return torch.cat([edges, wide, bend, sizes * signs])


# A neuron's cost and gradients over many samples.


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples and a neuron."""

    x: Tensor
    y: Tensor
    weight: Tensor
    bias: Tensor
    cost: str = "quadratic"
    sample_weight: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """In the order in which steps take them."""
        return self.x, self.y, self.weight, self.bias


def of_neuron(batch: Batch) -> tuple[Any, ...]:
    """C and its derivatives by weight, bias, x and y, of the same numbers in long double, by
    formulas in which nothing cancels."""
    x, y, w, b = (_long(tensor) for tensor in batch.tensors)
    s = np.ones_like(y) if batch.sample_weight is None else _long(batch.sample_weight)
    z = x @ w + b
    e = np.exp(-abs(z))
    tail = e / (1 + e)  # 1 − σ(|z|)
    error = np.where(z < 0, tail - y, (1 - y) - tail)
    if batch.cost == "quadratic":
        costs, delta, by_y = error**2 / 2, error * tail / (1 + e), -error
    else:
        costs, delta, by_y = np.log1p(e) + abs(z) * np.where(z < 0, y, 1 - y), error, -z
    n = s.sum()
    delta, by_y = s * delta / n, s * by_y / n
    return (s * costs).sum() / n, delta @ x, delta.sum(), delta[:, None] * w, by_y


def _long(tensor: Tensor) -> Any:
    return tensor.detach().double().numpy().astype(np.longdouble)
