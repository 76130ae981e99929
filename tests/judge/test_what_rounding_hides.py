"""Right code whose rounding looks like a mistake to who counts last places: each is let pass by one
thing that the truth is known to be uncertain by, and the same code with a mistake is not."""

import mpmath
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

import bp_torch as bp


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Digamma(torch.autograd.Function):
    """With its slope to 30 digits; torch's is 4.5e-10 of itself off for positive numbers."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.digamma(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        with mpmath.workdps(30):
            slope = [float(mpmath.psi(1, each)) for each in x.flatten().tolist()]
        return g * torch.tensor(slope, dtype=torch.float64).to(x).reshape(x.shape)


def summed(function):
    """Inside a function that mixes its inputs."""
    return lambda x: function(x).cumsum(-1)


class Glu(torch.autograd.Function):
    """a σ(b) with the slope σ(b) σ(−b); in that of torch 1 − σ(b) cancels."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        a, b = x.chunk(2, -1)
        return a * torch.sigmoid(b)

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors[0].chunk(2, -1)
        gate = torch.sigmoid(b)
        return torch.cat((g * gate, g * a * gate * torch.sigmoid(-b)), -1)


def convolved_by_fourier(x, w):
    """Small results are no more exact than the largest."""
    n = x.shape[-1] + w.shape[-1] - 1
    return torch.fft.irfft(torch.fft.rfft(x, n) * torch.fft.rfft(w, n), n)


def convolved(x, w):
    return F.conv1d(F.pad(x, (w.shape[-1] - 1,) * 2)[None, None], w.flip(0)[None, None])[0, 0]


def root_of_squares(a, b):
    """The squares underflow where hypot is right."""
    return (a * a + b * b).sqrt()


class LogCosh(torch.autograd.Function):
    """Its slope, tanh, in one buffer, as (1 − e) / (1 + e): the first difference cancels."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.cosh().log()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        e = (-2 * x.abs()).exp_()
        below = 1 + e
        return e.neg_().add_(1).div_(below).copysign_(x).mul_(g)


def log_cosh(x):
    return x.cosh().log()


RIGHT = {
    "a slope of torch that is off": (
        summed(Digamma.apply),
        summed(torch.digamma),
        (draw(3, 4).abs() + 0.5,),
        torch.float64,
    ),
    "a kernel that cancels": (Glu, F.glu, (12 * draw(4, 6),), torch.float64),
    "a Fourier transform": (
        convolved_by_fourier,
        convolved,
        (draw(40).exp() ** 3, draw(9, seed=1)),
        torch.float32,
    ),
    "squares that underflow": (
        torch.hypot,
        root_of_squares,
        (1e-170 * draw(5), 1e-170 * draw(5, seed=1)),
        torch.float64,
    ),
    "one buffer": (LogCosh, log_cosh, (0.01 * draw(4, 6),), torch.float32),
}


def compared(fn, reference, inputs, dtype):
    return bp.compare(fn, reference, inputs=inputs, dtypes=[dtype], transforms=False)


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("seed", range(3))
def test_right_code_is_not_convicted(name, seed):
    fn, reference, inputs, dtype = RIGHT[name]
    report = bp.compare(fn, reference, inputs=inputs, dtypes=[dtype], transforms=False, seed=seed)
    assert report.verdict != "wrong", report


def slightly_off(fn):
    """Its gradient a thousandth too large."""
    fn = fn.apply if isinstance(fn, type) else fn

    class Off(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return fn(*inputs)

        @staticmethod
        def backward(ctx, g):
            with torch.enable_grad():
                leaves = [t.detach().requires_grad_() for t in ctx.saved_tensors]
                found = torch.autograd.grad(fn(*leaves), leaves, g)
            return tuple(1.001 * each for each in found)

    return Off


@pytest.mark.parametrize("name", RIGHT)
def test_the_same_with_a_mistake_is(name):
    fn, reference, inputs, dtype = RIGHT[name]
    report = compared(slightly_off(fn), reference, inputs, dtype)
    assert report.verdict == "wrong", report
