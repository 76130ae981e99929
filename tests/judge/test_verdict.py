"""Right, wrong, or inconclusive with the reason: what proves nothing is not called right."""

import json

import pytest
import torch

import bp_torch as bp


def prove(fn, x, reference=None, **options):
    return bp.compare(fn, reference, inputs=[x], transforms=False, **options)


def test_empty_inputs_prove_nothing():
    report = prove(torch.sigmoid, torch.zeros(0, 3), torch.sigmoid)
    assert report.verdict == "inconclusive"
    assert report.reason == "input is empty: there is nothing to judge"
    assert not report.ok
    assert str(report).startswith("inconclusive: input is empty")
    with pytest.raises(bp.GradientMismatch, match="inconclusive"):
        bp.assert_gradients(
            torch.sigmoid, torch.sigmoid, inputs=[torch.zeros(0, 3)], transforms=False
        )


def test_where_all_is_nan_nothing_is_known():
    report = prove(torch.log, -torch.rand(4) - 1, torch.log)
    assert report.verdict == "inconclusive"
    assert report.reason == "the truth for the gradient of input is not known at the inputs given"


def test_where_rounding_hides_the_gradient_nothing_is_told():
    """The sine of numbers whose neighbours are whole periods away."""
    report = prove(torch.sin, torch.full((5,), 1e4, dtype=torch.bfloat16), torch.sin)
    assert report.verdict == "inconclusive"
    assert "rounding in bfloat16" in report.reason


def test_one_dtype_that_tells_is_enough():
    x = torch.full((5,), 3e4, dtype=torch.float64)
    report = prove(torch.sin, x, dtypes=[torch.float64, torch.bfloat16])
    assert report.verdict == "right", report


@pytest.mark.parametrize("wrong", [False, True])
def test_what_can_be_told_is(wrong):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * x * (1 if wrong else 2)

    report = prove(Square.apply, torch.randn(4), torch.square)
    assert report.verdict == ("wrong" if wrong else "right")
    assert report.reason == ""
    content = json.loads(report.to_json())
    assert content["verdict"] == report.verdict
    assert content["ok"] is not wrong


def test_a_flat_function_is_told_to_be_flat():
    assert prove(torch.round, torch.randn(4, 3)).verdict == "right"


def test_a_kink_at_every_input_is_inconclusive_without_a_reference():
    assert prove(torch.abs, torch.zeros(4)).verdict == "inconclusive"
