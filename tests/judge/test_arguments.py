"""What people pass: keyword arguments, numbers, nested and complex tensors, buffers, dropout."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import bp_torch as bp
from bp_torch.judge.arguments import Arguments

generator = torch.Generator().manual_seed(0)
X = torch.randn(4, 3, generator=generator)
W, B = torch.randn(3, 2, generator=generator), torch.randn(2, generator=generator)


@dataclass
class Layer:
    weight: Tensor
    bias: Tensor
    name: str = "first"


class Product(torch.autograd.Function):
    """a · b, where a mistake may be made in the gradient of a."""

    @staticmethod
    def forward(ctx, a, b, factor):
        ctx.save_for_backward(a, b)
        ctx.factor = factor
        return a * b

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return ctx.factor * g * b, g * a, None


def compared(fn, reference, inputs, **options):
    return bp.compare(fn, reference, inputs=inputs, transforms=False, **options)


def names(report):
    return list(dict.fromkeys(row.name for row in report.rows if row.what.startswith("gradient")))


def by_hand(params, x):
    return torch.tanh(x @ params["w"] + params["b"])


def test_named_arguments_and_dictionaries_are_judged_by_path():
    report = compared(by_hand, by_hand, {"params": {"w": W, "b": B}, "x": X})
    assert report.ok, report
    assert names(report) == ['params["w"]', 'params["b"]', "x"]


def test_a_mapping_that_no_signature_takes_by_its_keys_is_one_argument():
    report = compared(lambda p: p["w"] * 2, lambda p: p["w"] + p["w"], {"w": W})
    assert report.ok
    assert names(report) == ['p["w"]']


def test_dataclasses_lists_and_named_tuples():
    Pair = namedtuple("Pair", "one other")

    def network(x, layers, pair):
        for layer in layers:
            assert layer.name == "first"
            x = torch.tanh(x @ layer.weight + layer.bias)
        return x * pair.one.sum() * pair.other.sum()

    layers = [Layer(W, B), Layer(W.mT.clone(), torch.zeros(3))]
    report = compared(network, network, [X, layers, Pair(B, B)])
    assert report.ok, report
    assert "layers[1].weight" in names(report)
    assert names(report)[-2:] == ["pair.one", "pair.other"]


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_a_number_is_handed_on_and_a_mistake_in_a_nested_gradient_is_named_by_path(factor):
    def fn(params, factor):
        return Product.apply(params["a"], params["b"], factor)

    report = compared(
        fn, lambda params, factor: params["a"] * params["b"], ({"a": X, "b": X.exp()}, factor)
    )
    assert report.ok == (factor == 1.0)
    if factor == 2.0:
        assert report.diagnosis.mistake == "factor"
        assert 'the gradient of params["a"] is twice the truth' in report.diagnosis.sentence


def test_outputs_may_be_nested_and_none():
    report = compared(
        lambda x: {"y": Product.apply(x, x.exp(), 1.0), "loss": None, "n": 3},
        lambda x: OrderedDict(y=x * x.exp()),
        X,
    )
    assert report.ok, report


@pytest.mark.parametrize("right", [True, False])
def test_complex_tensors_are_pairs(right):
    class Squared(torch.autograd.Function):
        @staticmethod
        def forward(z):
            return z * z

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            (z,) = ctx.saved_tensors
            return 2 * g * (z.conj() if right else z)

    z = torch.view_as_complex(torch.randn(5, 2, generator=generator))
    assert compared(Squared.apply, lambda z: z * z, z).ok == right


def test_dropout_draws_the_same_on_both_sides():
    def fn(x):
        return torch.dropout(Product.apply(x, x.cos(), 1.0), 0.5, train=True)

    report = compared(fn, lambda x: torch.dropout(x * x.cos(), 0.5, train=True), X)
    assert report.ok, report


@pytest.mark.parametrize(("middle", "mistake"), [(0.5, "nondeterministic"), (0.0, "factor")])
def test_of_a_backward_that_draws_the_mean_is_judged(middle, mistake):
    class Noisy(Product):
        @staticmethod
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            return g * b * (1 + 0.1 * (torch.rand_like(g) - middle)), g * a, None

    report = compared(lambda a, b: Noisy.apply(a, b, 1.0), torch.mul, (X, X.exp()))
    assert report.diagnosis.mistake == mistake, report
    assert "repeated runs differ by" in report.diagnosis.sentence


def test_buffers_are_those_of_each_run():
    norm = nn.BatchNorm1d(3)
    assert compared(norm, nn.BatchNorm1d(3), X).ok
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("slip", [0.0, 0.1])
def test_a_function_that_works_in_place_is_given_clones(slip):
    class InPlace(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            x.exp_()
            ctx.save_for_backward(x)
            return x

        @staticmethod
        def backward(ctx, g):
            (y,) = ctx.saved_tensors
            return g * (y + slip)

    report = compared(InPlace, None, X)
    assert report.ok == (slip == 0.0), report
    assert any("fn works in place, on x" in finding for finding in report.findings)


def test_a_mask_may_hold_infinite_numbers():
    """As attention adds it to its scores."""
    mask = torch.zeros(4, 3, dtype=torch.float64).masked_fill(X > 1, -torch.inf)
    assert mask.isinf().any()

    def masked(x, mask):
        return torch.softmax(x + mask, -1)

    report = compared(masked, masked, (X.clone().requires_grad_(), mask))
    assert report.verdict == "right", report


def test_a_reference_that_raises_is_said_to_be_the_references():
    def broken(x):
        raise KeyError("its own")

    with pytest.raises(KeyError, match="its own") as caught:
        compared(torch.sigmoid, broken, X)
    assert any("the reference" in note for note in caught.value.__notes__)


def test_an_input_without_a_gradient_that_nobody_marked_is_not_judged():
    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, p, target):
            ctx.save_for_backward(p, target)
            return ((p - target) ** 2).sum()

        @staticmethod
        def backward(ctx, g):
            p, target = ctx.saved_tensors
            return 2 * g * (p - target), None

    def reference(p, target):
        return ((p - target) ** 2).sum()

    report = compared(Loss, reference, (X, X.exp()))
    assert report.ok, report
    assert "fn gives no gradient for target (None): not judged" in report.warnings[0]
    marked = (X.clone().requires_grad_(), X.exp().requires_grad_())
    assert compared(Loss, reference, marked).verdict == "wrong"


def test_arguments_come_back_as_they_were():
    given = Arguments({"a": [X, {"k": (W, 3)}], "n": 2}, {"b": Layer(W, B)})
    assert list(given.tensors()) == ["a[0]", 'a[1]["k"][0]', "b.weight", "b.bias"]
    args, kwargs = given.filled([t + 1 for t in given.tensors().values()])
    assert torch.equal(args[0][1]["k"][0], W + 1)
    assert (args[0][1]["k"][1], args[1], kwargs["b"].name) == (3, 2, "first")
    assert torch.equal(kwargs["b"].bias, B + 1)
