"""What people pass by mistake: one line that says what was expected, or simply right."""

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

import bp_torch as bp
from bp_torch import fused

X, Y = torch.randn(6, 3), torch.rand(6)


class TanhNeuron(bp.Neuron):
    def forward(self, x):
        return torch.tanh(self.pre_activation(x))


def hooked():
    neuron = bp.Neuron(3)
    neuron.register_forward_hook(lambda module, inputs, output: 2 * output)
    return neuron


def pruned():
    neuron = bp.Neuron(3)
    prune.l1_unstructured(neuron, "weight", 1)
    return neuron


def with_another_parameter():
    neuron = bp.Neuron(3)
    neuron.scale = torch.nn.Parameter(torch.ones(()))
    return neuron


def tied():
    network = bp.Network([3, 3, 3])
    network.layers[1].weight = network.layers[0].weight
    return network


@pytest.mark.parametrize(
    "make", [lambda: TanhNeuron(3), hooked, pruned, with_another_parameter, tied]
)
def test_the_chain_rule_of_another_function_is_not_worked_through(make):
    y = torch.rand(6, 3) if make is tied else Y
    with pytest.raises(TypeError, match="module must be a plain Neuron or Network, got a"):
        bp.backprop(make(), X, y)
    bp.backprop(bp.Neuron(3), X, Y)


def test_targets_in_another_dtype_are_told():
    with pytest.raises(TypeError, match=r"y must be torch.float32 .* pass y.to\(torch.float32\)"):
        bp.backprop(bp.Neuron(3), X, torch.from_numpy(np.zeros(6)))


def test_numbers_are_needed():
    neuron = bp.Neuron(3, device="meta")
    with pytest.raises(ValueError, match="x and y must hold numbers"):
        bp.backprop(neuron, X.to("meta"), Y.to("meta"))


@pytest.mark.parametrize("weight", [5e37, 1e-44])
def test_sample_weights_that_cannot_be_added_are_refused(weight):
    """Their sum, or its inverse, would be infinite, and the gradients 0."""
    start, weights = (torch.ones(3), torch.ones(())), torch.full((6,), weight)
    with pytest.raises(ValueError, match=r"sample_weight must be 0 or from 1e-30 to 1e\+30"):
        fused.cost_and_gradients(X, Y, *start, sample_weight=weights)
    with pytest.raises(ValueError, match="divide them by their mean"):
        fused.sgd_epoch(X, Y, *start, 1.0, 3, sample_weight=weights)
    assert torch.equal(start[0], torch.ones(3))


def test_sample_weights_far_from_1_are_right():
    start = (torch.ones(3), torch.ones(()))
    expected = fused.cost_and_gradients(X, Y, *start)
    for weight in (2.0**90, 2.0**-90):
        found = fused.cost_and_gradients(X, Y, *start, sample_weight=torch.full((6,), weight))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("sizes", [{30, 1}, [3, None], {3: 1, 1: 3}])
def test_sizes_have_an_order_and_a_number_each(sizes):
    with pytest.raises(ValueError, match="sizes must name the features and at least one layer"):
        bp.Network(sizes)


def test_completion_knows_every_public_name():
    assert set(bp.__all__) <= set(dir(bp))


def test_autocast_leaves_float64_alone_and_so_it_is_told():
    with (
        torch.autocast("cpu", dtype=torch.bfloat16),
        pytest.raises(TypeError, match=r"x must be torch.float32 as the weight is"),
    ):
        bp.Neuron(3)(X.double())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtypes": ["float32"]}, TypeError, "dtypes must be floating-point dtypes"),
        ({"dtypes": [torch.int32]}, TypeError, "dtypes must be floating-point dtypes"),
        ({"devices": "nowhere"}, TypeError, "devices must be such as"),
        ({"devices": ["meta"]}, ValueError, "cannot compare on the device meta"),
        ({"backward": lambda g, x: g}, TypeError, "a function or backward=, got both"),
        ({"reference": torch.nn.Sigmoid}, TypeError, r"got the class; pass Sigmoid\(…\)"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(options, error, message):
    options = {"reference": torch.sigmoid, **options}
    with pytest.raises(error, match=message) as caught:
        bp.compare(torch.sigmoid, inputs=[X], transforms=False, **options)
    assert "\n" not in str(caught.value)


def test_what_is_clear_is_taken():
    for options in (
        {"inputs": X},
        {"inputs": lambda generator: torch.randn(3, generator=generator)},
        {"inputs": [X], "dtypes": torch.float32, "devices": "cpu"},
    ):
        assert bp.compare(torch.sigmoid, torch.sigmoid, transforms=False, **options).ok


def test_a_class_of_functions_stands_for_its_apply():
    class Negated(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 3 * x

        @staticmethod
        def backward(ctx, g):
            return -3 * g

    report = bp.compare(Negated, lambda x: 3 * x, inputs=X, transforms=False)
    assert report.diagnosis.mistake == "sign"


def test_numbers_outside_its_domain_do_not_convict_a_function():
    """jvp of a square root among whose arguments some are negative."""
    assert bp.compare(torch.sqrt, torch.sqrt, inputs=X, compile=False).ok


def test_a_constant_that_depends_on_the_dtype_does_not_convict_a_module():
    """RMSNorm's ε is by default that of the dtype, so that in float64 it is another function."""
    norm = torch.nn.RMSNorm(3)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert bp.compare(norm, norm, inputs=x, compile=False).ok
