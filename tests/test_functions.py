import pytest
import torch
from tolerances import FUNCTION_ULP
from torch.autograd.gradcheck import GradcheckError

import bp_torch as bp
from bp_torch import formulas
from bp_torch.compare.ulp import ulp_distance
from bp_torch.functions import SigmoidFunction

DTYPES = pytest.mark.parametrize("dtype", FUNCTION_ULP, ids=lambda dtype: str(dtype)[6:])


class WrongOrder(SigmoidFunction):
    """The same product in another order, g · (ŷ (1 − ŷ)): right to 2 ULP, not to the bit."""

    @staticmethod
    def backward(ctx, upstream):
        (y_hat,) = ctx.saved_tensors
        return upstream * formulas.sigmoid_prime(y_hat)


class TwiceTooLarge(SigmoidFunction):
    @staticmethod
    def backward(ctx, upstream):
        return 2 * SigmoidFunction.backward(ctx, upstream)


def gradient(function, z, upstream):
    z = z.detach().requires_grad_()  # detach keeps the strides, clone would not
    return torch.autograd.grad(function(z), z, upstream)[0]


def inputs(dtype):
    """Every bit pattern of the 16-bit types; a million and the edges of the wider ones."""
    if dtype.itemsize == 2:
        z = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    else:
        edges = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 5e-324, 1e-45, 1e30])
        z = torch.cat([torch.randn(1_000_003, dtype=torch.float64) * 10, edges]).to(dtype)
    return z, torch.randn(z.shape, dtype=torch.float64).to(dtype)


@DTYPES
def test_value_is_torch_sigmoids_bit_for_bit(dtype):
    z, _ = inputs(dtype)
    assert torch.equal(bp.sigmoid(z).nan_to_num(2.0), torch.sigmoid(z).nan_to_num(2.0))


@DTYPES
def test_gradient_is_autograds(dtype):
    z, upstream = inputs(dtype)
    actual = gradient(bp.sigmoid, z, upstream)
    expected = gradient(torch.sigmoid, z, upstream)
    assert ulp_distance(actual, expected).max() <= FUNCTION_ULP[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_gradient_in_another_order_is_not_autograds_to_the_bit(dtype):
    z, upstream = inputs(dtype)
    actual = gradient(WrongOrder.apply, z, upstream)
    expected = gradient(torch.sigmoid, z, upstream)
    assert ulp_distance(actual, expected).max() > FUNCTION_ULP[dtype]


@DTYPES
@pytest.mark.parametrize(
    "lay_out",
    [lambda t: t.mT, lambda t: t[::2, 1:], lambda t: t[:1].expand(6, -1), lambda t: t[0, 0]],
    ids=["transposed", "strided", "expanded", "0-d"],
)
def test_gradient_is_autograds_in_every_layout(dtype, lay_out):
    z, upstream = (lay_out(torch.randn(6, 8).to(dtype)) for _ in range(2))
    expected = gradient(torch.sigmoid, z, upstream)
    actual = gradient(bp.sigmoid, z, upstream)
    assert ulp_distance(actual, expected).max() <= FUNCTION_ULP[dtype]


def test_gradcheck_and_gradgradcheck_accept_it():
    z = torch.randn(7, dtype=torch.float64, requires_grad=True)
    every_mode = {"check_forward_ad": True, "check_batched_grad": True}
    assert torch.autograd.gradcheck(bp.sigmoid, z, **every_mode, check_batched_forward_grad=True)
    assert torch.autograd.gradgradcheck(
        bp.sigmoid, z, check_batched_grad=True, check_fwd_over_rev=True
    )


def test_gradcheck_rejects_it_twice_too_large():
    z = torch.randn(7, dtype=torch.float64, requires_grad=True)
    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(TwiceTooLarge.apply, z)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_higher_derivatives_are_autograds(order):
    def nth(function):
        z = torch.linspace(-4, 4, 9, dtype=torch.float64, requires_grad=True)
        result = function(z)
        for _ in range(order):
            (result,) = torch.autograd.grad(result.sum(), z, create_graph=True)
        return result

    torch.testing.assert_close(nth(bp.sigmoid), nth(torch.sigmoid), rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("transform", [torch.func.jacrev, torch.func.jacfwd, torch.func.hessian])
def test_function_transforms_agree_with_torch_sigmoid(transform):
    z = torch.randn(5, dtype=torch.float64)
    actual = torch.vmap(transform(lambda t: bp.sigmoid(t)))(z)
    expected = torch.vmap(transform(torch.sigmoid))(z)
    torch.testing.assert_close(actual, expected, rtol=1e-14, atol=1e-16)


def test_exactly_one_tensor_is_saved():
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        bp.sigmoid(torch.randn(5, requires_grad=True))
    assert len(saved) == 1


def test_overwriting_the_output_before_backward_is_an_error_and_not_a_wrong_gradient():
    y_hat = bp.sigmoid(torch.randn(5, requires_grad=True))
    with torch.no_grad():
        y_hat.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y_hat.sum().backward()


def test_backward_leaves_the_upstream_gradient_as_it_was():
    upstream = torch.randn(5)
    before = upstream.clone()
    bp.sigmoid(torch.randn(5, requires_grad=True)).backward(upstream)
    assert torch.equal(upstream, before)


@pytest.mark.parametrize(
    "z", [torch.arange(3), torch.ones(3) * 1j, torch.ones(3) > 0, 1.0], ids=str
)
def test_what_is_not_a_floating_point_tensor_is_refused(z):
    with pytest.raises(TypeError, match="z must be a floating-point tensor"):
        bp.sigmoid(z)


def test_unknown_derivative_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="must be one of textbook; got 'exact'"):
        bp.sigmoid(torch.zeros(1), derivative="exact")
