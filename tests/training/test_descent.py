import copy

import pytest
import torch

import bp_torch as bp
from bp_torch.training import course, descent, order
from bp_torch.training.config import Config
from bp_torch.training.data import Samples
from bp_torch.training.descent import DivergedError, Made, Update, steps_per_epoch
from bp_torch.training.gradients import GRADIENTS
from bp_torch.training.processes import Processes
from bp_torch.training.steps import Rule


def descend(module, samples, *, cost, gradient, rule, batch_size, epochs, **options):
    """As a run does it in one process."""
    config = Config(cost=cost, gradient=gradient, batch_size=batch_size, seed=0)
    sharing = course.sharing_of(config, module, samples, Processes(), rule)
    return descent.descend(sharing, epochs=epochs, **options)


def run(module, x, y, **changes):
    options = {
        "cost": "quadratic",
        "gradient": "manual",
        "epochs": 1,
        "batch_size": 0,
        "rule": Rule(learning_rate=0.5),
    }
    events = descend(module, Samples(x, y), **options | changes)
    return [event for event in events if isinstance(event, Update)]


def problem(samples=10):
    return bp.Neuron(3), torch.randn(samples, 3), torch.rand(samples)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_step_is_w_minus_learning_rate_times_gradient(gradient):
    neuron, x, y = problem()
    before = {name: tensor.clone() for name, tensor in neuron.state_dict().items()}
    (update,) = run(neuron, x, y, gradient=gradient)
    expected = bp.backprop(neuron, x, y).gradients  # at the new weights: must differ
    for name, tensor in neuron.state_dict().items():
        torch.testing.assert_close(tensor, before[name] - 0.5 * update.gradients[name])
        assert not torch.allclose(expected[name], update.gradients[name])


def test_manual_and_autograd_walk_the_same_path_to_the_bit():
    paths = []
    for gradient in ("manual", "autograd"):
        torch.manual_seed(1)
        neuron, x, y = problem()
        run(neuron, x, y, gradient=gradient, epochs=50, batch_size=3)
        paths.append(neuron.state_dict())
    assert all(torch.equal(paths[0][name], paths[1][name]) for name in paths[0])


@pytest.mark.parametrize("batch_size", [0, 1, 3, 10, 99])
def test_every_sample_is_seen_once_per_epoch(batch_size):
    neuron, x, y = problem()
    updates = run(neuron, x, y, epochs=2, batch_size=batch_size)
    assert len(updates) == 2 * steps_per_epoch(len(x), batch_size)
    for epoch in (0, 1):
        seen = torch.cat([update.batch.y for update in updates if update.epoch == epoch])
        assert torch.equal(seen.sort().values, y.sort().values)


def test_the_order_is_new_each_epoch_and_reproducible():
    orders = []
    for _ in range(2):
        neuron, x, y = problem()
        y = torch.linspace(0, 1, 10)
        updates = run(neuron, x, y, epochs=2, batch_size=1)
        orders.append(torch.cat([update.batch.y for update in updates]))
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0][:10], orders[0][10:])


def test_a_cost_that_stops_being_finite_ends_the_descent_before_the_weights_move():
    neuron, x, y = problem()
    x = torch.tensor([[1e30, -1e30, 0.0]]).expand(10, 3)
    with torch.no_grad():
        neuron.weight.fill_(1e30)  # z = ∞ − ∞
    before = neuron.weight.clone()
    with pytest.raises(DivergedError, match=r"cost .* at step 0 .* smaller learning rate than 0.5"):
        run(neuron, x, y)
    assert torch.equal(neuron.weight, before)


NEVER = 10**9


