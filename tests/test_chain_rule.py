import pytest
import torch
from errors import gradients_in_eps
from tolerances import CHAIN_EPS

import bp_torch as bp
from bp_torch import costs
from bp_torch.training.gradients import autograd

COSTS = pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])
SIZES = pytest.mark.parametrize(
    "sizes", [None, [3, 2], [3, 1], [3, 5, 2], [3, 6, 5, 4, 2]], ids=str
)


def problem(sizes=None, samples=8):
    module = bp.Network(sizes, dtype=torch.float64) if sizes else bp.Neuron(3, dtype=torch.float64)
    x = torch.randn(samples, 3, dtype=torch.float64)
    return module, x, torch.rand_like(module(x).detach())


@COSTS
@SIZES
@pytest.mark.parametrize("samples", [1, 8])
def test_gradients_are_autograds(cost, sizes, samples):
    module, x, y = problem(sizes, samples)
    chain = bp.backprop(module, x, y, cost=cost)
    value, expected = autograd(module, x, y, cost)
    assert list(chain.gradients) == [name for name, _ in module.named_parameters()]
    assert gradients_in_eps(chain.gradients, expected) <= CHAIN_EPS
    assert torch.equal(chain.cost, value)


@SIZES
def test_gradients_with_the_layers_delta_not_passed_through_sigma_prime_are_caught(sizes):
    """The planted mistake beside it: ∂C/∂ŷ in place of δ."""
    module, x, y = problem(sizes)
    output = bp.backprop(module, x, y).layers[-1]
    wrong = output.dC_dy_hat.t() @ output.dz_dw
    assert gradients_in_eps({"weight": wrong}, {"weight": output.dC_dw}) > 1e6 * CHAIN_EPS


def test_a_neurons_gradient_is_the_product_of_its_named_factors():
    neuron, x, y = problem()
    chain = bp.backprop(neuron, x, y)
    product = chain.dC_dy_hat * chain.dy_hat_dz
    assert torch.equal(chain.delta, product)
    assert chain.dz_dw is x
    torch.testing.assert_close(chain.gradients["weight"], (product[:, None] * chain.dz_dw).sum(0))
    torch.testing.assert_close(chain.gradients["bias"], product.sum())
    torch.testing.assert_close(chain.dC_dy_hat, (chain.y_hat - y) / len(x))
    torch.testing.assert_close(chain.dy_hat_dz, torch.sigmoid(chain.z) * torch.sigmoid(-chain.z))


def test_a_hidden_layers_delta_comes_through_the_weights_of_the_next():
    network, x, y = problem([3, 5, 2])
    hidden, output = bp.backprop(network, x, y).layers
    for sample in range(len(x)):
        delta = (network.layers[1].weight.T @ output.delta[sample]) * hidden.dy_hat_dz[sample]
        torch.testing.assert_close(hidden.delta[sample], delta)
    assert output.dz_dw is hidden.y_hat


def test_every_factor_of_a_network_is_autograds():
    network, x, y = problem([3, 5, 2])
    chain = bp.backprop(network, x, y)
    z1 = network.layers[0].pre_activation(x)
    a1 = torch.sigmoid(z1)
    z2 = network.layers[1].pre_activation(a1)
    y_hat = torch.sigmoid(z2)
    cost = bp.quadratic_cost(y_hat, y)
    dz1, da1, dz2, dy_hat = torch.autograd.grad(cost, (z1, a1, z2, y_hat))
    hidden, output = chain.layers
    for actual, expected in (
        (output.dC_dy_hat, dy_hat),
        (output.delta, dz2),
        (hidden.dC_dy_hat, da1),
        (hidden.delta, dz1),
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-13, atol=1e-16)


@COSTS
@SIZES
def test_the_accurate_form_gives_the_accurate_modules_gradient(cost, sizes):
    module, x, y = problem(sizes)
    sharp = bp.Network(sizes, "accurate", dtype=torch.float64) if sizes else None
    sharp = sharp or bp.Neuron(3, "accurate", dtype=torch.float64)
    sharp.load_state_dict(module.state_dict())
    chain = bp.backprop(sharp, x, y, cost=cost)
    value = costs.COSTS[cost][0](sharp(x), y)
    gradients = torch.autograd.grad(value, list(sharp.parameters()))
    assert (
        gradients_in_eps(chain.gradients, dict(zip(chain.gradients, gradients, strict=True)))
        <= CHAIN_EPS
    )


def test_only_the_accurate_form_has_a_slope_where_the_output_rounds_to_1():
    x, y = torch.ones(1, 1), torch.zeros(1)
    slopes = []
    for form in ("textbook", "accurate"):
        neuron = bp.Neuron(1, form)
        torch.nn.init.constant_(neuron.weight, 17.0)
        slopes.append(bp.backprop(neuron, x, y).dy_hat_dz.item())
    assert slopes == [0.0, pytest.approx(4.13993738e-8, rel=1e-7)]


def test_no_autograd_is_inside():
    module, x, y = problem([3, 5, 2])
    chain = bp.backprop(module, x.requires_grad_(), y)
    assert not any(gradient.requires_grad for gradient in chain.gradients.values())
    assert not chain.cost.requires_grad


def test_module_and_data_are_left_as_they_were():
    module, x, y = problem([3, 5, 2])
    tensors = (*module.parameters(), x, y)
    before = [tensor.detach().clone() for tensor in tensors]
    bp.backprop(module, x, y)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))
    assert all(parameter.grad is None for parameter in module.parameters())


def replaced(tensor, value):
    tensor = tensor.clone()
    tensor.view(-1)[-1] = value
    return tensor


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m, x, y: (m, x[:, :2], y), ValueError, r"x must have shape \(…, 3\)"),
        (lambda m, x, y: (m, x[0], y), ValueError, r"x must have shape \(N, D\)"),
        (lambda m, x, y: (m, x, y[:, None]), ValueError, r"y must have shape \(8,\)"),
        (lambda m, x, y: (m, x[:0], y[:0]), ValueError, "at least one sample"),
        (lambda m, x, y: (m, x, replaced(y, 1.5)), ValueError, r"in \[0, 1\].*1.5 at index \(7,\)"),
        (lambda m, x, y: (m, x, replaced(y, -0.5)), ValueError, r"in \[0, 1\].*-0.5"),
        (lambda m, x, y: (m, x, replaced(y, torch.nan)), ValueError, "y must be finite, got nan"),
        (lambda m, x, y: (m, replaced(x, torch.nan), y), ValueError, r"nan at index \(7, 2\)"),
        (lambda m, x, y: (m, replaced(x, torch.inf), y), ValueError, "x must be finite, got inf"),
        (lambda m, x, y: (m, x.long(), y), TypeError, "x must be a floating-point tensor"),
        (lambda m, x, y: (m, x, y.long()), TypeError, "y must be a floating-point tensor"),
        (lambda m, x, y: (m, x.float(), y), TypeError, "x must be torch.float64"),
        (lambda m, x, y: (torch.nn.Linear(3, 1), x, y), TypeError, "Neuron or Network, got Linear"),
    ],
    ids=[
        *("columns", "1-d x", "2-d y", "empty", "above 1", "below 0", "nan y", "nan x", "inf x"),
        *("integer x", "integer y", "dtype", "module"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        bp.backprop(*change(*problem()))


def test_an_unknown_cost_is_refused():
    with pytest.raises(ValueError, match="quadratic, cross-entropy; got 'hinge'"):
        bp.backprop(*problem(), cost="hinge")
