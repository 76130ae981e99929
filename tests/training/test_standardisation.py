import pytest
import torch
from tolerances import FOLDED_ABSOLUTE

import bp_torch as bp
from bp_torch.training import data
from bp_torch.training.standardisation import Standardisation


def test_standardised_features_have_mean_zero_and_deviation_one():
    x = torch.randn(500, 3, dtype=torch.float64) * torch.tensor([1e-3, 1, 1e3]) + 40
    standardised = Standardisation.of(x)(x)
    zeros = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(standardised.mean(0), zeros, atol=1e-9, rtol=0)
    torch.testing.assert_close(standardised.std(0, correction=0), zeros + 1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
def test_a_constant_feature_becomes_zero(value):
    x = torch.full((7, 1), value, dtype=torch.float64)
    assert Standardisation.of(x)(x).abs().max() < 1e-6


@pytest.mark.parametrize("name", data.DATASETS)
def test_a_folded_module_gives_the_same_outputs_for_raw_features(name):
    raw = data.split(data.DATASETS[name].read())
    standardise = Standardisation.of(raw.x_train)
    features = raw.x_train.shape[1]
    for module in (bp.Neuron(features), bp.Network([features, 4, 2])):
        folded = standardise.fold_into(module)
        expected = module(standardise(raw.x_test).float())
        actual = folded(raw.x_test.float())
        torch.testing.assert_close(actual, expected, atol=FOLDED_ABSOLUTE, rtol=0)
        unfolded = module(raw.x_test.float())
        assert (unfolded - expected).abs().max() > 100 * FOLDED_ABSOLUTE


def test_folding_leaves_the_module_as_it_was_and_widens_low_precision():
    module = bp.Neuron(2, dtype=torch.bfloat16)
    before = module.weight.clone()
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.float64)
    folded = Standardisation.of(x).fold_into(module)
    assert torch.equal(module.weight, before)
    assert folded.weight.dtype == torch.float32
