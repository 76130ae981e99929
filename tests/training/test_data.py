import pytest
import torch
from tolerances import FOLDED_ABSOLUTE

import bp_torch as bp
from bp_torch.training import data


@pytest.mark.parametrize(
    ("name", "shape", "targets"),
    [("breast-cancer", (569, 30), (569,)), ("digits", (1797, 64), (1797, 10))],
)
def test_bundled_data_have_the_shapes_they_are_known_for(name, shape, targets):
    dataset = data.load_dataset(name)
    assert dataset.features.shape == shape
    assert dataset.targets.shape == targets
    assert len(dataset.feature_names) == shape[1]
    assert dataset.features.dtype == dataset.targets.dtype == torch.float64


@pytest.mark.parametrize("name", data.DATASETS)
def test_split_keeps_every_sample_once_and_the_classes_in_proportion(name):
    dataset = data.load_dataset(name)
    split = data.split(dataset)
    both = torch.cat([split.x_train, split.x_test])
    assert torch.equal(both.sort(0).values, dataset.features.sort(0).values)
    assert len(split.x_test) == pytest.approx(0.2 * len(both), abs=1)
    torch.testing.assert_close(
        split.y_train.mean(0), split.y_test.mean(0), atol=0.01, rtol=0, msg="not stratified"
    )


def test_split_is_always_the_same():
    one, other = (data.split(data.load_dataset("breast-cancer")) for _ in range(2))
    assert torch.equal(one.x_test, other.x_test)


def test_standardised_features_have_mean_zero_and_deviation_one():
    x = torch.randn(500, 3, dtype=torch.float64) * torch.tensor([1e-3, 1, 1e3]) + 40
    standardised = data.Standardisation.of(x)(x)
    zeros = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(standardised.mean(0), zeros, atol=1e-9, rtol=0)
    torch.testing.assert_close(standardised.std(0, correction=0), zeros + 1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
def test_a_constant_feature_becomes_zero(value):
    x = torch.full((7, 1), value, dtype=torch.float64)
    assert data.Standardisation.of(x)(x).abs().max() < 1e-6


@pytest.mark.parametrize("name", data.DATASETS)
def test_a_folded_module_gives_the_same_outputs_for_raw_features(name):
    raw = data.split(data.load_dataset(name))
    standardise = data.Standardisation.of(raw.x_train)
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
    folded = data.Standardisation.of(x).fold_into(module)
    assert torch.equal(module.weight, before)
    assert folded.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        ([[1.0], [torch.nan]], [0.0, 1.0], r"features must be finite, got nan at index \(1, 0\)"),
        ([[1.0], [torch.inf]], [0.0, 1.0], "features must be finite, got inf"),
        ([[1.0], [2.0]], [0.0, 2.0], r"targets must lie in \[0, 1\].*got 2 at index \(1,\)"),
        ([[1.0], [2.0]], [0.0, torch.nan], "targets must be finite, got nan"),
    ],
)
def test_data_that_cannot_be_learnt_from_are_refused(features, targets, message):
    with pytest.raises(ValueError, match=message):
        data.Dataset(torch.tensor(features), torch.tensor(targets), ("a",), ("no", "yes"))
