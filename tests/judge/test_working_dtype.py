"""The dtype that a function works in, and what follows for what is excused by rounding."""

import pytest
import torch

import bp_torch as bp
from bp_torch.judge.passes import Point
from bp_torch.judge.truth.working import working_dtype

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).bfloat16()


def wide(x):
    return torch.softmax(x.float(), -1).to(x.dtype)


def narrow_on_the_way(x):
    return torch.tanh(torch.softmax(x.float(), -1).to(x.dtype).float()).to(x.dtype)


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        (wide, torch.float32),
        (lambda x: (x.double().exp() + 1).log().to(x.dtype), torch.float64),
        (narrow_on_the_way, torch.bfloat16),
        (lambda x: torch.softmax(x, -1), torch.bfloat16),
        (lambda x: x.view(6, 4), torch.bfloat16),
    ],
)
def test_it_is_the_coarsest_in_which_something_is_rounded(function, dtype):
    point = Point(lambda x: (function(x),), {"x": X}, ("x",), (torch.ones_like(function(X)),))
    assert working_dtype(point, torch.bfloat16) is dtype


def unrolled(x, steps=60):
    """Many operations in float64: in bfloat16 nothing would be left of their result."""
    y = wide = x.double()
    for _ in range(steps):
        y = y - 0.1 * (y - torch.sin(wide) - y.mean())
    return y.to(x.dtype)


def with_slope(factor):
    class Unrolled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return unrolled(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                leaf = x.detach().double().requires_grad_()
                (found,) = torch.autograd.grad(unrolled(leaf), leaf, g.double())
            return (factor * found).to(x.dtype)

    return Unrolled


def test_what_works_in_more_digits_is_judged_in_them():
    assert bp.compare(with_slope(1), unrolled, inputs=X, transforms=False).ok
    assert not bp.compare(with_slope(1.1), unrolled, inputs=X, transforms=False).ok
