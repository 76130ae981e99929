import mpmath
import pytest
import torch
from tolerances import FORMULA_ULP

import bp_torch as bp
from bp_torch import formulas
from bp_torch.compare.ulp import ulp_distance

mpmath.mp.dps = 50


def truth(function, *tensors, dtype=torch.float64):
    """`function` of each element (or of corresponding elements) to 50 digits, rounded once."""
    flat = [[mpmath.mpf(value) for value in tensor.double().tolist()] for tensor in tensors]
    return torch.tensor([float(function(*values)) for values in zip(*flat, strict=True)]).to(dtype)


def sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


def ulp(actual, expected):
    return ulp_distance(actual, expected).max().item()


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# For z > 0 the textbook's 1 − ŷ cancels, as the formula's docstring says.
Z = torch.linspace(-30, 0, 1001, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sigmoid(1)", 0.7310585786300049),
        ("sigmoid(-1)", 0.2689414213699951),
        ("sigmoid_prime(0)", 0.25),
        ("sigmoid_prime(1)", 0.19661193324148185),
    ],
)
def test_constants(name, value):
    z = torch.tensor(float(name[name.index("(") + 1 : -1]))
    y_hat = formulas.sigmoid(z)
    result = y_hat if name.startswith("sigmoid(") else formulas.sigmoid_prime(y_hat)
    assert result.item() == pytest.approx(value, rel=4e-16)


def test_sigmoid_agrees_with_50_digits():
    assert ulp(formulas.sigmoid(Z), truth(sigmoid, Z)) <= FORMULA_ULP


def test_sigmoid_without_its_minus_sign_is_far_from_50_digits():
    assert ulp(1 / (1 + torch.exp(Z)), truth(sigmoid, Z)) > 1e6 * FORMULA_ULP


def test_sigmoid_prime_agrees_with_50_digits():
    expected = truth(lambda z: sigmoid(z) * (1 - sigmoid(z)), Z)
    assert ulp(formulas.sigmoid_prime(formulas.sigmoid(Z)), expected) <= FORMULA_ULP


def test_sigmoid_prime_of_the_pre_activation_is_far_from_50_digits():
    """σ′ takes ŷ: given z, it is another function."""
    expected = truth(lambda z: sigmoid(z) * (1 - sigmoid(z)), Z)
    assert ulp(formulas.sigmoid_prime(Z), expected) > 1e6 * FORMULA_ULP


def test_sigmoid_prime_is_lost_where_the_output_rounds_to_one():
    """As the docstring says: the truth is 4.14e-8 and 4.25e-18."""
    for z, dtype in ((17.0, torch.float32), (40.0, torch.float64)):
        assert formulas.sigmoid_prime(formulas.sigmoid(torch.tensor(z, dtype=dtype))) == 0


Y_HAT = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
Y = torch.linspace(1, 0, 99, dtype=torch.float64).square()


def test_quadratic_cost_agrees_with_50_digits():
    terms = truth(lambda a, t: (a - t) ** 2 / (2 * 99), Y_HAT, Y)
    assert ulp(bp.quadratic_cost(Y_HAT, Y), terms.sum()) <= FORMULA_ULP


def test_cross_entropy_cost_agrees_with_50_digits():
    def term(a, t):
        return -(t * mpmath.log(a) + (1 - t) * mpmath.log(1 - a)) / 99

    # (1 − ŷ) is formed in float64 in both, so that the truth is of the same numbers.
    assert ulp(bp.cross_entropy_cost(Y_HAT, Y), truth(term, Y_HAT, Y).sum()) <= 2 * FORMULA_ULP


