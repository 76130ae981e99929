"""Slopes from values alone: right to within the error that they state, or not known."""

import math

import mpmath
import pytest
import torch

from bp_torch.judge.truth.slopes import slope

X = torch.tensor([-700.0, -90.3, -20.1, -8.2, -2.5, -1.1, -0.3, 1e-3, 0.04, 0.7, 3.3, 41.7, 640.0])
X = X.double()

FUNCTIONS = {
    "exp": (torch.exp, mpmath.exp),
    "sigmoid": (torch.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x))),
    "tanh": (torch.tanh, mpmath.tanh),
    "sin": (torch.sin, mpmath.sin),
    "fast oscillation": (lambda x: torch.sin(40 * x), lambda x: mpmath.sin(40 * x)),
    "square": (torch.square, lambda x: x**2),
    "reciprocal": (torch.reciprocal, lambda x: 1 / x),
    "atan": (torch.atan, mpmath.atan),
    "erf": (torch.erf, mpmath.erf),
    "ndtr, 0 far out": (torch.special.ndtr, lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2),
    "gelu, which cancels": (
        lambda x: torch.nn.functional.gelu(x),
        lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    ),
    "softplus by log1p": (
        lambda x: torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0),
        lambda x: mpmath.log(1 + mpmath.exp(x)),
    ),
    "a corner at 0": (torch.abs, abs),
    "through float32": (lambda x: torch.sin(x.float()), mpmath.sin),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_truth_lies_within_the_stated_error(name):
    function, exact = FUNCTIONS[name]
    found = slope(lambda step: function(X + step)[None], X)
    with mpmath.workdps(60):
        truth = [float(mpmath.diff(exact, mpmath.mpf(x))) for x in X.tolist()]
    for x, value, error, true in zip(X, found.value, found.error, truth, strict=True):
        assert value.isnan() or abs(value.item() - true) <= error.item(), (x, value, error, true)
    if name != "through float32":
        known = found.value.isfinite() & (found.error < 1e-6 * found.value.abs())
        assert known.double().mean() > 0.5


ALONE = {
    "gelu": (torch.nn.functional.gelu, FUNCTIONS["gelu, which cancels"][1]),
    "1 - cos": (lambda x: 1 - torch.cos(x), lambda x: 1 - mpmath.cos(x)),
    "x (1 + erf)": (lambda x: x * (1 + torch.erf(x)), lambda x: x * mpmath.erfc(-x)),
    "cosh - 1": (lambda x: x.cosh() - 1, lambda x: mpmath.cosh(x) - 1),
    "softplus by log(1 + e)": (
        lambda x: (1 + x.exp()).log(),
        lambda x: mpmath.log1p(mpmath.exp(x)),
    ),
}
"""Whose small values are left of larger ones: other numbers beside them would show how large."""


@pytest.mark.parametrize("name", ALONE)
def test_so_it_does_where_no_other_number_shows_what_is_lost(name):
    function, exact = ALONE[name]
    for x in [-29.3, -17.1, *torch.linspace(-8.7, -4, 48).tolist(), -1e-3, 1e-7, 2e-5, 0.3]:
        here = torch.tensor([x], dtype=torch.float64)
        found = slope(lambda step, here=here: function(here + step)[None], here)
        with mpmath.workdps(60):
            true = float(mpmath.diff(exact, mpmath.mpf(x)))
        assert found.value.isnan() or abs(found.value.item() - true) <= found.error.item(), (
            x,
            found,
            true,
        )


def test_the_stated_error_can_be_too_small():
    """What the test above would say of a slope that is taken elsewhere."""
    found = slope(lambda step: torch.sin(X + 1e-4 + step)[None], X)
    assert ((found.value - X.cos()).abs() > found.error).any()


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (torch.relu, 0.0),
        (torch.abs, 0.0),
        (lambda x: x.clamp(-1, 1), 1.0),
        (lambda x: torch.maximum(x, x.square()), 1.0),
    ],
)
def test_at_a_kink_the_slope_is_not_known(function, x):
    here = torch.tensor([x, x + 0.1], dtype=torch.float64)
    found = slope(lambda step: function(here + step)[None], here)
    assert found.value.isnan().tolist() == [True, False]
    assert found.kink[0] > 0
    assert found.kink[1] == 0


@pytest.mark.parametrize("function", [torch.sign, torch.ceil, torch.reciprocal, torch.log])
def test_at_a_jump_or_a_pole_nothing_is_claimed(function):
    here = torch.zeros(1, dtype=torch.float64)
    found = slope(lambda step: function(here + step)[None], here)
    assert found.value.isnan() or found.error > 1e5


def test_a_step_function_is_flat_between_its_jumps():
    """Also at numbers so large that round steps would keep pace with it."""
    here = torch.tensor([0.3, 700.4, 1000.2], dtype=torch.float64)
    found = slope(lambda step: torch.round(here + step)[None], here)
    assert (found.value == 0).all()
    assert (found.error < 1e-9).all()


def test_a_smooth_corner_that_is_too_sharp_for_every_step_is_not_known():
    here = torch.tensor([0.0, 1e-9], dtype=torch.float64)
    found = slope(lambda step: torch.sqrt((here + step) ** 2 + 1e-20)[None], here)
    assert found.value.isnan().all()


def test_terms_that_cancel_in_the_sum_are_counted():
    here = torch.tensor(2.0, dtype=torch.float64)
    found = slope(lambda step: torch.stack([here + step, -(here + step)]), here)
    assert found.value == 0
    assert math.isclose(found.terms.item(), 2.0, rel_tol=1e-9)
