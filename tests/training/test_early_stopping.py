"""The weights of the lowest cost are kept, and what stops is patience."""

import pytest
import torch

import bp_torch as bp
from bp_torch.training.data import Samples
from bp_torch.training.early_stopping import EarlyStopping

HELD_OUT = Samples(torch.ones(1, 1), torch.ones(1))


def walk(weights, patience):
    """A neuron whose weight takes these values, the cost of which falls as they grow."""
    neuron = bp.Neuron(1)
    stopping = EarlyStopping(patience, neuron)
    asked = 0
    for weight in weights:
        asked += 1
        torch.nn.init.constant_(neuron.weight, weight)
        if stopping.is_over(HELD_OUT, "cross-entropy"):
            break
    stopping.keep_best()
    return asked - 1, neuron.weight.item(), stopping.over


@pytest.mark.parametrize(
    ("patience", "expected"),
    [
        (1, (3, 3.0, True)),
        (2, (6, 4.0, True)),
        (3, (7, 4.0, True)),
        (9, (8, 4.0, False)),
        (None, (8, 0.0, False)),
    ],
)
def test_the_best_is_kept_and_patience_decides(patience, expected):
    assert walk([1.0, 2.0, 3.0, 2.0, 4.0, 1.0, 2.0, 3.0, 0.0], patience) == expected
