import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import bp_torch as bp

MODULES = pytest.mark.parametrize(
    "make",
    [
        lambda **options: bp.Neuron(3, **options),
        lambda **options: bp.Layer(3, 2, **options),
        lambda **options: bp.Network([3, 4, 2], **options),
    ],
    ids=["neuron", "layer", "network"],
)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("batch", [(), (5,), (4, 5), (0,)], ids=str)
def test_neuron_maps_features_to_one_output(batch):
    neuron = bp.Neuron(3)
    assert neuron.weight.shape == (3,)
    assert neuron.bias.shape == ()
    assert neuron(torch.randn(*batch, 3)).shape == batch


@pytest.mark.parametrize("batch", [(), (5,), (4, 5), (0,)], ids=str)
def test_network_maps_features_to_outputs(batch):
    network = bp.Network([3, 4, 2])
    assert [tuple(layer.weight.shape) for layer in network.layers] == [(4, 3), (2, 4)]
    assert network(torch.randn(*batch, 3)).shape == (*batch, 2)


def test_neuron_computes_sigma_of_the_weighted_sum():
    neuron, x = bp.Neuron(3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    z = (x * neuron.weight).sum(-1) + neuron.bias
    torch.testing.assert_close(neuron(x), 1 / (1 + torch.exp(-z)), rtol=1e-14, atol=0)


def test_network_is_torchs_own_linear_and_sigmoid_layers():
    network, x = bp.Network([3, 4, 2]), torch.randn(5, 3)
    peer = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Linear(4, 2), nn.Sigmoid())
    peer.load_state_dict(dict(zip(peer.state_dict(), network.state_dict().values(), strict=True)))
    assert torch.equal(network(x), peer(x))


@MODULES
def test_state_dict_carries_everything(make):
    one, other, x = make(), make(), torch.randn(5, 3)
    assert not torch.equal(one(x), other(x))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))


