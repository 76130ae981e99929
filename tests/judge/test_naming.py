"""Mistakes as people make them, each called by its name beside the right version that is right."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

import bp_torch as bp
from bp_torch.judge.mistakes import diagnosis

generator = torch.Generator().manual_seed(0)
X = torch.randn(4, 6, generator=generator, dtype=torch.float64)
Y = torch.randn(4, 6, generator=generator, dtype=torch.float64)
MASK = torch.rand(4, 6, generator=generator) < 0.4
WEIGHT = torch.rand(6, generator=generator, dtype=torch.float64) + 0.5


def function(forward, backward):
    """A Function of its inputs alone, from plain formulas."""

    class ByHand(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            ctx.save_for_backward(*inputs)
            return forward(*inputs)

        @staticmethod
        def backward(ctx, g):
            return backward(g, *ctx.saved_tensors)

    return ByHand


def quick_gelu_backward(slope):
    def backward(g, x):
        s = torch.sigmoid(slope * x)
        return g * (s + slope * x * s * (1 - s))

    return backward


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


def masked_softmax(x):
    return torch.softmax(x.masked_fill(MASK, float("-inf")), -1)


def softmax_backward(softmax):
    def backward(g, x):
        p = softmax(x)
        return p * (g - (g * p).sum(-1, keepdim=True))

    return backward


def residual(x):
    return x + torch.tanh(x * WEIGHT)


def residual_backward(times):
    return lambda g, x: times * g + g * WEIGHT * (1 - torch.tanh(x * WEIGHT) ** 2)


def weighed(x):
    return (WEIGHT * x).sin() * WEIGHT + x


def weighed_backward(first, second):
    return lambda g, x: g * (WEIGHT * x).cos() * first * second + g


def per_row_cost(x):
    return F.log_softmax(x, -1)[:, 0]


def per_row_cost_backward(whole):
    def backward(g, x):
        p = torch.softmax(x, -1)
        p[:, 0] -= 1
        return -p * (g if whole else g[0].expand_as(g))[:, None]

    return backward


ONES = torch.ones_like(WEIGHT)
CASES = {
    "a rounded constant": (
        quick_gelu,
        quick_gelu_backward(1.702),
        quick_gelu_backward(1.6),
        "constants",
        "1.6 in backward should be 1.702",
    ),
    "one input's for the other's": (
        lambda a, b: a * b,
        lambda g, a, b: (g * b, g * a),
        lambda g, a, b: (g * b, g * b),
        "copied",
        "the gradient of b is a copy of that of a",
    ),
    "a softmax that lost its mask": (
        masked_softmax,
        softmax_backward(masked_softmax),
        softmax_backward(lambda x: torch.softmax(x, -1)),
        "missing-factor",
        "lacks the mask",
    ),
    "a skip connection twice": (
        residual,
        residual_backward(1),
        residual_backward(2),
        "scaled-term",
        "times 2",
    ),
    "a weight forgotten in one of two factors": (
        weighed,
        weighed_backward(WEIGHT, WEIGHT),
        weighed_backward(WEIGHT, ONES),
        "missing-factor",
        "lacks the factor WEIGHT in one of its terms",
    ),
    "the first upstream for all rows": (
        per_row_cost,
        per_row_cost_backward(True),
        per_row_cost_backward(False),
        "reduction",
        "takes the first element of the upstream gradient",
    ),
    "straight-through": (
        torch.round,
        lambda g, x: torch.zeros_like(g),
        lambda g, x: g,
        "surrogate",
        "the value is a step, whose derivative is 0, and backward passes on the upstream",
    ),
    "gradient reversal": (
        lambda x: x.clone(),
        lambda g, x: g,
        lambda g, x: -0.3 * g,
        "surrogate",
        "backward reverses the upstream gradient, times 0.3",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_it_is_called_by_its_name(name, dtype):
    forward, right, wrong, word, words = CASES[name]
    inputs = (X, Y)[: forward.__code__.co_argcount] if hasattr(forward, "__code__") else (X,)

    def compared(backward):
        by_hand = function(forward, backward).apply

        def fn(*arguments):
            first, *second = arguments
            return by_hand(first, *second)

        return bp.compare(
            (lambda first, second: fn(first, second)) if len(inputs) > 1 else (lambda x: fn(x)),
            forward,
            inputs=inputs,
            dtypes=dtype,
            domain=(-30, 30) if forward is torch.round else None,
            transforms=False,
        )

    report = compared(right)
    assert report.verdict != "wrong", report
    report = compared(wrong)
    assert report.diagnosis.mistake == word, report
    assert words is None or words in report.diagnosis.sentence


def test_two_functions_are_said_before_anything_else():
    report = bp.compare(
        function(quick_gelu, quick_gelu_backward(1.702)), F.gelu, inputs=X, transforms=False
    )
    assert report.diagnosis.mistake == "forward"
    assert "these are two functions: their values differ by up to 0.02" in str(report)


def test_an_overflow_far_out_does_not_hide_a_mistake_at_the_inputs_given():
    def overflowing(g, x):
        e = torch.exp(x)
        return -g * e / e * x.cos()

    report = bp.compare(function(torch.sin, overflowing), torch.sin, inputs=X, transforms=False)
    assert report.diagnosis.mistake == "sign"


def test_what_a_later_call_overwrites_is_stale():
    class Kept(torch.autograd.Function):
        kept = None

        @staticmethod
        def forward(ctx, x):
            Kept.kept = x
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            return g * Kept.kept.cos()

    report = bp.compare(Kept, inputs=X, transforms=False)
    assert report.diagnosis.mistake == "stale-value"
    assert "a later call" in report.diagnosis.sentence


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_keeps_its_first_input_of_a_shape_is_stale(dtype):
    kept = {}

    class Cached(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.x = kept.setdefault((x.shape, x.dtype), x.clone())
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            return g * ctx.x.cos()

    report = bp.compare(Cached, inputs=X.to(dtype), transforms=False)
    assert report.diagnosis.mistake == "stale-value"
    assert "an earlier call" in report.diagnosis.sentence


def test_a_factor_that_depends_on_the_inputs_is_not_called_constant():
    def forward(x):
        return x.square().sum()

    def backward(g, x):
        return 2 * g * x * x.abs().sum()

    report = bp.compare(function(forward, backward), forward, inputs=X, transforms=False)
    assert report.diagnosis.mistake == "missing-factor", report
    assert "a factor that depends on the inputs" in report.diagnosis.sentence


def closing_over(mask):
    return lambda x: torch.tanh(x) * mask


@pytest.mark.parametrize("of", [lambda x: torch.tanh, lambda x: closing_over(torch.ones_like(x))])
def test_of_many_elements_a_few_explain_it(of):
    """Also where the function cannot be cut, for it closes over something of the whole shape."""
    x = torch.randn(120, 90, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lacking = function(torch.tanh, lambda g, x: g)
    report = bp.compare(lacking, of(x), inputs=x, transforms=False)
    assert report.diagnosis.mistake == "missing-factor", report


def test_what_costs_too_much_to_look_for_is_said_to_be_tried_with_smaller_inputs(monkeypatch):
    strange = function(lambda x: torch.softmax(x, -1), lambda g, x: g * x**5)
    tried = bp.compare(strange, inputs=X, transforms=False).diagnosis
    monkeypatch.setattr(diagnosis, "MOST_WORK", 100)
    not_tried = bp.compare(strange, inputs=X, transforms=False).diagnosis
    assert tried.mistake == not_tried.mistake == "not-explained"
    assert "with smaller inputs more can be tried" in not_tried.sentence
    assert "smaller" not in tried.sentence


def test_numbers_that_are_shown_to_differ_do():
    report = bp.compare(lambda x: x * (1 + 1e-9), lambda x: x * 1.0, inputs=X, transforms=False)
    sentence = report.diagnosis.sentence
    yours, theirs = sentence.split(" as ")[1].split(" where the reference gives ")
    assert yours != theirs.split(",")[0]
