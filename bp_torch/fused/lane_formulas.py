"""σ, both costs and their derivatives for the vectors of `vectors.py`, from z and without loss."""

import math
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
from numba import njit

from bp_torch.fused.vector_math import (
    at_most,
    magnitude,
    multiply_add,
    nearest_integer,
    per_dtype,
    polynomial,
    power_of_two,
    where_negative,
)

Lanes: TypeAlias = Any
"""A vector, to Numba: one sample in each lane."""

inlined = njit(forceinline=True)

# ln 2 in two parts, of which the first has so few bits that its product with k is exact.
_LN2 = Decimal(2).ln()
_HIGH = [math.floor(_LN2 * 2**bits) / 2**bits for bits in (15, 40)]
ln2_high = per_dtype(*_HIGH)
ln2_low = per_dtype(*(float(_LN2 - Decimal(high)) for high in _HIGH))
vanishing = per_dtype(104.0, 746.0)  # e^{−a} rounds to 0 from here on
largest = per_dtype(*(float(np.finfo(dtype).max) for dtype in (np.float32, np.float64)))

# Both series end where the next term is below half a rounding unit: |r| ≤ ½ ln 2 and s² ≤ 1/9.
exp_series = polynomial(*([1 / math.factorial(k) for k in range(terms)] for terms in (8, 14)))
atanh_series = polynomial(*([1 / (2 * k + 1) for k in range(terms)] for terms in (8, 17)))


@inlined
def exp_minus(a: Lanes) -> Lanes:
    """e^{−a} = 2^{−k} e^{r}, r = k ln 2 − a, for a ≥ 0."""
    a = at_most(a, vanishing(a))
    k = nearest_integer(a * (1 / math.log(2)))
    r = multiply_add(k, ln2_low(a), multiply_add(k, ln2_high(a), 0.0 - a))
    half = nearest_integer(k * 0.5)  # 2^{−k} by itself may be subnormal
    return exp_series(r) * power_of_two(0.0 - half) * power_of_two(half - k)


@inlined
def log_1_plus(e: Lanes) -> Lanes:
    """ln(1 + e) = 2 atanh(s), s = e/(2 + e), for 0 ≤ e ≤ 1."""
    s = e / (2.0 + e)
    return 2.0 * s * atanh_series(s * s)


@inlined
def chain(z: Lanes, y: Lanes, cross_entropy: bool) -> tuple[Lanes, Lanes, Lanes]:
    """Each sample's cost c, δ = ∂c/∂z and ∂c/∂y.

    With e = e^{−|z|}, σ(|z|) = 1/(1 + e) and 1 − σ(|z|) = e/(1 + e) nothing cancels:

        ŷ − y = e/(1 + e) − y  where z < 0,  (1 − y) − e/(1 + e)  elsewhere
        σ′(z) = e/(1 + e)²

        quadratic       c = ½ (ŷ − y)²                       δ = (ŷ − y) σ′(z)   ∂c/∂y = −(ŷ − y)
        cross-entropy   c = ln(1 + e) + |z| (y or 1 − y)     δ = ŷ − y           ∂c/∂y = −z
    """
    size = at_most(magnitude(z), largest(z))  # for ∞ · 0 is not a cost
    e = exp_minus(size)
    q = 1.0 / (1.0 + e)
    rest = e * q
    error = where_negative(z, rest - y, (1.0 - y) - rest)
    if cross_entropy:
        return log_1_plus(e) + size * where_negative(z, y, 1.0 - y), error, 0.0 - z
    return 0.5 * error * error, error * (rest * q), 0.0 - error