@MODULES
@pytest.mark.parametrize("copy_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_is_equal_and_independent(make, copy_of):
    module, x = make(), torch.randn(5, 3)
    other = copy_of(module)
    before = module(x)
    assert torch.equal(other(x), before)
    with torch.no_grad():
        next(other.parameters()).zero_()
    assert torch.equal(module(x), before)


@MODULES
def test_to_changes_the_dtype(make):
    module = make().to(torch.float64)
    assert module(torch.randn(5, 3, dtype=torch.float64)).dtype == torch.float64
    assert make(dtype=torch.bfloat16)(torch.randn(5, 3).bfloat16()).dtype == torch.bfloat16


@MODULES
def test_device_is_taken(make):
    assert make(device="meta")(torch.empty(5, 3, device="meta")).is_meta


@MODULES
def test_torch_optim_takes_gradient_descents_step(make):
    module, x = make(), torch.randn(5, 3)
    y = torch.rand(module(x).shape)
    before = copy.deepcopy(module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    bp.quadratic_cost(module(x), y).backward()
    optimizer.step()
    cost = bp.quadratic_cost(before(x), y)
    for old, new, gradient in zip(
        before.parameters(),
        module.parameters(),
        torch.autograd.grad(cost, list(before.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(new, old - 0.5 * gradient)


@MODULES
def test_hooks_are_called(make):
    module, seen = make(), []
    module.register_forward_hook(lambda module, inputs, output: seen.append("forward"))
    module.register_full_backward_hook(lambda module, ingoing, outgoing: seen.append("backward"))
    module(torch.randn(5, 3, requires_grad=True)).sum().backward()
    assert seen == ["forward", "backward"]


def test_repr_names_sizes_and_derivative():
    assert repr(bp.Neuron(3)) == "Neuron(3, derivative='textbook')"
    assert "(1): Layer(4, 2, derivative='textbook')" in repr(bp.Network([3, 4, 2]))


@MODULES
def test_generator_makes_the_weights_reproducible_and_spares_the_global_one(make):
    state = torch.get_rng_state()
    one, same, other = (
        make(generator=generator()),
        make(generator=generator()),
        make(generator=generator(2)),
    )
    assert torch.equal(torch.get_rng_state(), state)
    x = torch.randn(5, 3)
    assert torch.equal(one(x), same(x))
    assert not torch.equal(one(x), other(x))


def test_initial_pre_activations_of_standardised_features_have_variance_one():
    neuron, x = bp.Neuron(400, generator=generator()), torch.randn(2000, 400)
    assert neuron.bias == 0
    # The variance of 400 normal weights times 400 strays by √(2/400) = 7% from 1.
    assert neuron.pre_activation(x).var().item() == pytest.approx(1, abs=0.25)


@MODULES
def test_autocast_runs_and_gives_the_weights_a_gradient(make):
    module = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y_hat = module(torch.randn(5, 3).bfloat16())
    y_hat.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@MODULES
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.randn(5, 4), ValueError, r"shape \(…, 3\), one column per feature, got \(5, 4\)"),
        (torch.tensor(1.0), ValueError, r"shape \(…, 3\), one column per feature, got \(\)"),
        (torch.ones(5, 3).long(), TypeError, "x must be a floating-point tensor, got x, a torch.i"),
        (torch.randn(5, 3).double(), TypeError, "x must be torch.float32 as the weight is"),
        ([1.0, 2.0, 3.0], TypeError, "x must be a floating-point tensor, got list"),
    ],
    ids=["columns", "0-d", "integer", "dtype", "list"],
)
def test_input_that_does_not_fit_is_refused(make, x, error, message):
    with pytest.raises(error, match=message):
        make()(x)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: bp.Neuron(0), ValueError, "whole number of at least 1, got 0"),
        (lambda: bp.Neuron(2.5), ValueError, "whole number of at least 1, got 2.5"),
        (lambda: bp.Neuron(True), ValueError, "whole number of at least 1, got True"),
        (lambda: bp.Neuron("3"), ValueError, "whole number of at least 1, got '3'"),
        (lambda: bp.Neuron(10**30), ValueError, "must fit into memory, got 1e\\+30"),
        (lambda: bp.Layer(3, 10**30), ValueError, "must fit into memory, got 1e\\+30"),
        (
            lambda: bp.Neuron(3, dtype=torch.int64),
            TypeError,
            "torch.float64 or .*int64",
        ),
        (lambda: bp.Neuron(3, dtype="float32"), TypeError, "dtype must be .* got 'float32'"),
        (lambda: bp.Neuron(3, dtype=torch.float8_e5m2), TypeError, "got torch.float8_e5m2"),
        (lambda: bp.Neuron(3, "exact"), ValueError, "must be one of textbook"),
        (lambda: bp.Neuron(3, ["accurate"]), ValueError, "must be one of textbook"),
        (lambda: bp.Network([3]), ValueError, "at least one layer"),
        (lambda: bp.Network(3), ValueError, "at least one layer, as .* got 3"),
        (lambda: bp.Network([3, -1]), ValueError, "whole number of at least 1, got -1"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_whole_numbers_of_any_kind_are_sizes():
    assert bp.Neuron(np.int64(3)).weight.shape == (3,)
    assert [layer.weight.shape for layer in bp.Network(np.array([3, 1])).layers] == [(1, 3)]
    assert bp.Network(torch.tensor([3, 4, 2]))(torch.randn(5, 3)).shape == (5, 2)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 3).to(torch.float8_e5m2), "x must be torch.float64 or .*float8_e5m2"),
        (torch.zeros(2, 3).to_sparse(), r"x must be a dense tensor.*x\.to_dense\(\)"),
    ],
    ids=["float8", "sparse"],
)
def test_tensors_that_torch_cannot_compute_with_are_refused_in_one_line(x, message):
    for function in (
        bp.Neuron(3),
        bp.Network([3, 1]),
        lambda t: bp.backprop(bp.Neuron(3), t, t[:, 0]),
    ):
        with pytest.raises(TypeError, match=message) as caught:
            function(x)
        assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match=message.replace("x", "z")):
        bp.sigmoid(x)
