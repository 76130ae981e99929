"""The truth that fused steps are held against: the formulas in long double, nothing cancelling."""

from dataclasses import dataclass

import numpy as np
import torch
from tolerances import FUSED_EPS
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    x: Tensor
    y: Tensor
    weight: Tensor
    bias: Tensor
    cost: str = "quadratic"
    sample_weight: Tensor | None = None

    @property
    def tensors(self):
        return self.x, self.y, self.weight, self.bias


def draw(samples, features, dtype, cost="quadratic", *, weighted=False):
    """A batch with z around 0, from torch's own generator."""
    x = torch.randn(samples, features).to(dtype)
    weight = (torch.randn(features) / features**0.5).to(dtype)
    sample_weight = torch.rand(samples).to(dtype) if weighted else None
    return Batch(
        x, torch.rand(samples).to(dtype), weight, torch.randn(()).to(dtype), cost, sample_weight
    )


def draw_without_cancellation(samples, features, dtype, cost, *, weighted=False):
    """The same, but with terms of one sign in every sum over samples: targets 0 and x > 0."""
    batch = draw(samples, features, dtype, cost, weighted=weighted)
    rest = batch.weight, batch.bias, cost, batch.sample_weight
    return Batch(batch.x.abs(), torch.zeros_like(batch.y), *rest)


def truth(batch):
    """C and its derivatives by weight, bias, x and y, of the same numbers in long double."""
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


def _long(tensor):
    return tensor.detach().double().numpy().astype(np.longdouble)


def largest_error(actual, expected):
    """In rounding units of the actual dtype, relative to the largest entry."""
    difference = abs(_long(actual) - expected).max() / abs(expected).max()
    return float(difference / torch.finfo(actual.dtype).eps)


def agrees(results, batch):
    """Whether C, ∂C/∂w and ∂C/∂b are as exact as their dtype allows."""
    pairs = zip(results, truth(batch)[:3], strict=True)
    return all(largest_error(actual, expected) <= FUSED_EPS for actual, expected in pairs)


def agree(actual, expected, tolerance):
    """Whether tensors equal their counterparts in float64, relatively or absolutely."""
    return all(
        torch.allclose(a.double(), e, rtol=tolerance, atol=tolerance)
        for a, e in zip(actual, expected, strict=True)
    )
