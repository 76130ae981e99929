"""Inputs that are drawn: at sizes around those of tiles, and as several kinds of values."""

import torch

import bp_torch as bp


def sine(change):
    """A sine whose gradient is changed on its way out."""

    class Sine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return change(g * x.cos(), x)

    return Sine


def drawn(fn, inputs=lambda generator, n: torch.randn(n, generator=generator)):
    return bp.compare(fn, inputs=inputs, transforms=False)


def test_a_right_one_is_right_at_every_size():
    report = drawn(sine(lambda gradient, x: gradient))
    assert report.ok, report
    sizes = {row.draw for row in report.rows}
    assert {"n = 1", "n = 31", "n = 32", "n = 129", "n = 1000", "n = 0"} <= sizes
    assert {"n = 33, sorted", "n = 33, constant", "n = 33, repeated", "n = 33, skewed"} <= sizes


def test_a_tile_that_is_cut_off_is_found_and_the_report_says_where():
    def only_whole_tiles(gradient, x):
        whole = len(gradient) // 32 * 32
        return torch.cat([gradient[:whole], torch.zeros_like(gradient[whole:])])

    report = drawn(sine(only_whole_tiles))
    assert report.verdict == "wrong"
    assert report.diagnosis.mistake == "region"
    text = " ".join(str(report).split())
    assert "wrong at n = 33, 1, 2, 3, 31, 127, 129, 1000" in text
    assert "right at n = 32, 128 and 0" in text


def test_a_mistake_that_only_repeated_values_show_is_found():
    def wrong_for_repeated(gradient, x):
        return gradient / (1 if len(x.unique()) == x.numel() else 2)

    report = drawn(sine(wrong_for_repeated))
    assert report.verdict == "wrong"
    assert "33 repeated" in " ".join(str(report).split())


def test_an_empty_draw_that_the_function_refuses_is_no_mistake():
    def largest(x):
        return x * x.max()

    report = bp.compare(
        largest,
        inputs=lambda generator, n: torch.randn(n, 2, generator=generator),
        transforms=False,
    )
    assert report.verdict == "right", report
    assert any("n = 0" in str(refusal) for refusal in report.not_taken)


def test_nothing_at_all_proves_nothing():
    for fn in (torch.sigmoid, lambda x: x.sum()):
        report = bp.compare(fn, inputs=torch.zeros(0), transforms=False)
        assert report.verdict == "inconclusive"
        assert "there is nothing to judge" in report.reason