RULES = {
    "plain": {"schedule": "cosine"},
    "momentum": {"momentum": 0.8},
    "all": {"momentum": 0.5, "l2": 0.1, "l1": 0.01, "schedule": "linear"},
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [0, 1, 7, 32, 99])
@pytest.mark.parametrize("every", [2, 5, NEVER])
def test_what_is_not_seen_is_the_same_descent(batch_size, every, weighted, rule, monkeypatch):
    """In stretches and blocks, to the weights of one step after another."""
    monkeypatch.setattr(order, "NUMBERS_PER_BLOCK", 40 * 3)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(100, 3, dtype=torch.float64, generator=generator)
    y = torch.rand(100, dtype=torch.float64, generator=generator)
    weight = torch.rand(100, dtype=torch.float64, generator=generator) if weighted else None
    found = []
    for distance in (1, every):
        neuron = bp.Neuron(3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        events = list(
            descend(
                neuron,
                Samples(x, y, weight),
                cost="cross-entropy",
                gradient="fused",
                epochs=3,
                batch_size=batch_size,
                rule=Rule(learning_rate=0.5, **rule),
                next_seen=lambda step, distance=distance: -(-step // distance) * distance,
            )
        )
        seen = [event.step for event in events if isinstance(event, Update)]
        assert all(step % distance == 0 for step in seen)
        ends = [e.position.steps for e in events if isinstance(e, Made) and e.ends_epoch]
        found.append((neuron, ends))
    (one, steps), (other, others) = found
    assert steps == others
    assert len(steps) == 3
    torch.testing.assert_close(other.weight, one.weight, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(other.bias, one.bias, rtol=1e-12, atol=1e-14)


def test_every_sample_of_every_block_is_seen_once_per_epoch(monkeypatch):
    monkeypatch.setattr(order, "NUMBERS_PER_BLOCK", 12 * 3)
    neuron, x, _ = problem(50)
    y = torch.linspace(0, 1, 50)
    updates = run(neuron, x, y, epochs=2, batch_size=4)
    orders = [torch.cat([u.batch.y for u in updates if u.epoch == epoch]) for epoch in (0, 1)]
    for each in orders:
        assert torch.equal(each.sort().values, y)
    assert not torch.equal(*orders)
    blocks = {tuple((each[:12] * 49).round().int().sort().values.tolist()) for each in orders}
    assert blocks <= {tuple(range(start, start + 12)) for start in (0, 12, 24, 36)}
    assert all(len(update.batch.y) == 4 for update in updates if update.step % 13 != 12)


def penalised(module, x, y, rule):
    """One step by torch's own optimizer, with the penalty in the cost."""
    optimizer = torch.optim.SGD(module.parameters(), lr=rule.learning_rate, momentum=rule.momentum)
    for _ in range(5):
        optimizer.zero_grad()
        cost = bp.quadratic_cost(torch.sigmoid(module.pre_activation(x)), y)
        (cost + rule.l2 / 2 * module.weight.square().sum()).backward()
        optimizer.step()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_momentum_and_l2_are_torchs(momentum, l2, gradient):
    rule = Rule(learning_rate=0.5, momentum=momentum, l2=l2)
    torch.manual_seed(5)
    neuron, x, y = bp.Neuron(3).double(), torch.randn(10, 3).double(), torch.rand(10).double()
    peer = copy.deepcopy(neuron)
    run(neuron, x, y, rule=rule, epochs=5, gradient=gradient)
    penalised(peer, x, y, rule)
    torch.testing.assert_close(neuron.weight, peer.weight, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(neuron.bias, peer.bias, rtol=1e-12, atol=1e-14)


def test_l1_makes_weights_0_and_stops_where_the_slope_is_the_penalty():
    """At the minimum |∂C/∂w| = λ where w ≠ 0 and ≤ λ where w = 0 (the subgradient's condition)."""
    torch.manual_seed(0)
    x = torch.randn(200, 4, dtype=torch.float64)
    y = torch.sigmoid(3 * x[:, 0] + 0.05 * x[:, 1])
    neuron, penalty = bp.Neuron(4).double(), 0.003
    rule = Rule(learning_rate=2.0, l1=penalty)
    run(neuron, x, y, rule=rule, epochs=4000, cost="cross-entropy")
    slope = bp.backprop(neuron, x, y, cost="cross-entropy").gradients["weight"]
    kept = neuron.weight != 0
    assert kept[0]
    assert not kept.all()
    assert slope[kept].abs().tolist() == pytest.approx([penalty] * int(kept.sum()), rel=1e-6)
    assert (slope[~kept].abs() <= penalty).all()


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", [1, 1, 1, 1]), ("linear", [1, 0.7525, 0.505, 0.2575]), ("cosine", None)],
)
def test_schedules_are_torchs(schedule, rates):
    neuron, x, y = problem()
    rule = Rule(learning_rate=1.0, schedule=schedule)
    found = [update.learning_rate for update in run(neuron, x, y, rule=rule, epochs=4)]
    if rates is None:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
        rates = []
        for _ in range(4):
            rates.append(peer.get_last_lr()[0])
            optimizer.step()
            peer.step()
    assert found == pytest.approx(rates)


def test_a_batch_in_which_nobody_counts_is_no_step():
    neuron, x, y = problem()
    weight = torch.zeros(10)
    weight[0] = 1
    before = neuron.weight.clone()
    for gradient_seen in (lambda step: step, lambda step: NEVER):
        events = descend(
            neuron,
            Samples(x, y, weight),
            cost="quadratic",
            gradient="fused",
            epochs=1,
            batch_size=1,
            rule=Rule(learning_rate=0.5),
            next_seen=gradient_seen,
        )
        last = list(events)[-1]
        assert (last.position.steps, last.ends_epoch) == (10, True)
    assert not torch.equal(neuron.weight, before)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_descent_that_nobody_sees_diverges_where_one_that_is_seen_does(momentum):
    """In the step after that of a sample with ∞, or in that step if z = ∞ − ∞."""
    x = torch.randn(100, 3)
    x[:, 2] = 0
    drawn = order.Order(100, 3, 10, 0, (10,)).block(0, 0, range(1))
    x[drawn.rows(7, 8)[0]] = torch.tensor([torch.inf, -torch.inf, 0.0])
    found = []
    for next_seen in (lambda step: step, lambda step: NEVER):
        neuron = bp.Neuron(3, generator=torch.Generator().manual_seed(0))
        events = descend(
            neuron,
            Samples(x, torch.rand(100, generator=torch.Generator().manual_seed(1))),
            cost="quadratic",
            gradient="fused",
            epochs=1,
            batch_size=10,
            rule=Rule(learning_rate=0.5, momentum=momentum),
            next_seen=next_seen,
        )
        with pytest.raises(DivergedError) as error:
            list(events)
        found.append((str(error.value), neuron.weight.detach()))
    assert "at step 7 " in found[0][0] or "at step 8 " in found[0][0]
    assert found[1][0] == found[0][0]
    torch.testing.assert_close(found[1][1], found[0][1], equal_nan=True)
