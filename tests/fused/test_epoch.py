import numpy as np
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
    "batch size must be a whole number.*got '2'": {"batch_size": "2"},
    "batch size must be a whole number.*got True": {"batch_size": True},
    "batch size must be a whole number.*got None": {"batch_size": None},
    "order must be indices.*torch.int64.*torch.randperm": {"order": torch.zeros(4)},
    "order must be indices.*list": {"order": [0, 1]},
    "indices from 0 to 3, got 4": {"order": torch.tensor([0, 4])},
    "indices from 0 to 3, got -1": {"order": torch.tensor([0, -1])},
    "at least one sample": {"order": torch.zeros(0, dtype=torch.int64)},
    "cost must be one of": {"cost": "hinge"},
    "y must have shape": {"y": torch.zeros(3)},
    "learning rate must be a finite number, got nan": {"learning_rate": float("nan")},
    "learning rate must be a finite number, got -inf": {"learning_rate": -torch.inf},
    "learning rate must be a finite number, got '0.1'": {"learning_rate": "0.1"},
    "learning rate must be a finite number, got None": {"learning_rate": None},
    "learning rate must be a finite number, got 1j": {"learning_rate": 1j},
    "learning rate must be a finite number, got True": {"learning_rate": True},
    "learning rate must be a finite number, got 10": {"learning_rate": 10**400},
    "learning rate must be a finite number, got tensor": {"learning_rate": torch.ones(2)},
    "positive for at least one sample": {"sample_weight": torch.zeros(4)},
    "not negative, got -1 at index 3": {"sample_weight": torch.tensor([1.0, 1, 1, -1])},
    "order must name a sample whose weight is positive": {
        "order": torch.tensor([1, 1]),
        "sample_weight": torch.tensor([1.0, 0.0, 1.0, 1.0]),
    },
}


@pytest.mark.parametrize("batch_size", [2, 10**6])
@pytest.mark.parametrize("message", WRONG)
def test_bad_input_changes_nothing(message, batch_size):
    weight, bias = torch.ones(3), torch.ones(())
    good = {"x": torch.ones(4, 3), "y": torch.zeros(4), "weight": weight, "bias": bias}
    good |= {"learning_rate": 0.1, "batch_size": batch_size}
    with pytest.raises((TypeError, ValueError), match=message):
        fused.sgd_epoch(**(good | WRONG[message]))
    assert weight.tolist() == [1, 1, 1]
    assert bias.item() == 1
    fused.sgd_epoch(**good)
    assert weight.tolist() != [1, 1, 1]


def overlapping():
    """x, y, weight, bias and order that share memory where they should not."""
    x, y, bias = torch.ones(4, 3), torch.zeros(4), torch.zeros(())
    packed, order = torch.zeros(7), torch.zeros(6, dtype=torch.int64)
    yield "weight must have a place in memory", (x, y, torch.zeros(1).expand(3), bias, None)
    yield "weight must share no memory with x", (x, y, x[1], bias, None)
    yield "weight must share no memory with y", (x, y, y[1:], bias, None)
    yield "weight must share no memory with bias", (x, y, packed[::3], packed[3], None)
    yield "bias must share no memory with y", (x, y, torch.zeros(3), y[2], None)
    yield (
        "weight must share no memory with order",
        (x, y, order.view(torch.float32)[2::4], bias, order),
    )


@pytest.mark.parametrize(("message", "tensors"), list(overlapping()))
def test_parameters_that_share_memory_are_refused(message, tensors):
    x, y, weight, bias, order = tensors
    before = [tensor.clone() for tensor in (weight, bias)]
    with pytest.raises(ValueError, match=f"{message}.*clone"):
        fused.sgd_epoch(x, y, weight, bias, 0.1, 2, order)
    assert all(torch.equal(a, b) for a, b in zip((weight, bias), before, strict=True))


