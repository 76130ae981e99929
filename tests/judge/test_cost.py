"""What a function costs: bytes that can be counted by hand. Times are printed, and not tested."""

import pytest
import torch

import bp_torch as bp

SIDE = 64
BYTES = 4 * SIDE * SIDE
"""Of one tensor of the inputs' size."""
X = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0))


class Tanh(torch.autograd.Function):
    """Keeps its output alone."""

    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * (1 - y * y)


class Wasteful(Tanh):
    """Keeps three tensors more, two of them on ctx and in a list."""

    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y, y * y)
        ctx.slope, ctx.more = 1 - y * y, [x.clone(), 3]
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.slope


class Recomputing(Tanh):
    """Keeps its input, which is there anyway."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (1 - x.tanh() ** 2)


def cost(fn, **options):
    return bp.compare(fn, torch.tanh, inputs=X, transforms=False, cost=True, **options)


@pytest.mark.parametrize(("fn", "tensors"), [(Tanh, 1), (Wasteful, 4), (Recomputing, 0)])
def test_what_is_saved_for_backward_is_counted(fn, tensors):
    report = cost(fn)
    assert report.cost.saved == tensors * BYTES
    assert report.autograd_cost.saved == BYTES  # tanh keeps its output


def test_peak_memory_is_counted_with_what_is_freed_again():
    def sum_of_squares(x):
        return (x * x).sum()  # one tensor at a time, and its gradient beside it

    def of_copies(x):
        return (x.clone() * x.clone()).sum()

    few = bp.compare(sum_of_squares, inputs=X, transforms=False, cost=True).cost.peak
    many = bp.compare(of_copies, inputs=X, transforms=False, cost=True).cost.peak
    assert BYTES <= few <= 4 * BYTES
    assert many >= few + BYTES


def test_time_is_positive_and_the_report_shows_it_beside_autograds():
    report = cost(Wasteful)
    assert report.cost.forward > 0
    assert report.autograd_cost.backward > 0
    line = next(line for line in str(report).splitlines() if line.startswith("saved besides"))
    assert line.split()[-5:] == ["64", "KiB", "16", "KiB", "4.00"]
    assert all(len(line) <= 80 for line in str(report).splitlines())
    assert '"saved": 65536' in report.to_json()


def test_without_a_reference_it_stands_alone():
    report = bp.compare(torch.sin, inputs=X, transforms=False, cost=True)
    assert report.cost.saved == 0
    assert report.autograd_cost is None
    assert "yours / autograd" not in str(report)


def test_nothing_is_measured_unless_it_is_asked_for():
    assert bp.compare(torch.sin, inputs=X, transforms=False).cost is None


def test_a_wrong_one_has_a_cost_as_well_and_a_child_measures_too():
    class Wrong(Tanh):
        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0]

    report = cost(Wrong, isolate=True)
    assert report.verdict == "wrong"
    assert report.cost.saved == BYTES


def test_the_profiler_says_nothing(capfd):
    cost(Tanh)
    assert capfd.readouterr().err == ""
