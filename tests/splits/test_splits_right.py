"""Right code of every kind is called right, and the same code with a mistake is not."""

import loops
import pytest
from problems import JUDGED_BY, PROBLEMS, Problem

import bp_torch as bp


def compared(problem: Problem, **options):
    return bp.compare_splits(
        problem.module, problem.x, problem.y, problem.cost, weight=problem.weight, **options
    )


@pytest.fixture(params=PROBLEMS)
def name(request):
    return request.param


@pytest.fixture
def problem(name):
    return PROBLEMS[name]()


def test_every_split_gives_one_gradient(problem, name):
    report = compared(problem, ranks=())
    assert report.verdict == "right", report
    assert {row.way for row in report.rows} >= {bp.splits.Way.MICRO, bp.splits.Way.SIMULATED}
    assert report.rows[0].dtype == JUDGED_BY.get(name, "float64")


def by_weight(scale):
    """A loop that knows what each part counts."""

    def make(problem):
        loop = loops.looping(scale)
        weight = problem.weight or len
        return lambda module, cost, parts: loop(module, cost, parts, weight=weight)

    return make


def test_a_right_loop_is_right_and_a_mean_of_means_is_not(problem, name):
    report = compared(problem, accumulate=by_weight(lambda n, total, k, place: n / total)(problem))
    assert report.verdict == "right", report
    first = next(row for row in report.rows if row.way is bp.splits.Way.ACCUMULATE)
    assert first.dtype == JUDGED_BY.get(name, "float64")  # n / total of whole numbers as well
    wrong = by_weight(lambda n, total, k, place: 1 / k)(problem)
    report = compared(problem, accumulate=wrong)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "mean of means"), report
