"""Functions that are not defined everywhere: every trial keeps to the domain."""

import math

import pytest
import torch

import bp_torch as bp
from bp_torch.judge.domains import Domain

generator = torch.Generator().manual_seed(0)
SHARES = torch.rand(5, 3, generator=generator)
DTYPES = (torch.float64, torch.float32, torch.bfloat16)


def strict(low, high, fn):
    """The function, which raises where an argument lies outside."""

    def checked(x):
        if not bool(((x > low) & (x < high)).all()):
            raise ValueError("outside")
        return fn(x)

    return checked


@pytest.mark.parametrize(
    ("fn", "domain", "inputs"),
    [
        (torch.log, (0, None), SHARES),
        (torch.atanh, (-1, 1), SHARES - 0.5),
        (lambda x: torch.log1p(-x), (None, 1), SHARES),
        (torch.logit, (0, 1), SHARES),
        (torch.special.ndtri, (0, 1), SHARES.double()),
        (torch.acosh, (1, math.inf), 1 + SHARES),
    ],
    ids=["log", "atanh", "log1p(-x)", "logit", "ndtri", "acosh"],
)
def test_no_trial_leaves_the_domain_and_none_is_left_out(fn, domain, inputs):
    low, high = (
        end if end is not None else math.inf * side
        for end, side in zip(domain, (-1, 1), strict=True)
    )
    checked = strict(low, high, fn)
    report = bp.compare(checked, checked, inputs=inputs, domain=domain, transforms=False)
    assert report.ok, report
    assert not report.not_taken
    assert {"inputs × 1000", "into saturation"} <= {row.trial for row in report.rows}


def test_a_mistake_near_the_end_of_the_domain_is_found():
    class Artanh(torch.autograd.Function):
        """Its derivative, 1/(1 − x²), clamped too early."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.atanh(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g / (1 - x * x).clamp(min=1e-3)

    x = SHARES.double() - 0.5
    assert bp.compare(Artanh, inputs=x, domain=(-0.9, 0.9), transforms=False).ok
    report = bp.compare(Artanh, inputs=x, domain=(-1, 1), transforms=False)
    assert report.diagnosis.mistake == "region"


def test_each_argument_has_its_own():
    def entropy(p, target):
        return -(target * p.log() + (1 - target) * (1 - p).log())

    for domain in ([(0, 1), None], {"p": (0, 1)}):
        report = bp.compare(
            entropy,
            entropy,
            inputs=(SHARES, SHARES.round()),
            domain=domain,
            transforms=False,
        )
        assert report.ok, report
        assert not report.not_taken


def test_a_unit_ball_is_said_by_a_function():
    def distance(x):
        """From the middle of the Poincaré ball."""
        norm = x.norm(dim=-1)
        if bool((norm >= 1).any()):
            raise ValueError("outside")
        return 2 * torch.atanh(norm)

    x = 0.5 * torch.nn.functional.normalize(SHARES)
    report = bp.compare(
        distance, distance, inputs=x, domain=lambda x: x.norm(dim=-1) < 1, transforms=False
    )
    assert report.ok
    assert not report.not_taken
    assert "inputs × 10" not in {row.trial for row in report.rows}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "ends", [(0.0, 1.0), (-1.0, 1.0), (0.0, math.inf), (-math.inf, 3.0), (2.0, 5.0)]
)
def test_scaled_and_spread_numbers_stay_strictly_inside(ends, dtype):
    domain = Domain(*ends)
    middle = [end for end in ends if math.isfinite(end)]
    x = domain.over(
        torch.linspace(-110, 110, 2201, dtype=torch.float64), torch.zeros((), dtype=dtype)
    )
    assert x.dtype == dtype
    assert domain.has(x), (x.min(), x.max())
    assert len(x.unique()) > 50
    near = torch.tensor(sum(middle) / len(middle), dtype=dtype)
    inside = domain.inside(near.double() + torch.linspace(-0.2, 0.2, 9), near)
    for factor in (1e-3, 0.1, 10.0, 1e3):
        assert domain.has(domain.scaled(inside, factor))
