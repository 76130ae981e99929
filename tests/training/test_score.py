import pytest
import torch

import bp_torch as bp
from bp_torch.training.score import Score, accuracy, evaluate


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
    assert evaluate(neuron, x, y, "cross-entropy") == Score(
        cost=bp.cross_entropy_cost(y_hat, y).item(), accuracy=accuracy(y_hat, y), samples=3
    )
