import pytest
import torch

import bp_torch as bp
from bp_torch.training.descent import DivergedError, descend, steps_per_epoch
from bp_torch.training.gradients import GRADIENTS


def run(module, x, y, **changes):
    options = {
        "cost": "quadratic",
        "gradient": "manual",
        "epochs": 1,
        "batch_size": 0,
        "learning_rate": 0.5,
        "generator": torch.Generator().manual_seed(0),
    }
    return list(descend(module, x, y, **options | changes))


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
        seen = torch.cat([update.y for update in updates if update.epoch == epoch])
        assert torch.equal(seen.sort().values, y.sort().values)


def test_the_order_is_new_each_epoch_and_reproducible():
    orders = []
    for _ in range(2):
        neuron, x, y = problem()
        y = torch.linspace(0, 1, 10)
        updates = run(neuron, x, y, epochs=2, batch_size=1)
        orders.append(torch.cat([update.y for update in updates]))
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
