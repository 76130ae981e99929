"""What a function closes over: constants in every dtype that is asked for, and by name."""

import functools

import pytest
import torch

import bp_torch as bp
from bp_torch.judge.closures import cast, constants_of

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
generator = torch.Generator().manual_seed(0)
X = torch.randn(8, 3, generator=generator)
Y = torch.rand(8, generator=generator)
WEIGHTS = {"w": torch.rand(3, generator=generator), "masks": [torch.ones(3), "no tensor"]}
START = [torch.randn(3, generator=generator), torch.randn((), generator=generator)]


def loss(w, b):
    return ((torch.sigmoid(X @ w + b) - Y) ** 2).sum()


def loss_by_hand(x, y, wrong=lambda x: x):
    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w, b):
            y_hat = torch.sigmoid(x @ w + b)
            ctx.save_for_backward(y_hat)
            return ((y_hat - y) ** 2).sum()

        @staticmethod
        def backward(ctx, g):
            (y_hat,) = ctx.saved_tensors
            delta = g * 2 * (y_hat - y) * y_hat * (1 - y_hat)
            return wrong(x).T @ delta, delta.sum()

    return lambda w, b: Loss.apply(w, b)


def test_data_that_a_cost_closes_over_are_judged_in_every_dtype():
    report = bp.compare(loss_by_hand(X, Y), loss, inputs=START, dtypes=DTYPES)
    assert report.verdict == "right", report
    assert {row.dtype for row in report.rows} == {"float64", "float32", "bfloat16"}
    assert X.dtype == Y.dtype == torch.float32


def test_a_factor_that_is_closed_over_is_called_by_its_name():
    wrong = loss_by_hand(X, Y, wrong=torch.ones_like)
    report = bp.compare(wrong, lambda w, b: loss(w, b), inputs=START, dtypes=DTYPES)
    assert report.diagnosis.mistake == "missing-factor"
    assert report.diagnosis.sentence == "the gradient of w lacks the factor x"


def test_a_mask_of_the_inputs_shape_does_not_disturb_the_transforms():
    mask = torch.rand(5, 4, generator=generator) > 0.5

    class Masked(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return torch.where(mask, x.sin(), 0)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return torch.where(mask, g * x.cos(), 0)

    report = bp.compare(
        lambda x: Masked.apply(x),
        lambda x: torch.where(mask, x.sin(), 0),
        inputs=[torch.randn(5, 4, generator=generator)],
        compile=False,
    )
    assert report.verdict == "right", report


def test_every_way_in_which_people_close_over_tensors_is_found():
    local, default = torch.ones(2), torch.zeros(2)

    class Holder:
        def __init__(self):
            self.scale = torch.ones(3)

        def __call__(self, x):
            return x * self.scale

        def method(self, x):
            return x * self.scale

    def closes(x, offset=default):
        return x * local + offset + WEIGHTS["w"]

    assert set(constants_of(closes)) == {"local", "offset", "WEIGHTS.w", "WEIGHTS.masks.0"}
    assert set(constants_of(lambda x: closes(x))) == set(constants_of(closes))
    assert set(constants_of(functools.partial(torch.add, other=local))) == {"other"}
    assert set(constants_of(Holder().method)) == {"scale"}
    assert set(constants_of(Holder())) == {"scale"}
    linear = torch.nn.Linear(2, 2)
    assert set(constants_of(lambda x: linear(x))) == {"linear.weight", "linear.bias"}
    assert constants_of(torch.sigmoid) == {}


def test_constants_are_as_before_whatever_happens():
    one, integers = torch.ones(2), torch.arange(2)

    def fails():
        with cast({"one": one}, torch.float32, torch.bfloat16):
            assert one.dtype == torch.bfloat16
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert one.dtype == torch.float32
    with cast({"one": one, "i": integers}, torch.float64, torch.bfloat16):
        assert one.dtype == torch.float32


def test_pairs_a_few_places_apart_are_not_taken_for_a_pointwise_function():
    """Rotary embeddings: each of the first half with its partner in the second."""

    def rotate(x):
        a, b = x.chunk(2, -1)
        return torch.cat([a * 0.6 - b * 0.8, a * 0.8 + b * 0.6], -1)

    report = bp.compare(rotate, rotate, inputs=[torch.randn(3, 8)], transforms=False)
    assert all(row.at is None for row in report.rows)
    assert report.verdict == "right"


def test_a_function_of_no_module_is_looked_into():
    """As in a notebook or a console, where its module has no name."""
    space = {"torch": torch}
    exec("def fn(x):\n    return torch.sin(1.7 * x)", space)
    assert space["fn"].__module__ is None or space["fn"].__module__ == "builtins"
    report = bp.compare(space["fn"], lambda x: torch.sin(1.5 * x), inputs=X, transforms=False)
    assert report.diagnosis.mistake == "forward"
