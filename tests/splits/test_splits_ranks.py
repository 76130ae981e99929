"""Real ranks: what is right there, what is planted, and what dies."""

import multiprocessing
import sys

import pytest
import rank_functions
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from rank_functions import FAILING, RIGHT, RIGHT_OF_EQUAL_PARTS, WRONG, weighted
from torch import nn
from torch.utils.data import DistributedSampler

import bp_torch as bp
from bp_torch.splits import Way, ranks

pytestmark = pytest.mark.skipif(
    bool(ranks.why_not_here(torch.device("cpu"))), reason="real ranks are forked, and use gloo"
)


@pytest.fixture
def regression():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return module, torch.randn(10, 3), torch.randn(10, 1), F.mse_loss


def rows_of(report, way):
    return [row for row in report.rows if row.way is way]


def test_two_and_three_real_ranks_are_part_of_the_default(regression):
    report = bp.compare_splits(*regression)
    assert report.ok, report
    assert [row.parts for row in rows_of(report, Way.REAL)] == ["7 and 3", "6, 3 and 1", "5 and 5"]


@pytest.mark.parametrize("name", RIGHT)
def test_right_functions_are_right(regression, name):
    report = bp.compare_splits(*regression, on_rank=RIGHT[name], ranks=2)
    assert report.ok, report
    assert len(rows_of(report, Way.ON_RANK)) == 4  # uneven, even, a rank without samples, float32


@pytest.mark.parametrize("name", RIGHT_OF_EQUAL_PARTS)
def test_an_average_over_ranks_is_right_of_equal_parts(regression, name):
    report = bp.compare_splits(*regression, on_rank=RIGHT_OF_EQUAL_PARTS[name], uneven=False)
    assert report.ok, report
    assert ("loses digits" in str(report)) == (name == "all_reduce, compressed")


@pytest.mark.parametrize("name", WRONG)
def test_a_planted_mistake_is_named(regression, name):
    function, mistake, said = WRONG[name]
    report = bp.compare_splits(*regression, on_rank=function, ranks=2)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", mistake), report
    assert said in report.diagnosis.sentence


@pytest.mark.parametrize("name", FAILING)
def test_a_rank_that_fails_is_a_finding_in_one_line(regression, name, monkeypatch):
    monkeypatch.setattr(ranks, "LINGER", 0.1)
    function, said = FAILING[name]
    report = bp.compare_splits(*regression, on_rank=function, ranks=2, timeout=1)
    assert report.verdict == "inconclusive"
    assert report.reason.startswith(f"on 2 ranks with 7 and 3 samples {said}")
    assert "\n" not in report.reason
    assert multiprocessing.active_children() == []


def test_a_parameter_that_gets_no_gradient_keeps_ddp_from_reducing(regression):
    module, x, y, cost = regression
    module.register_parameter("spare", nn.Parameter(torch.ones(2)))
    even = (module, x, y, cost)
    report = bp.compare_splits(*even, on_rank=rank_functions.ddp, ranks=2, uneven=False)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "not reduced"), report
    assert "waits for a parameter that gets no gradient" in report.diagnosis.sentence


def of_torch(drop_last):
    return lambda n, rank, ranks: DistributedSampler(
        range(n), ranks, rank, shuffle=False, drop_last=drop_last
    )


@pytest.mark.parametrize(
    ("drop_last", "mistake", "said"),
    [
        (
            False,
            "padded sampler",
            "samples 0 and 1, which count twice: its 3 ranks take 12",
        ),
        (True, "samples dropped", "leaves out sample 9: its 3 ranks take 9 of 10 samples"),
    ],
)
@pytest.mark.parametrize("on_rank", [None, RIGHT_OF_EQUAL_PARTS["all_reduce, averaged"]])
def test_a_sampler_that_pads_or_drops_is_named(regression, drop_last, mistake, said, on_rank):
    options = {"sampler": of_torch(drop_last), "on_rank": on_rank}
    report = bp.compare_splits(*regression, **options)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", mistake), report
    assert said in report.diagnosis.sentence
    report = bp.compare_splits(*regression, ranks=2, **options)
    assert report.ok
    assert "11 samples" in report.warnings[0]  # where the ranks do not divide their number


def test_a_sampler_that_gives_every_sample_once_is_right(regression):
    every = bp.compare_splits(
        *regression, sampler=lambda n, rank, ranks: range(rank, n, ranks), on_rank=weighted
    )
    assert every.ok, every
    assert every.warnings == ()


class Scaled(nn.Linear):
    """A parameter of the cost itself, whose gradient is 0/0 where there are no samples."""

    def __init__(self):
        super().__init__(3, 1)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return super().forward(x), self.scale


def scaled_cost(output, y):
    return output[1].exp() * F.mse_loss(output[0], y)


@pytest.mark.parametrize(
    ("make", "on_rank", "said"),
    [
        (None, rank_functions.at_least_one, "the gradient is another one"),
        (Scaled, weighted, "the gradient is NaN on every rank: the mean over nothing is 0/0"),
    ],
)
def test_a_rank_without_samples_is_a_warning_or_part_of_the_verdict(
    regression, make, on_rank, said
):
    _, x, y, _ = regression
    problem = (make(), x, y, scaled_cost) if make else regression
    assert bp.compare_splits(*regression, on_rank=weighted, ranks=2, empty=True).ok
    report = bp.compare_splits(*problem, on_rank=on_rank, ranks=2)
    assert report.verdict == "right"
    assert f"with a rank that has no samples {said}" in report.warnings[0]
    report = bp.compare_splits(*problem, on_rank=on_rank, ranks=2, empty=True)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "rank without samples")


def test_a_module_that_knows_its_rank_is_told(regression):
    class Ranked(nn.Linear):
        def forward(self, x):
            return super().forward(x) * (1 + (dist.is_initialized() and dist.get_rank()))

    report = bp.compare_splits(Ranked(3, 1), *regression[1:])
    assert report.verdict == "inconclusive"
    assert "depend on the process that they run in" in report.reason


def test_our_own_way_takes_a_rank_without_samples():
    problem = (Scaled(), torch.randn(4, 3), torch.randn(4, 1), scaled_cost)
    report = bp.compare_splits(
        *problem, sampler=lambda n, rank, ranks: range(n) if rank == 1 else []
    )
    assert report.ok, report
    assert [row.parts for row in rows_of(report, Way.REAL)] == ["0 and 4", "0, 4 and 0"]


def test_where_no_ranks_can_be_had_the_report_says_so(regression, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    report = bp.compare_splits(*regression)
    assert report.ok
    assert f"real ranks: {sys.platform} does not fork processes" in report.not_covered[0]
    report = bp.compare_splits(*regression, on_rank=weighted)
    assert report.verdict == "inconclusive"
    assert "on_rank needs real ranks" in report.reason
