"""How far results are apart: in last places of a dtype, and relative to what was expected."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def name_of(dtype: torch.dtype) -> str:
    """ "float32", of torch.float32."""
    return str(dtype).removeprefix("torch.")


def apart(one: float, other: float) -> tuple[str, str]:
    """Both numbers in as few digits as show that they differ, six at least."""
    for digits in range(6, 18):
        texts = f"{one:.{digits}g}", f"{other:.{digits}g}"
        if texts[0] != texts[1]:
            break
    return texts


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
    return torch.where(_same(actual, reference), 0.0, distance.nan_to_num(torch.inf, torch.inf))


Result = Mapping[str, Any]
"""By kind ("value", "gradient", …): a tensor, or tuples of tensors as torch nests them."""


def relative_distance(actual: Result, expected: Result) -> tuple[float, str]:
    """The largest difference between two results, and where it is, as "gradient[0]".

    Relative to the largest finite entry expected of its kind; absolute where only zeros are. NaN
    and infinity are right where they are expected; another shape is infinitely far.
    """
    worst = (0.0, "")
    for kind in expected:
        pairs = list(zip(_leaves(actual[kind], kind), _leaves(expected[kind], kind), strict=True))
        sizes = [float(e[e.isfinite()].abs().max()) for _, (_, e) in pairs if e.isfinite().any()]
        scale = max(sizes, default=0.0) or 1.0
        for (_, a), (place, e) in pairs:
            if a.shape != e.shape:
                return torch.inf, f"{place}, of shape {tuple(a.shape)} for {tuple(e.shape)}"
            error = ((a - e).abs() / scale).nan_to_num(torch.inf, torch.inf)
            size = float(error.masked_fill(_same(a, e), 0).max()) if error.numel() else 0.0
            worst = max(worst, (size, place))
    return worst


def _same(one: Tensor, other: Tensor) -> Tensor:
    return (one == other) | (one.isnan() & other.isnan())


def _leaves(nested: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(nested, Tensor):
        yield name, nested.detach().double()
        return
    for place, each in enumerate(nested):
        yield from _leaves(each, f"{name}[{place}]")
