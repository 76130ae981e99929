"""An autograd.Function without a reference: its own forward under autograd tells, or its values."""

import numpy as np
import pytest
import torch
from torch import Tensor

import bp_torch as bp

generator = torch.Generator().manual_seed(0)
X = torch.randn(6, generator=generator, dtype=torch.float64)

OWN = "the function's own forward under autograd, in float64"
VALUES = "differences of the function's own values, in float64"


class Older(torch.autograd.Function):
    """sin(k·x), with forward(ctx, …)."""

    slip = 1.0

    @staticmethod
    def forward(ctx, x, k, needed=None):
        assert needed is None
        assert len(ctx.needs_input_grad) in (2, 3)
        ctx.save_for_backward(x)
        ctx.k = k
        return torch.sin(k * x)

    @classmethod
    def backward(cls, ctx, g):
        (x,) = ctx.saved_tensors
        return Older.slip * g * ctx.k * torch.cos(ctx.k * x), None, None


class Newer(torch.autograd.Function):
    """The same with setup_context, and an output without a gradient."""

    @staticmethod
    def forward(x, k):
        return torch.sin(k * x), torch.floor(x) + x

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.k = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, g, nothing):
        (x,) = ctx.saved_tensors
        return g * ctx.k * torch.cos(ctx.k * x), None


class InNumPy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        return torch.from_numpy(np.sin(k * x.detach().numpy()))

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * ctx.k * torch.cos(ctx.k * x), None


class WithoutGradients(InNumPy):
    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        with torch.no_grad():
            return torch.sin(k * x)


class OfADetachedPart(InNumPy):
    """Half of it is hidden from autograd: x·sin(k·x) with x detached in one factor."""

    @staticmethod
    def forward(ctx, x, k):
        ctx.save_for_backward(x)
        ctx.k = k
        return x.detach() * torch.sin(k * x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (torch.sin(ctx.k * x) + x * ctx.k * torch.cos(ctx.k * x)), None


def compared(fn, *arguments, **options):
    return bp.compare(fn, inputs=arguments, transforms=False, **options)


@pytest.mark.parametrize(
    ("function", "witness"),
    [
        (Older, OWN),
        (Older.apply, OWN),
        (Newer, OWN),
        (InNumPy, VALUES),
        (WithoutGradients, VALUES),
        (OfADetachedPart, VALUES),
    ],
)
def test_a_right_one_is_right_and_the_report_says_who_told(function, witness):
    report = compared(function, X, 2.0)
    assert report.ok, report
    assert report.witness == witness
    assert f"truth: {witness}" in str(report)


@pytest.mark.parametrize("function", [Older, InNumPy, OfADetachedPart])
def test_a_wrong_one_is_wrong(function, monkeypatch):
    right = function.backward

    def wrong(ctx, g):
        gradient, *others = right(ctx, g)
        return -gradient, *others

    monkeypatch.setattr(function, "backward", staticmethod(wrong))
    assert compared(function, X, 2.0).diagnosis.mistake == "sign"


def test_with_its_own_forward_the_second_derivative_is_told_too():
    class SavesItsResult(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.cosine = torch.cos(x)
            return torch.sin(x)

        @staticmethod
        def backward(ctx, g):
            return g * ctx.cosine

    report = compared(SavesItsResult, X)
    assert report.ok
    assert "silently wrong" in report.warnings[0]
    assert not compared(SavesItsResult, X, order=2).ok


def test_a_function_that_calls_another_in_its_forward():
    class Outer(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return Older.apply(x, 3.0) * 2

        @staticmethod
        def backward(ctx, g: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return g * 6 * torch.cos(3 * x)

    assert compared(Outer, X).ok
