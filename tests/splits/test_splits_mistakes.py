"""Each planted mistake is caught, and called by its name, with its number."""

import loops
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import bp_torch as bp


@pytest.fixture
def regression():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return module, torch.randn(11, 3), torch.randn(11, 1), F.mse_loss


@pytest.mark.parametrize("name", loops.WRONG)
def test_a_planted_mistake_is_named(regression, name):
    loop, mistake, said = loops.WRONG[name]
    report = bp.compare_splits(*regression, accumulate=loop)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", mistake), report
    assert said in report.diagnosis.sentence


def test_what_one_part_happens_to_show_is_no_name():
    """The first of four counts a tenth here, and so does all of a single part."""
    module, x, y = nn.Linear(3, 2), torch.randn(10, 3), torch.randn(10, 2)
    loop, mistake, _ = loops.WRONG["weighed by place"]
    report = bp.compare_splits(module, x, y, F.mse_loss, accumulate=loop)
    assert report.diagnosis.mistake == mistake


def test_a_gradient_of_few_numbers_is_not_explained_away():
    """Four parts' gradients span all that four parameters can have."""

    def cubed(module, cost, parts):
        loops.right(module, cost, parts)
        for parameter in module.parameters():
            parameter.grad **= 3

    module, x, y = nn.Linear(3, 1), torch.randn(10, 3), torch.randn(10, 1)
    report = bp.compare_splits(module, x, y, F.mse_loss, accumulate=cubed)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "unnamed")


def test_the_right_loop_beside_them_is_right(regression):
    report = bp.compare_splits(*regression, accumulate=loops.right)
    assert report.ok, report


def test_what_is_right_of_equal_parts_is_right_where_all_are_equal(regression):
    module, x, y, cost = regression
    mean_of_means = loops.looping(lambda n, total, k, place: 1 / k)
    even = (module, x[:10], y[:10], cost)
    assert bp.compare_splits(*even, accumulate=mean_of_means, uneven=False).ok
    assert not bp.compare_splits(*even, accumulate=mean_of_means).ok
    never = loops.looping(lambda n, total, k, place: 1)
    report = bp.compare_splits(*even, accumulate=never, uneven=False)
    assert "the gradient is 5 times too large" in str(report.diagnosis)
    assert "(cost / 5).backward()" in str(report.diagnosis)
