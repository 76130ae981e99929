"""e^{−a} and ln(1 + e), to the last digits of the dtype, in the ranges where nothing overflows."""

import math
from decimal import Decimal

from bp_torch.fused.simd.arithmetic import (
    Lanes,
    at_most,
    inlined,
    multiply_add,
    nearest_integer,
    per_dtype,
    polynomial,
    power_of_two,
)

# ln 2 in two parts, of which the first has so few bits that its product with k is exact.
_LN2 = Decimal(2).ln()
_HIGH = [math.floor(_LN2 * 2**bits) / 2**bits for bits in (15, 40)]
ln2_high = per_dtype(*_HIGH)
ln2_low = per_dtype(*(float(_LN2 - Decimal(high)) for high in _HIGH))
vanishing = per_dtype(104.0, 746.0)  # e^{−a} rounds to 0 from here on

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
