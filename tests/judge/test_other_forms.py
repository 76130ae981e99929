"""The same mathematics in another form is right; what its rounding or its threshold costs is not
hidden. None of these functions is the package's own."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812, as everybody calls it

import bp_torch as bp

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def layer_norm(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / ((centred**2).mean(-1, keepdim=True) + 1e-5).sqrt()


def normed(x):
    return F.layer_norm(x, x.shape[-1:])


def last(function):
    return lambda x: function(x, -1)


FORMS = {
    "gelu": (F.gelu, lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
    "silu": (F.silu, lambda x: x * torch.sigmoid(x)),
    "tanh": (torch.tanh, lambda x: 2 * torch.sigmoid(2 * x) - 1),
    "relu": (F.relu, lambda x: x.clamp(min=0)),
    "elu": (F.elu, lambda x: torch.where(x > 0, x, torch.expm1(x.clamp(max=0)))),
    "hardswish": (F.hardswish, lambda x: x * (x + 3).clamp(0, 6) / 6),
    "layer_norm": (normed, layer_norm),
    "softmax": (last(torch.softmax), lambda x: torch.exp(F.log_softmax(x, -1))),
    "log_softmax": (last(F.log_softmax), lambda x: x - torch.logsumexp(x, -1, keepdim=True)),
    "norm": (lambda x: torch.linalg.norm(x, dim=-1), lambda x: (x * x).sum(-1).sqrt()),
    "var": (lambda x: x.var(0), lambda x: ((x - x.mean(0)) ** 2).sum(0) / (len(x) - 1)),
    "matmul": (lambda x: x @ x.T, lambda x: torch.einsum("ij,kj->ik", x, x)),
}


# torch 2.14 gives clamp the slope 0 where its argument is at a bound, 2.13 gave it 1. By clamp the
# derivative of elu at 0 is 0 there, and in truth it is 1.
CLAMP_HAS_SLOPE_0_AT_A_TIE = (
    torch.autograd.functional.vjp(lambda x: x.clamp(max=0), torch.zeros(1), torch.ones(1))[1] == 0
)


def prove(fn, reference, dtype, seed=0):
    x = 2 * torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))
    return bp.compare(fn, reference, inputs=(x,), dtypes=[dtype], transforms=False)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("way", ["one", "other"])
def test_another_form_is_not_rejected(name, way, dtype):
    fn, reference = FORMS[name] if way == "one" else FORMS[name][::-1]
    report = prove(fn, reference, dtype)
    if way == "other" and dtype == torch.float16 and name in ("layer_norm", "norm"):
        # Their squares leave the range of float16, where torch's own kernels compute in float32.
        assert report.diagnosis.mistake == "overflow"
    elif way == "other" and name == "elu" and CLAMP_HAS_SLOPE_0_AT_A_TIE:
        assert "is wrong only at input = 0: it is 0 there" in str(report.diagnosis)
    else:
        assert report.ok, report


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_a_reference_that_is_wrong_at_one_point_convicts_nobody(dtype):
    """elu with torch.minimum, to which torch gives half a slope where both are 0; the truth is 1.
    It has no kink there, but its second derivative jumps."""

    def halved(x):
        return torch.where(x > 0, x, torch.expm1(torch.minimum(x, x.new_zeros(()))))

    assert prove(F.elu, halved, dtype).ok, prove(F.elu, halved, dtype)
    diagnosis = str(prove(halved, F.elu, dtype).diagnosis)
    assert "is wrong only at input = 0: it is 0.5 times the truth there" in diagnosis


@pytest.mark.parametrize(("dtype", "ok"), [(torch.float64, False), (torch.float32, True)])
def test_softplus_beyond_its_threshold_is_seen_to_be_off_by_two_parts_in_a_billion(dtype, ok):
    """F.softplus(x) is x for x > 20; e⁻²⁰ = 2e-9 is visible in float64 alone."""

    def exact(x):
        return torch.logaddexp(x, torch.zeros_like(x))

    assert prove(F.softplus, exact, dtype).ok == ok


def test_a_gradient_that_is_wrong_at_a_kink_alone_is_right():
    """At 0 every number from 0 to 1 is a derivative of max(x, 0)."""

    class Half(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * torch.heaviside(x, x.new_tensor(0.5))

    assert prove(Half.apply, F.relu, torch.float32).ok


def test_a_constant_that_torch_rounds_to_float32_is_seen_in_float64():
    """F.hardsigmoid's gradient is 1/6 in float32 whatever the dtype: 3e-8 of itself off."""

    class Exact(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return F.hardsigmoid(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return torch.where(x.abs() < 3, g / 6, 0 * g)

    report = prove(Exact.apply, F.hardsigmoid, torch.float64)
    assert report.ok
    assert any("is off by up to 3e-08 of itself" in finding for finding in report.findings)
    assert not any("loses the derivative" in finding for finding in report.findings)
