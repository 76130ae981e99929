"""σ and σ′ as they stand on the first page, against 50 digits."""

import pytest
import torch
from errors import in_ulp
from tolerances import FORMULA_ULP
from truth import sigmoid as exact
from truth import to_50_digits

from bp_torch.derivative import sigmoid, sigmoid_prime

# For z > 0 the textbook's 1 − ŷ cancels, as the formula's docstring says.
Z = torch.linspace(-30, 0, 1001, dtype=torch.float64)


def exact_prime(z):
    return exact(z) * (1 - exact(z))


@pytest.mark.parametrize(
    ("function", "z", "value"),
    [
        (sigmoid, 1.0, 0.7310585786300049),
        (sigmoid, -1.0, 0.2689414213699951),
        (lambda z: sigmoid_prime(sigmoid(z)), 0.0, 0.25),
        (lambda z: sigmoid_prime(sigmoid(z)), 1.0, 0.19661193324148185),
    ],
    ids=["σ(1)", "σ(−1)", "σ′(0)", "σ′(1)"],
)
def test_constants(function, z, value):
    result = function(torch.tensor(z, dtype=torch.float64)).item()
    assert result == pytest.approx(value, rel=4e-16)


def test_sigmoid_agrees_with_50_digits():
    assert in_ulp(sigmoid(Z), to_50_digits(exact, Z)) <= FORMULA_ULP


def test_sigmoid_without_its_minus_sign_is_far_from_50_digits():
    assert in_ulp(1 / (1 + torch.exp(Z)), to_50_digits(exact, Z)) > 1e6 * FORMULA_ULP


def test_sigmoid_prime_agrees_with_50_digits():
    assert in_ulp(sigmoid_prime(sigmoid(Z)), to_50_digits(exact_prime, Z)) <= FORMULA_ULP


def test_sigmoid_prime_of_the_pre_activation_is_far_from_50_digits():
    """σ′ takes ŷ: given z, it is another function."""
    assert in_ulp(sigmoid_prime(Z), to_50_digits(exact_prime, Z)) > 1e6 * FORMULA_ULP


def test_sigmoid_prime_is_lost_where_the_output_rounds_to_one():
    """As the docstring says: the truth is 4.14e-8 and 4.25e-18."""
    for z, dtype in ((17.0, torch.float32), (40.0, torch.float64)):
        assert sigmoid_prime(sigmoid(torch.tensor(z, dtype=dtype))) == 0
