import pytest
import torch
from errors import in_ulp
from tolerances import FUNCTION_ULP
from torch.autograd.gradcheck import GradcheckError

import bp_torch as bp
from bp_torch.derivative import SigmoidFunction, sigmoid_prime
from bp_torch.forms import FORMS as FORMS_BY_NAME
from bp_torch.forms import Form
from bp_torch.precise import formulas as accurate

FORMS = pytest.mark.parametrize("form", ["textbook", "accurate"])
DTYPES = pytest.mark.parametrize("dtype", FUNCTION_ULP, ids=lambda dtype: str(dtype)[6:])


class WrongOrder(SigmoidFunction):
    """The same product in another order, g · (ŷ (1 − ŷ)): right to 2 ULP, not to the bit."""

    @staticmethod
    def backward(ctx, upstream):
        (y_hat,) = ctx.saved_tensors
        return upstream * sigmoid_prime(y_hat)


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
    assert in_ulp(actual, expected) <= FUNCTION_ULP[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_gradient_in_another_order_is_not_autograds_to_the_bit(dtype):
    z, upstream = inputs(dtype)
    actual = gradient(WrongOrder.apply, z, upstream)
    expected = gradient(torch.sigmoid, z, upstream)
    assert in_ulp(actual, expected) > FUNCTION_ULP[dtype]


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
    assert in_ulp(actual, expected) <= FUNCTION_ULP[dtype]


LAYOUTS = {
    "contiguous": lambda t: t,
    "channels last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(1, 3),
    "strided": lambda t: t[:, :, ::2, 1:],
    "expanded": lambda t: t[:, :1].expand(-1, 3, -1, -1),
    "0-d": lambda t: t[0, 0, 0, 0],
    "empty": lambda t: t[:0],
}


@FORMS
@DTYPES
@pytest.mark.parametrize("lay_out", LAYOUTS.values(), ids=LAYOUTS)
def test_strides_are_torch_sigmoids_in_every_layout(form, dtype, lay_out):
    z, upstream = (lay_out(torch.randn(2, 3, 4, 5).to(dtype)) for _ in range(2))
    assert bp.sigmoid(z, form).stride() == torch.sigmoid(z).stride()
    by_hand = gradient(lambda t: bp.sigmoid(t, form), z, upstream)
    assert by_hand.stride() == gradient(torch.sigmoid, z, upstream).stride()


@DTYPES
@pytest.mark.parametrize("lay_out", LAYOUTS.values(), ids=LAYOUTS)
def test_layout_does_not_change_the_bits_of_the_accurate_form(dtype, lay_out):
    z, upstream = (lay_out(torch.randn(2, 3, 4, 5).to(dtype)) for _ in range(2))

    def both(*tensors):
        return accurate.sigmoid(tensors[0]), accurate.sigmoid_backward(*tensors[::-1])

    for actual, in_rows in zip(
        both(z, upstream), both(z.contiguous(), upstream.contiguous()), strict=True
    ):
        assert torch.equal(actual, in_rows)


def test_gradcheck_rejects_it_twice_too_large():
    z = torch.randn(7, dtype=torch.float64, requires_grad=True)
    with pytest.raises(GradcheckError):
        torch.autograd.gradcheck(TwiceTooLarge.apply, z)


@FORMS
def test_exactly_one_tensor_is_saved(form):
    saved, z = [], torch.randn(5, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        y_hat = bp.sigmoid(z, form)
    (only,) = saved
    assert only.data_ptr() == (y_hat if form == "textbook" else z).data_ptr()


@FORMS
def test_nothing_is_saved_where_no_gradient_is_needed(form):
    with torch.autograd.graph.saved_tensors_hooks(pytest.fail, lambda t: t):
        assert not bp.sigmoid(torch.randn(5), form).requires_grad


@FORMS
def test_overwriting_what_is_saved_is_an_error_and_not_a_wrong_gradient(form):
    z = torch.randn(5, requires_grad=True) * 1
    y_hat = bp.sigmoid(z, form)
    with torch.no_grad():
        (y_hat if form == "textbook" else z).zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y_hat.sum().backward()


@FORMS
def test_second_backward_gives_the_same(form):
    z = torch.randn(5, requires_grad=True)
    cost = bp.sigmoid(z, form).sum()
    first = torch.autograd.grad(cost, z, retain_graph=True)[0].clone()
    assert torch.equal(torch.autograd.grad(cost, z)[0], first)


@FORMS
def test_neither_input_nor_upstream_gradient_is_changed(form):
    z, upstream = torch.randn(5), torch.randn(5)
    before = z.clone(), upstream.clone()
    gradient(lambda t: bp.sigmoid(t, form), z, upstream)
    assert torch.equal(z, before[0])
    assert torch.equal(upstream, before[1])


class Subclass(torch.Tensor):
    asked = ()

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.asked += (function,)
        return super().__torch_function__(function, types, args, kwargs or {})


class Standin:
    """Not a tensor, but says itself what becomes of it."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return function, args, kwargs


@FORMS
def test_a_subclass_is_asked_and_kept(form):
    z = torch.randn(3)
    leaf = z.as_subclass(Subclass).requires_grad_()
    y_hat = bp.sigmoid(leaf, form)
    (actual,) = torch.autograd.grad(y_hat.sum(), leaf)
    assert bp.sigmoid in Subclass.asked
    assert type(y_hat) is type(actual) is Subclass
    expected = gradient(lambda t: bp.sigmoid(t, form), z, torch.ones(3))
    assert torch.equal(actual.as_subclass(torch.Tensor), expected)


@FORMS
def test_what_stands_for_a_tensor_is_asked(form):
    standin = Standin()
    assert bp.sigmoid(standin, form) == (bp.sigmoid, (standin,), {"derivative": form})


@FORMS
@pytest.mark.parametrize(
    "z", [torch.arange(3), torch.ones(3) * 1j, torch.ones(3) > 0, 1.0, [1.0]], ids=str
)
def test_what_is_not_a_floating_point_tensor_is_refused(form, z):
    with pytest.raises(TypeError, match="z must be a floating-point tensor"):
        bp.sigmoid(z, form)


def test_unknown_derivative_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="must be one of textbook, accurate; got 'exact'"):
        bp.sigmoid(torch.zeros(1), derivative="exact")


def test_a_form_is_added_in_one_place(monkeypatch):
    """The table of forms is all that a neuron, the chain rule and the witnesses read."""
    halved = Form(
        sigmoid=torch.sigmoid,
        prime=lambda z, y_hat: sigmoid_prime(y_hat) / 2,
        apply=lambda z: torch.sigmoid(z / 2 + (z / 2).detach()),
    )
    monkeypatch.setitem(FORMS_BY_NAME, "halved", halved)
    neuron = bp.Neuron(3, "halved", dtype=torch.float64)
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    by_hand = bp.backprop(neuron, x, y).gradients["weight"]
    (by_autograd,) = torch.autograd.grad(bp.quadratic_cost(neuron(x), y), neuron.weight)
    torch.testing.assert_close(by_hand, by_autograd)
    whole = bp.Neuron(3, dtype=torch.float64)
    whole.load_state_dict(neuron.state_dict())
    torch.testing.assert_close(2 * by_hand, bp.backprop(whole, x, y).gradients["weight"])
