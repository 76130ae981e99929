"""The distance between two floating-point tensors, in the last place of one of them."""

import torch
from torch import Tensor


def ulp_distance(actual: Tensor, reference: Tensor) -> Tensor:
    """How far `actual` lies from `reference`, in units of the reference's last place.

        |a − r| / ulp(r),   ulp(r) = nextafter(|r|, ∞) − |r|

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
    size = reference.abs()
    # The last number before infinity has its neighbour below as its unit.
    above = torch.nextafter(size, torch.full_like(size, torch.inf))
    below = torch.nextafter(size, torch.zeros_like(size))
    unit = torch.where(
        above.isinf(), size.double() - below.double(), above.double() - size.double()
    )
    distance = (actual.double() - reference.double()).abs() / unit
    same = (actual == reference) | (actual.isnan() & reference.isnan())
    distance = torch.where(same, torch.zeros_like(distance), distance)
    return torch.where(distance.isnan(), torch.full_like(distance, torch.inf), distance)
