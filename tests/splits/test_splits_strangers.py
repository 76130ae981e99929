"""Whole training loops in the forms in which they are written elsewhere."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from problems import IGNORED, language_model
from torch import nn

import bp_torch as bp


@pytest.fixture
def model():
    """Sequences of uneven lengths, the rest of each ignored."""
    return language_model()


@pytest.fixture
def regression():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return module, torch.randn(12, 3), torch.randn(12, 1), F.mse_loss


def trainer(module, cost, parts):
    """Divides by the steps, whatever each has in it: as trainers did until October 2024."""
    gradient_accumulation_steps = len(parts)
    for inputs, labels in parts:
        loss = cost(module(inputs), labels)
        (loss / gradient_accumulation_steps).backward()


def mended_trainer(module, cost, parts):
    """Adds the tokens' costs up and divides by all tokens."""
    num_items_in_batch = sum((labels != IGNORED).sum() for _, labels in parts)
    for inputs, labels in parts:
        logits, labels = module(inputs).flatten(0, 1), labels.flatten()
        loss = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
        (loss / num_items_in_batch).backward()


def by_sequences(module, cost, parts):
    sequences = sum(len(labels) for _, labels in parts)
    for inputs, labels in parts:
        (cost(module(inputs), labels) * len(labels) / sequences).backward()


@pytest.mark.parametrize("weighted", [True, False])  # told what a part counts, or finding out
def test_tokens_and_not_sequences_are_what_a_mean_is_over(model, weighted):
    options = {"weight": model.weight} if weighted else {}

    def compared(loop):
        return bp.compare_splits(
            model.module, model.x, model.y, model.cost, accumulate=loop, **options
        )

    assert compared(mended_trainer).ok
    report = compared(trainer)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "mean of means")
    assert "whatever the weights in it" in report.diagnosis.sentence
    assert "weigh each by its share of the weights" in report.diagnosis.sentence
    report = compared(by_sequences)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "samples for weights")


def micro_steps(module, cost, parts):
    """As small GPTs are trained: equal micro-batches, a scaler that is off."""
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for x, y in parts:
        loss = cost(module(x), y) / len(parts)
        scaler.scale(loss).backward()


def test_equal_micro_steps_are_right(regression):
    assert bp.compare_splits(*regression, accumulate=micro_steps, uneven=False).ok


@pytest.mark.parametrize("unscales", [True, False])
def test_a_scaled_cost_has_to_be_unscaled(regression, unscales):
    """The optimizer is the one outside: it knows the module's own parameters."""
    module, *_ = regression
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)

    def loop(module, cost, parts):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        optimizer.zero_grad()
        total = sum(len(y) for _, y in parts)
        for x, y in parts:
            scaler.scale(cost(module(x), y) * len(y) / total).backward()
        if unscales:
            scaler.unscale_(optimizer)

    report = bp.compare_splits(*regression, accumulate=loop)
    if unscales:
        assert report.ok, report
    else:
        assert (report.verdict, report.diagnosis.mistake) == ("wrong", "not unscaled"), report
        assert "65536 = 2^16 times too large" in report.diagnosis.sentence


@pytest.mark.parametrize(("factor", "verdict"), [(None, "right"), (1.0, "wrong")])
def test_under_autocast_the_digits_that_are_left_decide(regression, factor, verdict):
    def loop(module, cost, parts):
        total = sum(len(y) for _, y in parts)
        for x, y in parts:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = cost(module(x), y)
            (loss * (factor or len(y) / total)).backward()

    report = bp.compare_splits(*regression, accumulate=loop)
    assert report.verdict == verdict, report
    assert ("as under autocast" in str(report)) == (verdict == "right")


@pytest.mark.parametrize("cast", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("factor", "verdict"), [(None, "right"), (0.25, "wrong")])
def test_casts_in_the_loop_do_not_convict(regression, cast, factor, verdict):
    def loop(module, cost, parts):
        total = sum(len(y) for _, y in parts)
        for x, y in parts:
            share = torch.tensor(factor or len(y) / total, dtype=torch.float32)
            (cost(module(x), y).to(torch.float32) * share).backward()
        for parameter in module.parameters():
            parameter.grad = parameter.grad.to(cast).to(parameter.dtype)

    assert bp.compare_splits(*regression, accumulate=loop).verdict == verdict


def test_a_norm_that_is_clipped_is_a_factor(regression):
    def loop(module, cost, parts):
        total = sum(len(y) for _, y in parts)
        for x, y in parts:
            (cost(module(x), y) * len(y) / total).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1e-3)

    report = bp.compare_splits(*regression, accumulate=loop)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "factor")
    assert "as by clipping its norm" in report.diagnosis.sentence


def test_a_loop_over_another_module_leaves_no_gradient(regression):
    other = nn.Linear(3, 1)

    def loop(module, cost, parts):
        for x, y in parts:
            cost(other(x), y).backward()

    report = bp.compare_splits(*regression, accumulate=loop)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "no gradient")


def test_one_parameter_that_is_forgotten_is_named(regression):
    def loop(module, cost, parts):
        total = sum(len(y) for _, y in parts)
        for x, y in parts:
            (cost(module(x), y) * len(y) / total).backward()
        module[0].bias.grad = None

    report = bp.compare_splits(*regression, accumulate=loop)
    assert report.diagnosis.sentence == "of 0.bias alone: there is no gradient: it is 0 or missing"


def overflowing(module, cost, parts):
    """Adds the costs of all samples up, and divides what has long overflowed."""
    total = sum(len(y) for _, y in parts)
    for x, y in parts:
        (cost(module(x), y) * len(y)).backward()
    for parameter in module.parameters():
        parameter.grad /= total


def test_what_overflows_in_the_modules_own_dtype_is_a_mistake():
    module = nn.Linear(3, 1).half()
    x, y = torch.full((40, 3), 60.0).half(), torch.full((40, 1), 100.0).half()
    x[::3] *= 0.5
    report = bp.compare_splits(module, x, y, F.mse_loss, accumulate=overflowing)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "overflow"), report
    assert "in float16 the gradient of weight is not finite" in report.diagnosis.sentence

    def divided_first(module, cost, parts):
        total = sum(len(y) for _, y in parts)
        for x, y in parts:
            (cost(module(x), y) * (len(y) / total)).backward()

    assert bp.compare_splits(module, x, y, F.mse_loss, accumulate=divided_first).ok


@pytest.mark.parametrize("digits", [torch.float32, torch.bfloat16])
def test_digits_that_hide_a_mistake_leave_it_open(digits):
    """Samples that differ by a thousandth, in gradients that keep three digits."""
    x, y = torch.randn(1, 3) + 1e-3 * torch.randn(10, 3), torch.ones(10, 1)

    def loop(module, cost, parts):
        total = sum(len(y) for _, y in parts)
        for x, y in parts:
            (cost(module(x), y) * len(y) / total).backward()
        for parameter in module.parameters():
            parameter.grad = parameter.grad.to(digits).to(parameter.dtype)

    report = bp.compare_splits(nn.Linear(3, 1), x, y, F.mse_loss, accumulate=loop)
    assert report.verdict == ("right" if digits == torch.float32 else "inconclusive"), report
    assert ("which hides: " in report.reason) == (digits == torch.bfloat16)
