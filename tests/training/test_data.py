import pytest
import torch

from bp_torch.training import data


@pytest.mark.parametrize(
    ("name", "shape", "targets"),
    [("breast-cancer", (569, 30), (569,)), ("digits", (1797, 64), (1797, 10))],
)
def test_bundled_data_have_the_shapes_they_are_known_for(name, shape, targets):
    dataset = data.DATASETS[name].read()
    assert dataset.features.shape == shape
    assert dataset.targets.shape == targets
    assert len(dataset.feature_names) == shape[1]
    assert dataset.features.dtype == dataset.targets.dtype == torch.float64


@pytest.mark.parametrize("name", data.DATASETS)
def test_split_keeps_every_sample_once_and_the_classes_in_proportion(name):
    dataset = data.DATASETS[name].read()
    split = data.split(dataset)
    both = torch.cat([split.x_train, split.x_test])
    assert torch.equal(both.sort(0).values, dataset.features.sort(0).values)
    assert len(split.x_test) == pytest.approx(0.2 * len(both), abs=1)
    torch.testing.assert_close(
        split.y_train.mean(0), split.y_test.mean(0), atol=0.01, rtol=0, msg="not stratified"
    )


def test_split_is_always_the_same():
    one, other = (data.split(data.DATASETS["breast-cancer"].read()) for _ in range(2))
    assert torch.equal(one.x_test, other.x_test)


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
