"""A function's own values as the only witness: mistakes are found, and no right one convicted."""

import mpmath
import numpy as np
import pytest
import torch
from torch_functions import MIXING, NOT_IN_BFLOAT16, OFF, UNARY

import bp_torch as bp

DTYPES = (torch.float64, torch.float32)


each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])


def prove(fn, dtype, seed=0, shape=(4, 3)):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return bp.compare(fn, inputs=[x], transforms=False)


@pytest.mark.parametrize("name", [*UNARY, *MIXING])
def test_a_function_of_torch_is_not_called_wrong(name):
    report = prove({**UNARY, **MIXING}[name], torch.float32)
    assert report.ok or (name, torch.float32) in OFF, report


@pytest.mark.parametrize("name", ["hardsigmoid", "digamma"])
def test_what_is_off_is_found_to_be(name):
    sentence = prove(UNARY[name], torch.float64).diagnosis.sentence
    assert OFF[name, torch.float64] in sentence


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*UNARY, *MIXING} - NOT_IN_BFLOAT16))
def test_nor_in_bfloat16(name):
    report = prove({**UNARY, **MIXING}[name], torch.bfloat16)
    assert report.verdict != "wrong", report


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@each_dtype
@pytest.mark.parametrize("name", [*UNARY, *MIXING])
def test_nor_with_other_numbers(name, dtype, seed):
    report = prove({**UNARY, **MIXING}[name], dtype, seed)
    assert report.verdict != "wrong" or (name, dtype) in OFF, report


def test_a_dtype_without_a_kernel_is_not_taken_where_others_are():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    dtypes = [torch.float64, torch.float32, torch.bfloat16]
    report = bp.compare(torch.special.erfcx, inputs=x, dtypes=dtypes, transforms=False)
    assert report.ok
    assert "bfloat16 (NotImplementedError" in " ".join(str(report).split())
    with pytest.raises(NotImplementedError):
        bp.compare(torch.special.erfcx, inputs=x, dtypes=torch.bfloat16, transforms=False)


def test_torch_is_off_where_it_is_said_to_be():
    """Against 40 digits."""
    x = torch.tensor(0.838, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.digamma(x), x)
    with mpmath.workdps(40):
        error = float(abs(slope.item() / mpmath.psi(1, mpmath.mpf(x.item())) - 1))
    assert 1e-10 < error < 1e-9
    (slope,) = torch.autograd.grad(torch.nn.functional.hardsigmoid(x), x)
    assert 2e-8 < abs(slope.item() * 6 - 1) < 4e-8
    x = torch.tensor(7.75, dtype=torch.float32)
    with mpmath.workdps(40):
        exact = mpmath.besseli(1, mpmath.mpf(x.item())) * mpmath.exp(-mpmath.mpf(x.item()))
        error = float(abs(torch.special.i1e(x).item() / exact - 1))
    assert 4e-7 < error < 2e-6


def with_gradient(fn, change):
    """The function with autograd's gradient changed."""

    class Changed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return fn(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(fn(leaf), leaf, g)
            return change(gradient, x)

    return Changed.apply


MISTAKES = {
    "sign": lambda gradient, x: -gradient,
    "twice": lambda gradient, x: 2 * gradient,
    "a tenth of a percent": lambda gradient, x: 1.001 * gradient,
    "where x is positive": lambda gradient, x: torch.where(x > 0.5, 1.1 * gradient, gradient),
    "a constant added": lambda gradient, x: gradient + 0.01,
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", ["sin", "exp", "erf", "softplus", "softmax", "logsumexp"])
def test_a_mistake_is_found(name, mistake):
    fn = with_gradient({**UNARY, **MIXING}[name], MISTAKES[mistake])
    assert not prove(fn, torch.float32).ok
    if mistake in ("sign", "twice"):  # what a bfloat16 shows without a peer
        assert not prove(fn, torch.bfloat16).ok


def test_of_a_function_whose_values_are_float32_on_their_way_nothing_is_claimed():
    """NumPy in float32, which nothing can widen: a staircase has no slope."""

    def through_numpy(wrong):
        class Sine(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                narrow = x.detach().numpy().astype("float32")
                return torch.from_numpy(np.sin(narrow)).to(x.dtype)

            @staticmethod
            def backward(ctx, g):
                (x,) = ctx.saved_tensors
                return wrong * g * x.cos()

        return Sine.apply

    assert prove(through_numpy(1), torch.float32).verdict == "inconclusive"
    assert prove(through_numpy(2), torch.float32).verdict == "wrong"  # some steps were wide enough
