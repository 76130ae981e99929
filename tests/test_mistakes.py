"""Mistakes on purpose: each is the mistake that its name says, beside the right gradient."""

import planted
import pytest
import torch
from errors import gradients_in_eps
from tolerances import CHAIN_EPS

import bp_torch as bp
from bp_torch.mistakes import MISTAKES, gradients_with

PLANTED = {
    "without-x": planted.missing_factor_x,
    "one-term-too-many": planted.one_term_too_many,
    "without-1/N": planted.missing_one_over_n,
}


@pytest.fixture
def problem():
    neuron = bp.Neuron(3, dtype=torch.float64)
    with torch.no_grad():
        neuron.bias.fill_(0.3)
    return neuron, torch.randn(8, 3, dtype=torch.float64), torch.rand(8, dtype=torch.float64)


@pytest.fixture
def network():
    network = bp.Network([3, 4, 2], dtype=torch.float64)
    return network, torch.randn(8, 3, dtype=torch.float64), torch.rand(8, 2, dtype=torch.float64)


@pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])
@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("which", ["problem", "network"])
def test_the_cost_is_right_and_the_gradient_is_not(request, which, mistake, cost):
    batch = request.getfixturevalue(which)
    if which == "problem" and mistake == "updated-weights":
        with pytest.raises(ValueError, match="needs a hidden layer"):
            gradients_with(mistake, *batch, cost=cost)
        return
    right = bp.backprop(*batch, cost=cost)
    value, wrong = gradients_with(mistake, *batch, cost=cost)
    assert value == right.cost
    assert {n: g.shape for n, g in wrong.items()} == {
        n: g.shape for n, g in right.gradients.items()
    }
    assert gradients_in_eps(right.gradients, wrong) > 1e6 * CHAIN_EPS


@pytest.mark.parametrize("mistake", PLANTED)
def test_it_is_the_mistake_that_learners_make(problem, mistake):
    """Held against the same mistakes written out by hand elsewhere."""
    neuron, x, y = problem
    _, theirs = PLANTED[mistake](neuron.weight.detach(), neuron.bias.detach(), x, y)
    assert gradients_in_eps(theirs, gradients_with(mistake, *problem)[1]) <= CHAIN_EPS


def test_without_sigma_prime_a_neuron_has_the_cross_entropys_gradient(problem):
    entropy = bp.backprop(*problem, cost="cross-entropy").gradients
    without = gradients_with("without-sigma-prime", *problem)[1]
    assert gradients_in_eps(entropy, without) <= CHAIN_EPS
    twice = gradients_with("sigma-twice", *problem)[1]
    assert gradients_in_eps(entropy, twice) > 1e6 * CHAIN_EPS


def test_the_wrong_sign_is_the_wrong_sign(problem):
    right, wrong = bp.backprop(*problem).gradients, gradients_with("wrong-sign", *problem)[1]
    assert all(torch.equal(wrong[name], -right[name]) for name in right)


def test_updated_weights_touch_the_hidden_layer_alone(network):
    right = bp.backprop(*network).gradients
    wrong = gradients_with("updated-weights", *network, learning_rate=0.5)[1]
    assert torch.equal(right["layers.1.weight"], wrong["layers.1.weight"])
    assert not torch.allclose(right["layers.0.weight"], wrong["layers.0.weight"])
    none = gradients_with("updated-weights", *network, learning_rate=0.0)[1]
    assert torch.equal(right["layers.0.weight"], none["layers.0.weight"])


def test_an_unknown_mistake_is_one_clear_line(problem):
    with pytest.raises(ValueError, match="mistake must be one of without-sigma-prime, "):
        gradients_with("typo", *problem)
