import pytest
import torch
from batches import agree, draw
from tolerances import EPOCH_RELATIVE

from bp_torch import fused
from bp_torch.fused import cpu


def loop(batch, learning_rate, batch_size, order=None):
    """The same by hand, in float64: one step after another."""
    x, y, weight, bias = (tensor.double() for tensor in batch.tensors)
    order = torch.arange(len(x)) if order is None else order
    costs = []
    for chosen in order.split(batch_size):
        s = None if batch.sample_weight is None else batch.sample_weight.double()[chosen]
        cost, by_weight, by_bias = fused.cost_and_gradients(
            x[chosen], y[chosen], weight, bias, batch.cost, sample_weight=s
        )
        weight, bias = weight - learning_rate * by_weight, bias - learning_rate * by_bias
        costs.append(cost)
    return torch.stack(costs).mean(), weight, bias


def epoch(batch, learning_rate, batch_size, order=None):
    x, y, weight, bias = batch.tensors
    cost = fused.sgd_epoch(
        *(x, y, weight, bias, learning_rate, batch_size, order, batch.cost),
        sample_weight=batch.sample_weight,
    )
    return cost, weight, bias


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])
@pytest.mark.parametrize("dtype", EPOCH_RELATIVE, ids=str)
@pytest.mark.parametrize(
    ("shape", "batch_size"),
    # Blocks that are full and not; one sample a step; batches of several blocks; a last batch that
    # is smaller; one batch; a batch so large that it is a step by itself, in several threads.
    [((70, 5), 16), ((33, 64), 1), ((500, 17), 100), ((40, 20), 64), ((9000, 64), 6000)],
    ids=str,
)
def test_equals_the_loop_of_steps(shape, batch_size, dtype, cost, weighted, shuffled):
    batch = draw(*shape, dtype, cost, weighted=weighted)
    order = torch.randperm(shape[0]) if shuffled else None
    expected = loop(batch, 0.5, batch_size, order)
    slip = loop(batch, 0.51, batch_size, order)
    actual = epoch(batch, 0.5, batch_size, order)
    assert agree(actual, expected, EPOCH_RELATIVE[dtype])
    if dtype != torch.bfloat16:
        assert not agree(actual, slip, EPOCH_RELATIVE[dtype])


def test_an_order_may_repeat_and_leave_out():
    batch = draw(50, 6, torch.float64)
    order = torch.tensor([3, 3, 49, 0, 7])
    expected = loop(batch, 0.5, 2, order)
    assert agree(epoch(batch, 0.5, 2, order), expected, EPOCH_RELATIVE[torch.float64])


def test_the_other_order_is_another_result():
    batch, other = draw(50, 6, torch.float64), draw(50, 6, torch.float64)
    other.weight.copy_(batch.weight)
    expected = loop(batch, 0.5, 2, torch.randperm(50))
    assert not agree(epoch(batch, 0.5, 2), expected, EPOCH_RELATIVE[torch.float64])


def test_parameters_and_strides():
    batch = draw(50, 6, torch.float64)
    expected = loop(batch, 0.5, 8)
    apart = torch.zeros(6, 2, dtype=torch.float64)
    apart[:, 0] = batch.weight
    weight = apart[:, 0]
    bias = torch.nn.Parameter(batch.bias.clone())
    version = bias._version
    fused.sgd_epoch(batch.x, batch.y, weight, bias, 0.5, 8)
    assert torch.allclose(weight, expected[1])
    assert torch.allclose(bias, expected[2])
    assert bias._version > version  # autograd knows that it has changed
    assert bias.grad is None


def test_long_epochs_are_cut_into_calls(monkeypatch):
    batch, again = draw(500, 6, torch.float32), draw(500, 6, torch.float32)
    for one, other in zip(batch.tensors, again.tensors, strict=True):
        other.copy_(one)
    whole = epoch(batch, 0.5, 7)
    monkeypatch.setattr(cpu, "EPOCH_SLAB", 100)
    assert all(torch.equal(a, b) for a, b in zip(whole[1:], epoch(again, 0.5, 7)[1:], strict=True))


def test_works_in_inference_mode():
    with torch.inference_mode():
        batch = draw(50, 6, torch.float64)
        expected = loop(batch, 0.5, 8)
        assert agree(epoch(batch, 0.5, 8), expected, EPOCH_RELATIVE[torch.float64])


WRONG = {
    "batch size must be a whole number of at least 1.*got 0": {"batch_size": 0},
    "batch size must be a whole number.*got 2.5": {"batch_size": 2.5},
    "order must be indices.*torch.int64.*torch.randperm": {"order": torch.zeros(4)},
    "order must be indices.*list": {"order": [0, 1]},
    "indices from 0 to 3, got 4": {"order": torch.tensor([0, 4])},
    "indices from 0 to 3, got -1": {"order": torch.tensor([0, -1])},
    "at least one sample": {"order": torch.zeros(0, dtype=torch.int64)},
    "cost must be one of": {"cost": "hinge"},
    "y must have shape": {"y": torch.zeros(3)},
    "learning rate must be a finite number": {"learning_rate": float("nan")},
}


@pytest.mark.parametrize("message", WRONG)
def test_bad_input_changes_nothing(message):
    weight, bias = torch.ones(3), torch.ones(())
    good = {"x": torch.ones(4, 3), "y": torch.zeros(4), "weight": weight, "bias": bias}
    good |= {"learning_rate": 0.1, "batch_size": 2}
    with pytest.raises((TypeError, ValueError), match=message):
        fused.sgd_epoch(**(good | WRONG[message]))
    assert weight.tolist() == [1, 1, 1]
    assert bias.item() == 1
    fused.sgd_epoch(**good)
    assert weight.tolist() != [1, 1, 1]
