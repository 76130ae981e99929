"""σ, both costs and their derivatives, a sample in each lane, from z and without loss."""

import numpy as np

from bp_torch.fused.simd import (
    Lanes,
    at_most,
    exp_minus,
    inlined,
    log_1_plus,
    magnitude,
    per_dtype,
    where_negative,
)

largest = per_dtype(*(float(np.finfo(dtype).max) for dtype in (np.float32, np.float64)))


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
