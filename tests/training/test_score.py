import numpy as np
import pytest
import torch

import bp_torch as bp
from bp_torch.training import score
from bp_torch.training.data import Samples
from bp_torch.training.score import Score, accuracy, evaluate, metrics


@pytest.mark.parametrize(
    ("y_hat", "y", "share"),
    [
        ([0.9, 0.4, 0.6, 0.1], [1.0, 0.0, 0.0, 1.0], 0.5),
        ([[0.9], [0.4], [0.6], [0.1]], [[1.0], [0.0], [0.0], [0.0]], 0.75),
        ([[0.2, 0.1], [0.9, 0.8], [0.1, 0.7]], [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], 2 / 3),
        ([0.5], [1.0], 0.0),
    ],
    ids=["one neuron", "one output", "two outputs", "undecided"],
)
def test_accuracy_is_the_share_of_samples_on_the_right_side(y_hat, y, share):
    assert accuracy(torch.tensor(y_hat), torch.tensor(y)) == pytest.approx(share)


def test_a_score_is_of_the_module_and_the_data_given():
    neuron = bp.Neuron(2, dtype=torch.float64)
    x = torch.tensor([[1.0, 2.0], [-3.0, 0.5], [0.0, -1.0]], dtype=torch.float64)
    y = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    y_hat = neuron(x)
    assert evaluate(neuron, Samples(x, y), "cross-entropy") == Score(
        cost=bp.cross_entropy_cost(y_hat, y).item(), accuracy=accuracy(y_hat, y), samples=3
    )


def test_a_score_is_the_same_however_many_samples_are_taken_at_once(monkeypatch):
    neuron, x = bp.Neuron(2, dtype=torch.float64), torch.randn(100, 2, dtype=torch.float64)
    samples = Samples(x, (x[:, 0] > 0).double())
    whole = evaluate(neuron, samples, "quadratic")
    monkeypatch.setattr(score, "NUMBERS_AT_ONCE", 14)
    parts = evaluate(neuron, samples, "quadratic")
    assert parts.cost == pytest.approx(whole.cost, rel=1e-14)
    assert parts.accuracy == pytest.approx(whole.accuracy, rel=1e-14)


def neuron_with(outputs):
    """One that gives these outputs for x = 0, 1, 2 …"""
    z = torch.logit(torch.tensor(outputs, dtype=torch.float64))
    neuron = bp.Neuron(1, dtype=torch.float64)
    neuron.load_state_dict({"weight": torch.ones(1), "bias": torch.zeros(())})
    return neuron, z[:, None]


def test_metrics_of_two_classes():
    """The numbers worked by hand: of 2 · 2 pairs the higher output is class 1's in 3."""
    neuron, x = neuron_with([0.9, 0.6, 0.7, 0.2])
    found = metrics(neuron, Samples(x, torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)))
    assert found.auc == pytest.approx(3 / 4)
    assert found.brier == pytest.approx((0.01 + 0.16 + 0.49 + 0.04) / 4)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.6, 0.3, 0.8]).mean())
    assert found.confusion == ((1, 1), (0, 2))
    assert found.samples == 4


def test_metrics_count_samples_by_their_weight():
    neuron, x = neuron_with([0.9, 0.6, 0.7, 0.2])
    y = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    found = metrics(neuron, Samples(x, y, torch.tensor([1.0, 0.0, 3.0, 0.0]).double()))
    assert found.brier == pytest.approx((0.01 + 3 * 0.49) / 4)
    assert found.log_loss == pytest.approx(-(np.log(0.9) + 3 * np.log(0.3)) / 4)


def test_metrics_of_shares_and_of_one_class_leave_out_what_has_no_meaning():
    neuron, x = neuron_with([0.9, 0.6])
    shares = metrics(neuron, Samples(x, torch.tensor([0.5, 0.25]).double()))
    assert (shares.auc, shares.confusion) == (None, None)
    assert shares.brier == pytest.approx((0.4**2 + 0.35**2) / 2)
    of_one = metrics(neuron, Samples(x, torch.ones(2).double()))
    assert of_one.auc is None
    assert of_one.confusion == ((0, 0), (0, 2))


def test_metrics_of_three_classes():
    network = bp.Network([3, 3], dtype=torch.float64)
    state = {"layers.0.weight": 4 * torch.eye(3), "layers.0.bias": torch.zeros(3)}
    network.load_state_dict(state)
    x = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 2]]
    y = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 1]]
    found = metrics(network, Samples(x, y))
    assert found.confusion == ((1, 0, 0), (0, 1, 1), (0, 0, 1))
    assert 0.5 < found.auc < 1
    assert metrics(network, Samples(x[:2], y[:2])).auc is None


def test_a_score_counts_samples_by_their_weight(monkeypatch):
    neuron = bp.Neuron(2, dtype=torch.float64)
    x = torch.randn(40, 2, dtype=torch.float64)
    y = (x[:, 0] > 0).double()
    times = torch.arange(40) % 3  # 0, 1 or 2
    monkeypatch.setattr(score, "NUMBERS_AT_ONCE", 14)
    found = evaluate(neuron, Samples(x, y, times.double()), "cross-entropy")
    repeated = Samples(x.repeat_interleave(times, 0), y.repeat_interleave(times))
    expected = evaluate(neuron, repeated, "cross-entropy")
    assert found.cost == pytest.approx(expected.cost, rel=1e-13)
    assert found.accuracy == pytest.approx(expected.accuracy, rel=1e-13)
    assert found.samples == 40
    assert found.cost != pytest.approx(evaluate(neuron, Samples(x, y), "cross-entropy").cost)
