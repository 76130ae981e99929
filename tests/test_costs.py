import mpmath
import pytest
import torch
from errors import in_ulp
from tolerances import FORMULA_ULP
from truth import to_50_digits

import bp_torch as bp
from bp_torch.costs import COSTS


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


Y_HAT = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
Y = torch.linspace(1, 0, 99, dtype=torch.float64).square()


def test_quadratic_cost_agrees_with_50_digits():
    terms = to_50_digits(lambda a, t: (a - t) ** 2 / (2 * 99), Y_HAT, Y)
    assert in_ulp(bp.quadratic_cost(Y_HAT, Y), terms.sum()) <= FORMULA_ULP


def test_cross_entropy_cost_agrees_with_50_digits():
    def term(a, t):
        return -(t * mpmath.log(a) + (1 - t) * mpmath.log(1 - a)) / 99

    # (1 − ŷ) is formed in float64 in both, so that the truth is of the same numbers.
    expected = to_50_digits(term, Y_HAT, Y).sum()
    assert in_ulp(bp.cross_entropy_cost(Y_HAT, Y), expected) <= 2 * FORMULA_ULP


@pytest.mark.parametrize("name", COSTS)
def test_cost_prime_agrees_with_50_digits(name):
    def prime(a, t):
        derivative = a - t if name == "quadratic" else (a - t) / (a * (1 - a))
        return derivative / 99

    _, cost_prime = COSTS[name]
    expected = to_50_digits(prime, Y_HAT, Y)
    # Next to ŷ = y the difference cancels: held there against the size of its terms.
    scale = (1 / Y_HAT + 1 / (1 - Y_HAT)) / 99
    error = (cost_prime(Y_HAT, Y) - expected).abs() / (scale * torch.finfo(torch.float64).eps)
    assert error.max() <= FORMULA_ULP


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("shape", [(), (7,), (7, 3)], ids=str)
def test_cost_prime_is_autograds(name, shape):
    cost, cost_prime = COSTS[name]
    y_hat, y = torch.rand(shape), torch.rand(shape)
    (expected,) = torch.autograd.grad(cost(y_hat.requires_grad_(), y), y_hat)
    torch.testing.assert_close(cost_prime(y_hat.detach(), y), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", COSTS)
def test_cost_passes_gradcheck_twice(name):
    cost, _ = COSTS[name]
    y_hat = torch.rand(5).mul(0.8).add(0.1).requires_grad_()
    y = torch.rand(5)
    assert torch.autograd.gradcheck(lambda a: cost(a, y), y_hat, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda a: cost(a, y), y_hat)


@pytest.mark.parametrize("name", COSTS)
def test_cost_counts_samples_and_sums_over_outputs(name):
    cost, _ = COSTS[name]
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
