"""How far results are from what they should be: the one measure of tests and benchmarks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from truth import Truth

from bp_torch.judge.distance import ulp_distance


def in_ulp(actual: Tensor, expected: Tensor) -> float:
    """The largest distance, in last places of what is expected; both in one dtype."""
    distance = ulp_distance(actual, expected)
    return distance.max().item() if distance.numel() else 0.0


def relative(actual: Tensor, expected: Any, scale: Any = None) -> float:
    """The largest difference by the largest entry expected, or by a scale for each element;
    infinite where only one of them is a number."""
    actual, expected = _long(actual), _long(expected)
    scale = abs(expected).max() if scale is None else _long(scale)
    return float(np.nan_to_num(abs(actual - expected) / scale, nan=np.inf).max())


def in_eps(actual: Tensor, expected: Any, scale: Any = None) -> float:
    """`relative`, in rounding units of the actual dtype."""
    return relative(actual, expected, scale) / torch.finfo(actual.dtype).eps


def gradients_in_eps(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest `in_eps` over the gradients of the same names."""
    assert one.keys() == other.keys()
    return max(in_eps(one[name], other[name]) for name in one)


def _long(numbers: Any) -> Any:
    """In long double, whose rounding does not show beside float64's."""
    if isinstance(numbers, Tensor):
        numbers = numbers.detach().double().cpu().numpy()
    return np.asarray(numbers, np.longdouble)


@dataclass
class Tally:
    """What was seen of one function's values over many numbers."""

    inputs: int = 0
    max_ulp: float = 0.0
    z: float = 0.0  # where the largest error is, if it is more than half a ULP
    not_nearest: int = 0  # not the number of the dtype that is nearest to the truth
    zeros: int = 0  # 0 where the truth rounds to something else
    off: int = 0  # more than 1% off where the truth is a normal number

    def __add__(self, other: "Tally") -> "Tally":
        worse = other if other.max_ulp > self.max_ulp else self
        return Tally(
            inputs=self.inputs + other.inputs,
            max_ulp=worse.max_ulp,
            z=worse.z,
            not_nearest=self.not_nearest + other.not_nearest,
            zeros=self.zeros + other.zeros,
            off=self.off + other.off,
        )


def tally(actual: Tensor, truth: Truth, z: Tensor) -> Tally:
    """The errors of a function's values; NaN is right where the truth is NaN."""
    smallest_normal = torch.finfo(actual.dtype).tiny
    actual = actual.double()
    wrong = (actual != truth.nearest) & ~(actual.isnan() & truth.nearest.isnan())
    if not wrong.any():
        return Tally(inputs=len(z), max_ulp=0.5)  # at most, since nothing is nearer
    error = ((actual - truth.value) - truth.rest).abs()
    ulp = (error / truth.unit).nan_to_num(torch.inf).masked_fill(truth.nearest.isnan(), 0.0)
    worst = int(ulp.argmax())
    normal = truth.value.abs() >= smallest_normal
    return Tally(
        inputs=len(z),
        max_ulp=ulp[worst].item(),
        z=z[worst].item(),
        not_nearest=int(wrong.sum()),
        zeros=int(((actual == 0) & wrong).sum()),
        off=int((normal & ~(error <= 0.01 * truth.value.abs())).sum()),
    )
