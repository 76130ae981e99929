"""The last place of a floating-point number, and distances in it."""

import torch
from torch import Tensor


def unit(values: Tensor, dtype: torch.dtype) -> Tensor:
    """One last place of `dtype` at each float64 value: 2^⌊log₂|v|⌋ · eps, at least the smallest
    subnormal number."""
    limits = torch.finfo(dtype)
    _, exponent = torch.frexp(values.double())
    place = torch.ldexp(torch.full_like(values, limits.eps, dtype=torch.float64), exponent - 1)
    least = limits.tiny * limits.eps
    return torch.where(values.isfinite() & (values != 0), place, least).clamp(min=least)


def ulp_distance(actual: Tensor, reference: Tensor) -> Tensor:
    """How far `actual` lies from `reference`, in units of the reference's last place.

        |a − r| / ulp(r)

    Args:
        actual, reference: same shape and dtype; float16, bfloat16, float32 or float64.

    Returns:
        float64 tensor of that shape: 0 where both are the same number or both are NaN, infinite
        where only one of them is finite. Around r = 0 a unit is the smallest subnormal number.

    Raises:
        ValueError: shapes or dtypes differ.
    """
    if actual.shape != reference.shape or actual.dtype != reference.dtype:
        raise ValueError(
            f"actual and reference must have one shape and dtype, got {tuple(actual.shape)} "
            f"{actual.dtype} and {tuple(reference.shape)} {reference.dtype}"
        )
    distance = (actual.double() - reference.double()).abs() / unit(reference, reference.dtype)
    same = (actual == reference) | (actual.isnan() & reference.isnan())
    return torch.where(same, 0.0, distance.nan_to_num(torch.inf, torch.inf))