@pytest.mark.parametrize("name", formulas.COSTS)
def test_cost_prime_agrees_with_50_digits(name):
    def prime(a, t):
        derivative = a - t if name == "quadratic" else (a - t) / (a * (1 - a))
        return derivative / 99

    _, cost_prime = formulas.cost_and_prime(name)
    expected = truth(prime, Y_HAT, Y)
    # Next to ŷ = y the difference cancels: held there against the size of its terms.
    scale = (1 / Y_HAT + 1 / (1 - Y_HAT)) / 99
    error = (cost_prime(Y_HAT, Y) - expected).abs() / (scale * torch.finfo(torch.float64).eps)
    assert error.max() <= FORMULA_ULP


@pytest.mark.parametrize("name", formulas.COSTS)
@pytest.mark.parametrize("shape", [(), (7,), (7, 3)], ids=str)
def test_cost_prime_is_autograds(name, shape):
    cost, cost_prime = formulas.cost_and_prime(name)
    y_hat, y = torch.rand(shape), torch.rand(shape)
    (expected,) = torch.autograd.grad(cost(y_hat.requires_grad_(), y), y_hat)
    torch.testing.assert_close(cost_prime(y_hat.detach(), y), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", formulas.COSTS)
def test_cost_passes_gradcheck_twice(name):
    cost, _ = formulas.cost_and_prime(name)
    y_hat = torch.rand(5).mul(0.8).add(0.1).requires_grad_()
    y = torch.rand(5)
    assert torch.autograd.gradcheck(lambda a: cost(a, y), y_hat, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda a: cost(a, y), y_hat)


@pytest.mark.parametrize("name", formulas.COSTS)
def test_cost_counts_samples_and_sums_over_outputs(name):
    cost, _ = formulas.cost_and_prime(name)
    y_hat, y = torch.rand(6, 3), torch.rand(6, 3)
    over_outputs = sum(cost(y_hat[:, k], y[:, k]) for k in range(3))
    torch.testing.assert_close(cost(y_hat, y), over_outputs, rtol=1e-14, atol=0)
    torch.testing.assert_close(cost(y_hat[0], y[0]) * 3, cost(y_hat[:1], y[:1]), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_cross_entropy_and_its_gradient_stay_finite_at_rounded_outputs(dtype):
    y_hat = torch.tensor([0, 1, 0, 1], dtype=dtype, requires_grad=True)
    y = torch.tensor([0, 1, 1, 0], dtype=dtype)
    cost = bp.cross_entropy_cost(y_hat, y)
    (gradient,) = torch.autograd.grad(cost, y_hat)
    assert cost.isfinite()
    assert gradient.isfinite().all()


def test_cross_entropy_at_one_is_the_least_that_rounds_there():
    """1 − 2⁻²⁵ is the largest number between 1 and its neighbour below that rounds to 1."""
    y_hat, y = torch.ones(1, dtype=torch.float32), torch.zeros(1, dtype=torch.float32)
    assert bp.cross_entropy_cost(y_hat, y).item() == pytest.approx(25 * 0.6931471805599453)


@pytest.mark.parametrize("cost", [bp.quadratic_cost, bp.cross_entropy_cost])
@pytest.mark.parametrize(
    ("y_hat", "y", "error", "message"),
    [
        (torch.rand(4), torch.rand(4, 1), ValueError, r"same shape, got \(4,\) and \(4, 1\)"),
        (torch.rand(4), torch.ones(4).long(), TypeError, "y must be a floating-point tensor"),
        (torch.rand(4) > 0, torch.rand(4), TypeError, "y_hat must be a floating-point tensor"),
        (torch.rand(4) * 1j, torch.rand(4), TypeError, "complex"),
        (torch.rand(4), [1.0], TypeError, "got list"),
        (torch.rand(0), torch.rand(0), ValueError, "at least one sample"),
    ],
    ids=["shape", "integer", "bool", "complex", "list", "empty"],
)
def test_cost_refuses_what_does_not_fit(cost, y_hat, y, error, message):
    with pytest.raises(error, match=message):
        cost(y_hat, y)


def test_unknown_cost_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="quadratic, cross-entropy; got 'hinge'"):
        formulas.cost_and_prime("hinge")
