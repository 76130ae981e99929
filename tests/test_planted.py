"""The slips that learners copy: each must be caught, and the right gradient beside it not."""

import planted
import pytest
import torch
from errors import gradients_in_eps
from tolerances import CHAIN_EPS

import bp_torch as bp


@pytest.fixture
def problem():
    x = torch.randn(8, 3, dtype=torch.float64)
    y = torch.rand(8, dtype=torch.float64)
    return torch.randn(3, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64), x, y


def test_right_gradient_is_not_rejected(problem):
    assert gradients_in_eps(*planted.right(*problem)) <= CHAIN_EPS


@pytest.mark.parametrize("slip", planted.SLIPS, ids=lambda slip: slip.__name__)
def test_slip_is_caught(slip, problem):
    truth, hand = slip(*problem)
    assert gradients_in_eps(truth, hand) > 1e6 * CHAIN_EPS


@pytest.mark.parametrize("slip", planted.SLIPS, ids=lambda slip: slip.__name__)
def test_backprop_does_not_make_the_slip(slip, problem):
    weight, bias, x, y = problem
    neuron = bp.Neuron(3, dtype=torch.float64)
    neuron.load_state_dict({"weight": weight, "bias": bias})
    truth, _ = planted.right(*problem)
    _, wrong = slip(*problem)
    by_hand = bp.backprop(neuron, x, y).gradients
    assert gradients_in_eps(truth, by_hand) <= CHAIN_EPS
    assert gradients_in_eps(wrong, by_hand) > 1e6 * CHAIN_EPS


def test_missing_minus_sign_keeps_the_size_and_flips_the_sign(problem):
    truth, hand = planted.missing_minus_sign(*problem)
    assert (
        gradients_in_eps(truth, {name: -gradient for name, gradient in hand.items()}) <= CHAIN_EPS
    )


def test_missing_factor_x_is_hidden_where_every_x_is_one(problem):
    weight, bias, x, y = problem
    assert (
        gradients_in_eps(*planted.missing_factor_x(weight, bias, torch.ones_like(x), y))
        <= CHAIN_EPS
    )


def test_missing_one_over_n_is_n_times_too_large(problem):
    truth, hand = planted.missing_one_over_n(*problem)
    assert (
        gradients_in_eps(truth, {name: gradient / 8 for name, gradient in hand.items()})
        <= CHAIN_EPS
    )
