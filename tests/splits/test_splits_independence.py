"""Where there is no one gradient, it is said why, and nobody is called wrong."""

import loops
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from problems import IGNORED
from torch import nn

import bp_torch as bp

X, Y = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)), torch.ones(10, 1)


def normalised():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))


def test_batch_norm_is_named_and_called_nobodys_mistake():
    report = bp.compare_splits(normalised(), X, Y, F.mse_loss)
    assert report.verdict == "inconclusive"
    assert report.reason.startswith("1 (BatchNorm1d) normalises each part by that part's own mean")
    assert "SyncBatchNorm" in report.reason
    assert [row.parts for row in report.rows if row.verdict != "inconclusive"] == ["10"]
    assert "more than 1 value per channel" in " ".join(report.not_covered)  # a part of one sample
    assert bp.compare_splits(normalised().eval(), X, Y, F.mse_loss).ok


def test_a_loop_over_batch_norm_is_judged_by_what_can_be_had():
    report = bp.compare_splits(normalised(), X, Y, F.mse_loss, accumulate=loops.right)
    assert report.verdict == "inconclusive", report
    assert "BatchNorm1d" in report.reason
    never = loops.looping(lambda n, total, k, place: 1)
    report = bp.compare_splits(normalised(), X, Y, F.mse_loss, accumulate=never)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "not divided"), report
    assert "BatchNorm1d" in " ".join(report.findings)


def test_a_factor_over_batch_norm_is_one_of_what_can_be_had():
    scaled = loops.looping(lambda n, total, k, place: 2.0**16 * n / total)
    report = bp.compare_splits(normalised(), X, Y, F.mse_loss, accumulate=scaled)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "not unscaled"), report


def test_a_whole_batch_that_is_put_together_again_is_right_all_the_same():
    def gathered(module, cost, parts):
        x, y = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        cost(module(x), y).backward()

    def contrastive(output, y):
        return F.cross_entropy(output @ output.t(), torch.arange(len(output)))

    report = bp.compare_splits(nn.Linear(3, 2), X, Y, contrastive)
    assert report.verdict == "inconclusive"
    assert "the samples are not independent" in report.reason
    report = bp.compare_splits(nn.Linear(3, 2), X, Y, contrastive, accumulate=gathered)
    assert [row.verdict for row in report.rows if row.way is bp.splits.Way.ACCUMULATE] == [
        "right"
    ] * 4


def test_dropout_is_named():
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    report = bp.compare_splits(module, X, Y, F.mse_loss)
    assert report.verdict == "inconclusive"
    assert "1 (Dropout) drops at random; compare module.eval()" in report.reason
    assert bp.compare_splits(module.eval(), X, Y, F.mse_loss).ok


def test_a_loop_that_draws_random_numbers_is_not_convicted():
    def loop(module, cost, parts):
        module.train()
        loops.right(module, cost, parts)

    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1)).eval()
    report = bp.compare_splits(module, X, Y, F.mse_loss, accumulate=loop)
    assert report.verdict == "inconclusive"
    assert report.reason.startswith("two runs of accumulate differ")
    assert not module.training


def test_what_keeps_something_from_run_to_run_is_told():
    module = nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 4)), nn.Linear(4, 1))
    report = bp.compare_splits(module, X, Y, F.mse_loss)
    assert report.verdict == "inconclusive"
    assert "or keep something from run to run" in report.reason


LABELS = torch.tensor([0, 1, IGNORED, 2, 1, 0, IGNORED, IGNORED, 1, 2])
WEIGHTS = torch.tensor([1.0, 2.0, 0.5])


@pytest.mark.parametrize(
    ("cost", "y", "weight"),
    [
        (F.cross_entropy, LABELS, lambda y: (y != IGNORED).sum()),
        (nn.CrossEntropyLoss(weight=WEIGHTS), LABELS, lambda y: WEIGHTS[y[y != IGNORED]].sum()),
    ],
)
def test_a_weighted_mean_is_combined_with_its_weights(cost, y, weight):
    report = bp.compare_splits(nn.Linear(3, 3), X, y, cost)
    assert report.verdict == "inconclusive"
    assert "combine with the sum of the weights" in report.reason
    assert bp.compare_splits(nn.Linear(3, 3), X, y, cost, weight=weight).ok
    wrong = bp.compare_splits(nn.Linear(3, 3), X, y, cost, weight=lambda y: 1 + weight(y))
    assert wrong.verdict == "inconclusive"


class Scaled(nn.Linear):
    """With a parameter of the cost itself, whose gradient is 0/0 where nothing counts."""

    def __init__(self):
        super().__init__(3, 3)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return super().forward(x), self.scale


def scaled_cost(output, y):
    return output[1].exp() * F.cross_entropy(output[0], y)


def test_a_part_that_weighs_nothing_is_left_out():
    y = torch.where(torch.arange(10) == 9, IGNORED, LABELS)  # the last part, alone

    def adding(divisor):
        def accumulate(module, cost, parts):
            total = sum((y != IGNORED).sum() for _, y in parts)
            for x, y in parts:
                weight = (y != IGNORED).sum()
                if weight:
                    (cost(module(x), y) * weight / divisor(total)).backward()

        return accumulate

    right, wrong = adding(lambda total: total), adding(lambda total: 1)
    for weight in (None, lambda y: (y != IGNORED).sum()):
        problem = (Scaled(), X, y, scaled_cost)
        assert bp.compare_splits(*problem, accumulate=right, weight=weight).ok
        report = bp.compare_splits(*problem, accumulate=wrong, weight=weight)
        assert report.verdict == "wrong"
    assert bp.compare_splits(Scaled(), X, y, scaled_cost, weight=weight).ok


def test_a_sum_is_no_mean_and_its_parts_add_up():
    def total(output, y):
        return F.mse_loss(output, y, reduction="sum")

    report = bp.compare_splits(nn.Linear(3, 1), X, Y, total)
    assert report.verdict == "inconclusive"
    assert "adds up over the samples and is no mean" in report.reason
    adding = loops.looping(lambda n, all_of_them, k, place: 1)
    assert bp.compare_splits(nn.Linear(3, 1), X, Y, total, accumulate=adding).ok
    dividing = loops.looping(lambda n, all_of_them, k, place: 1 / k)
    report = bp.compare_splits(nn.Linear(3, 1), X, Y, total, accumulate=dividing)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "divided twice")
    assert "is a sum over the samples and no mean" in report.diagnosis.sentence


def test_where_samples_are_alike_a_mistake_could_not_be_seen():
    mean_of_means = loops.looping(lambda n, total, k, place: 1 / k)
    for loop in (mean_of_means, loops.right):
        report = bp.compare_splits(
            nn.Linear(3, 1), X[:1].expand(10, 3), Y, F.mse_loss, accumulate=loop
        )
        assert report.verdict == "inconclusive"
        assert "so would be a mistake (mean of means)" in report.reason


def test_a_gradient_of_0_tells_nothing():
    module = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    nn.init.constant_(module[0].bias, -100.0)
    report = bp.compare_splits(module, X, torch.zeros(10, 2), F.mse_loss)
    assert report.verdict == "inconclusive"
    assert report.reason.startswith("the gradient is 0 for every sample")