@pytest.mark.parametrize("packed", [torch.zeros(4), torch.zeros(4, 2)[:, 0], torch.zeros(8)[::2]])
def test_parameters_may_lie_side_by_side(packed):
    batch = draw(50, 3, torch.float32)
    weight, bias = packed[:3].copy_(batch.weight), packed[3].copy_(batch.bias)
    expected = epoch(batch, 0.5, 8)
    fused.sgd_epoch(batch.x, batch.y, weight, bias, 0.5, 8)
    assert torch.equal(weight, expected[1])
    assert torch.equal(bias, expected[2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("batch_size", [1, 4, 17])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_a_batch_whose_weights_are_all_0_is_no_step(
    apart, shuffled, batch_size, dtype, monkeypatch
):
    """Neither its NaN nor its place in the mean counts; apart: each batch is a step by itself."""
    if apart:
        monkeypatch.setattr(cpu, "LARGEST_BATCH", 0)
    order = torch.randperm(80) if shuffled else torch.arange(80)
    batch = draw(80, 5, dtype, weighted=True)
    batches = order.split(batch_size)
    left_out = torch.cat((batches[0], batches[2], batches[-1]))
    batch.sample_weight[left_out] = 0
    batch.x[left_out] = torch.nan
    kept = torch.cat([part for part in batches if part[0] not in left_out])
    expected = loop(batch, 0.5, batch_size, kept)
    actual = epoch(batch, 0.5, batch_size, order if shuffled else None)
    assert agree(actual, expected, EPOCH_RELATIVE[dtype])
    assert all(result.isfinite().all() for result in actual)


def test_an_order_may_be_longer_than_the_samples():
    batch = draw(6, 3, torch.float64)
    order = torch.arange(6).repeat(4)
    expected = loop(batch, 0.5, 20, order)
    assert agree(epoch(batch, 0.5, 20, order), expected, EPOCH_RELATIVE[torch.float64])


@pytest.mark.parametrize("size", [np.int64(8), torch.tensor(8), 8])
@pytest.mark.parametrize("rate", [np.float32(0.5), torch.tensor(0.5, requires_grad=True), 0.5])
def test_numbers_of_other_libraries_are_numbers(size, rate):
    batch = draw(50, 6, torch.float64)
    expected = loop(batch, 0.5, 8)
    assert agree(epoch(batch, rate, size), expected, EPOCH_RELATIVE[torch.float64])


@pytest.mark.parametrize("ordered", [False, True])
def test_a_batch_of_any_size_is_at_most_all(ordered):
    batch = draw(50, 6, torch.float64)
    order = torch.arange(50) if ordered else None
    expected = loop(batch, 0.5, 50)
    assert agree(epoch(batch, 0.5, 10**30, order), expected, EPOCH_RELATIVE[torch.float64])


RULES = [
    {"momentum": 0.9},
    {"l2": 0.3},
    {"l1": 0.05},
    {"momentum": 0.5, "l2": 0.1, "l1": 0.01},
]


def torchs(batch, learning_rate, batch_size, order, momentum=0.0, l2=0.0, l1=0.0, epochs=1):
    """torch.optim.SGD on the same steps, in float64, and then the proximal step."""
    x, y, *start = (tensor.double() for tensor in batch.tensors)
    weight, bias = (tensor.clone().requires_grad_() for tensor in start)
    groups = [{"params": [weight], "weight_decay": l2}, {"params": [bias]}]
    optimizer = torch.optim.SGD(groups, lr=learning_rate, momentum=momentum)
    for chosen in [*order.split(batch_size)] * epochs:
        s = None if batch.sample_weight is None else batch.sample_weight.double()[chosen]
        _, weight.grad, bias.grad = fused.cost_and_gradients(
            *(x[chosen], y[chosen], weight.detach(), bias.detach(), batch.cost), sample_weight=s
        )
        optimizer.step()
        with torch.no_grad():
            weight.copy_(weight.sign() * (weight.abs() - learning_rate * l1).clamp(min=0))
    return weight.detach(), bias.detach()


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", EPOCH_RELATIVE, ids=str)
@pytest.mark.parametrize(
    ("shape", "batch_size"), [((70, 5), 16), ((33, 64), 1), ((500, 17), 100), ((9000, 64), 6000)]
)
def test_momentum_and_penalties_are_torchs(shape, batch_size, dtype, weighted, rule):
    batch = draw(*shape, dtype, "cross-entropy", weighted=weighted)
    x, y, weight, bias = batch.tensors
    order = torch.randperm(shape[0])
    expected = torchs(batch, 0.1, batch_size, order, **rule)
    slip = torchs(batch, 0.1, batch_size, order, **rule | {"l2": 0.4})
    fused.sgd_epoch(
        *(x, y, weight, bias, 0.1, batch_size, order, "cross-entropy"),
        sample_weight=batch.sample_weight,
        **rule,
    )
    assert agree((weight, bias), expected, EPOCH_RELATIVE[dtype])
    if dtype != torch.bfloat16:
        assert not agree((weight, bias), slip, EPOCH_RELATIVE[dtype])


@pytest.mark.parametrize("batch_size", [16, 6000])
def test_velocity_goes_from_call_to_call(batch_size):
    batch = draw(9000, 64, torch.float64, "cross-entropy")
    x, y, weight, bias = batch.tensors
    order = torch.arange(9000)
    expected = torchs(batch, 0.1, batch_size, order, momentum=0.9, epochs=2)
    velocity = torch.zeros(65, dtype=torch.float64)
    for _ in range(2):
        fused.sgd_epoch(
            *(x, y, weight, bias, 0.1, batch_size, order, "cross-entropy"),
            momentum=0.9,
            velocity=velocity,
        )
    assert agree((weight, bias), expected, EPOCH_RELATIVE[torch.float64])
    assert velocity.all()


def test_l1_makes_weights_exactly_0():
    batch = draw(500, 17, torch.float32)
    x, y, weight, bias = batch.tensors
    fused.sgd_epoch(x, y, weight, bias, 0.1, 16, l1=10.0)
    assert not weight.any()
    assert bias != 0


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"momentum": 1.0}, "momentum must be a number from 0 to below 1, got 1.0"),
        ({"momentum": -0.1}, "momentum must be a number from 0"),
        ({"l2": -1}, "l2 must be a number of at least 0, got -1"),
        ({"l1": float("nan")}, "l1 must be a number of at least 0, got nan"),
        ({"l1": "a"}, "l1 must be a number"),
        ({"velocity": torch.zeros(6)}, r"velocity must be torch\.zeros\(6, dtype=torch\.float64"),
        ({"velocity": torch.zeros(5).double()}, r"velocity must be torch\.zeros\(6,"),
        ({"velocity": [0.0] * 6}, "velocity must be"),
    ],
    ids=str,
)
def test_a_rule_that_is_none_is_refused_and_nothing_is_changed(rule, message):
    x, y, weight, bias = draw(20, 5, torch.float64).tensors
    before = weight.clone()
    with pytest.raises(ValueError, match=message):
        fused.sgd_epoch(x, y, weight, bias, 0.1, 16, **rule)
    assert torch.equal(weight, before)


def test_velocity_shares_no_memory_with_what_it_moves():
    x, y, _, bias = draw(20, 5, torch.float64).tensors
    both = torch.zeros(6, dtype=torch.float64)
    with pytest.raises(ValueError, match="must share no memory with"):
        fused.sgd_epoch(x, y, both[:5], bias, 0.1, 16, momentum=0.5, velocity=both)
