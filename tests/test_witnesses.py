"""50 digits as a witness: they must agree with what is right and convict what is wrong."""

import mpmath
import pytest
import torch

from bp_torch import derivative, fifty_digits, witnesses
from bp_torch.derivative import SigmoidFunction
from bp_torch.precise import formulas as accurate


def test_fifty_digits_give_published_constants():
    z = torch.tensor([1.0, 0.0, 17.0, 40.0], dtype=torch.float64)
    (gradient,) = fifty_digits.gradients(lambda v: sum(map(fifty_digits.sigma, v)), [z])
    expected = [0.19661193324148185, 0.25, 4.13993738e-8, 4.24835426e-18]
    assert gradient.tolist() == pytest.approx(expected, rel=2e-9)


def test_a_wrong_chain_rule_is_convicted(monkeypatch):
    def without_one_factor(ctx, upstream):
        return upstream * ctx.saved_tensors[0]

    monkeypatch.setattr(SigmoidFunction, "backward", staticmethod(without_one_factor))
    monkeypatch.setattr(derivative, "sigmoid_prime", lambda y_hat: y_hat)
    testimony = witnesses._sigmoid("textbook", torch.Generator().manual_seed(0), compile=False)
    assert testimony.errors["chain rule"] > 1e12
    assert testimony.errors["Function"] > 1e12
    assert testimony.errors["autograd"] < 10
    assert testimony.report.diagnosis.mistake == "missing-factor"


def test_a_wrong_accurate_derivative_is_convicted(monkeypatch):
    monkeypatch.setattr(accurate, "sigmoid_backward", lambda g, z: g * accurate.sigmoid(z))
    generator = torch.Generator().manual_seed(0)
    testimony = witnesses._sigmoid("accurate", generator, compile=False)
    assert testimony.errors["Function"] > 1e12
    assert not testimony.report.ok


def test_the_precision_of_the_caller_is_left_as_it_was():
    before = mpmath.mp.dps
    witnesses._cost("quadratic", torch.Generator().manual_seed(0), compile=False)
    assert mpmath.mp.dps == before
