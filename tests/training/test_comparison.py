"""The gradient's error in rounding units: right ones are near, planted mistakes far."""

import pytest
import torch
from tolerances import CHAIN_EPS

import bp_torch as bp
from bp_torch.dtypes import DTYPES
from bp_torch.mistakes import MISTAKES, gradients_with
from bp_torch.training.comparison import (
    MOST_UNITS,
    Comparison,
    compare_gradients,
    gradient_and_units,
    units_off,
)
from bp_torch.training.gradients import GRADIENTS

SIZES = [
    pytest.param(30, id="neuron"),
    pytest.param([64, 30, 10], id="64-30-10"),
    pytest.param([5, 4, 3, 1], id="5-4-3-1"),
]
COSTS = pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])


def problem(sizes, dtype, *, scale=1.0, samples=32, form="textbook", seed=0):
    generator = torch.Generator().manual_seed(seed)
    if isinstance(sizes, int):
        module = bp.Neuron(sizes, form, generator=generator)
    else:
        module = bp.Network(sizes, form, generator=generator)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(scale)
    module = module.to(dtype)
    x = torch.randn(samples, module.layers[0].weight.shape[-1], generator=generator).to(dtype)
    y = torch.rand(samples, *module.layers[-1].bias.shape, generator=generator) > 0.5
    return module, x, y.to(dtype)


@COSTS
@pytest.mark.parametrize("form", ["textbook", "accurate"])
@pytest.mark.parametrize("scale", [0.1, 1, 30], ids="weights × {}".format)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", SIZES)
def test_no_right_gradient_is_called_wrong(sizes, dtype, scale, form, cost):
    """Saturated or not, by every way to it."""
    for samples in (1, 32, 500):
        batch = problem(sizes, DTYPES[dtype], scale=scale, samples=samples, form=form)
        _, autograd = GRADIENTS["autograd"](*batch, cost)
        for name, gradient in GRADIENTS.items():
            if name == "fused" and not isinstance(sizes, int):
                continue
            found = compare_gradients(*batch, cost, gradient(*batch, cost)[1], autograd)
            assert found.right, (name, samples, found)


@COSTS
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("sizes", SIZES)
def test_every_mistake_is_called_wrong(sizes, mistake, dtype, cost):
    if mistake == "updated-weights" and isinstance(sizes, int):
        pytest.skip("one neuron has no weights to update too early")
    batch = problem(sizes, DTYPES[dtype])
    wrong = gradients_with(mistake, *batch, cost=cost)[1]
    found = compare_gradients(*batch, cost, wrong, GRADIENTS["autograd"](*batch, cost)[1])
    assert not found.right
    assert found.by_hand > 100 * MOST_UNITS


def test_a_large_batch_is_not_called_wrong():
    batch = problem(30, torch.float32, samples=100_000)
    autograd = GRADIENTS["autograd"](*batch, "quadratic")[1]
    assert compare_gradients(*batch, "quadratic", autograd, autograd).right


def test_the_truth_is_the_gradient_in_float64():
    module, x, y = problem([5, 4, 3, 1], torch.float64)
    truth, units = gradient_and_units(module, x, y, "quadratic")
    _, autograd = GRADIENTS["autograd"](module, x, y, "quadratic")
    eps = torch.finfo(torch.float64).eps
    for name, gradient in autograd.items():
        scale = gradient.abs().max()
        assert (gradient - truth[name]).abs().max() <= CHAIN_EPS * eps * scale
        assert (units[name] > 0).all()


def test_an_entry_whose_terms_cancel_has_a_unit_of_its_terms():
    """Two samples with opposite features: the sum is 0, and its rounding unit is not."""
    neuron = bp.Neuron(1)
    with torch.no_grad():
        neuron.weight.zero_()
    x, y = torch.tensor([[3.0], [-3.0]]), torch.zeros(2)
    truth, units = gradient_and_units(neuron, x, y, "quadratic")
    terms = 2 * (0.5 / 2) * 0.25 * 3.0  # Σ |δ x|
    assert truth["weight"].item() == 0
    assert units["weight"].item() >= torch.finfo(torch.float32).eps * terms
    assert units["weight"].item() <= 16 * torch.finfo(torch.float32).eps * terms


def test_where_nothing_can_be_off_nothing_may_be():
    neuron = bp.Neuron(2)
    x, y = torch.tensor([[0.0, 1.0]]), torch.zeros(1)  # a feature that is always 0
    truth, units = gradient_and_units(neuron, x, y, "quadratic")
    wrong = {name: gradient.float() for name, gradient in truth.items()}
    assert units_off(wrong, truth, units) <= 1
    wrong["weight"] = wrong["weight"] + torch.tensor([1e-3, 0.0])
    assert units_off(wrong, truth, units) > MOST_UNITS


def test_nan_is_the_worst():
    neuron = bp.Neuron(2)
    x, y = torch.ones(1, 2), torch.zeros(1)
    truth, _ = gradient_and_units(neuron, x, y, "quadratic")
    broken = {name: gradient * torch.nan for name, gradient in truth.items()}
    found = compare_gradients(neuron, x, y, "quadratic", broken, truth)
    assert not found.right
    assert (Comparison(by_hand=1e9, steps=1) | found).by_hand != 1e9


def test_two_comparisons_together_keep_the_worst_and_count():
    both = Comparison(1.0, 3.0, 2, 0) | Comparison(2.0, 1.0, 3, 1)
    assert both == Comparison(2.0, 3.0, 5, 1)
    assert not both.right


def test_features_that_overflowed_are_not_compared():
    neuron = bp.Neuron(1)
    gradients = {"weight": torch.zeros(1), "bias": torch.zeros(())}
    x = torch.tensor([[torch.inf]])
    assert compare_gradients(neuron, x, torch.zeros(1), "quadratic", gradients, gradients) == (
        Comparison()
    )
