"""Batches for the fused step, and whether its results are as exact as their dtype allows."""

import torch
from errors import in_eps
from tolerances import FUSED_EPS
from truth import Batch, of_neuron


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


def agrees(results, batch):
    """Whether C, ∂C/∂w and ∂C/∂b are as exact as their dtype allows."""
    pairs = zip(results, of_neuron(batch)[:3], strict=True)
    return all(in_eps(actual, expected) <= FUSED_EPS for actual, expected in pairs)


def agree(actual, expected, tolerance):
    """Whether tensors equal their counterparts in float64, relatively or absolutely."""
    return all(
        torch.allclose(a.double(), e, rtol=tolerance, atol=tolerance)
        for a, e in zip(actual, expected, strict=True)
    )
