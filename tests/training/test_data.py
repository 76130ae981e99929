import numpy as np
import pytest
import torch

import bp_torch as bp
from bp_torch.training import data, reading
from bp_torch.training.config import Config


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("breast-cancer", (569, 30), ("malignant", "benign")),
        ("digits", (1797, 64), tuple("0123456789")),
    ],
)
def test_bundled_data_have_the_shapes_they_are_known_for(name, shape, classes):
    table = reading.read(Config(dataset=name))
    assert len(table.train.x) + len(table.test.x) == shape[0]
    assert len(table.test.x) == pytest.approx(0.2 * shape[0], abs=len(classes) / 2)
    assert len(table.feature_names) == shape[1]
    assert table.target.classes == classes


def test_what_is_held_out_is_always_the_same():
    one, other = (reading.read(Config(seed=seed)) for seed in (0, 1))
    assert np.array_equal(one.test.x, other.test.x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_samples_are_as_the_module_takes_them(dtype):
    table = reading.read(Config())
    neuron, network = bp.Neuron(30, dtype=dtype), bp.Network([30, 2, 1], dtype=dtype)
    assert data.Samples.of(table.test, neuron).y.shape == (113,)
    samples = data.Samples.of(table.test, network)
    assert samples.y.shape == (113, 1)
    assert samples.x.dtype == samples.y.dtype == dtype
    assert len(samples.spread(40)) == 38
    assert samples.spread(113) is samples
    assert torch.equal(samples.spread(40).at(torch.tensor([4])).x, samples.x[12:13])


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 3.0, 4.0])])
def test_balanced_classes_count_alike(weight):
    y = torch.tensor([1.0, 0.0, 0.0, 0.0])
    found = data.balanced(y, weight)
    total = 4.0 if weight is None else 10.0
    assert found[:1].sum().item() == pytest.approx(total / 2)
    assert found[1:].sum().item() == pytest.approx(total / 2)
    if weight is not None:
        assert found[3] / found[1] == 2  # in proportion still
