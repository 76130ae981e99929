"""The report reads well in a terminal of 80 columns, and says the number."""

import loops
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import bp_torch as bp
from bp_torch.splits.cuts import Cut, backwards, even, sampled, shuffled, strided, uneven


@pytest.fixture
def regression():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return module, torch.randn(10, 3), torch.randn(10, 1), F.mse_loss


def test_the_text_of_a_right_one(regression):
    text = str(bp.compare_splits(*regression))
    lines = text.splitlines()
    assert lines[0] == "right: one gradient, however the samples are split"
    assert lines[2].split() == ["split", "dtype", "off", "by", "of", "rounding"]
    assert [line.split(":")[0] for line in lines[3:9]] == [
        *("micro-batches", "simulated ranks", "another order", "real ranks"),
        *("micro-batches", "simulated ranks"),  # in float32
    ]
    assert lines[-2].startswith("truth: the gradient of all 10 samples at once, in float64; right")
    assert max(map(len, lines)) <= 80


def test_the_text_of_a_wrong_one(regression):
    never = loops.looping(lambda n, total, k, place: 1)
    report = bp.compare_splits(*regression, accumulate=never)
    text = str(report)
    assert text.startswith("wrong: the gradient is some 4 times too large: the cost of each of 4")
    assert max(map(len, text.splitlines())) <= 80
    first = report.rows[-4]
    assert (first.split, first.verdict) == ("accumulate: 4, 3, 2 and 1", "wrong")
    assert first.error > 1e8
    assert first.relative > 0.1
    assert first.parameter in dict(regression[0].named_parameters())
    assert "4 times too large" in first.mistake
    assert "3 times too large" in report.rows[-3].mistake  # each row has its own number


def test_long_lists_of_parts_and_names_stay_short():
    module = nn.Sequential(*(nn.Linear(3, 3) for _ in range(9)), nn.Linear(3, 1))

    def forgetting(module, cost, parts):
        loops.right(module, cost, parts)
        for layer in module[:8]:
            layer.weight.grad *= 2

    problem = (module, torch.randn(40, 3), torch.randn(40, 1), F.mse_loss)
    report = bp.compare_splits(*problem, accumulate=forgetting)
    assert "of 0.weight, 1.weight, 2.weight, 3.weight, 4.weight and 3 more alone:" in str(
        report.diagnosis
    )
    assert max(map(len, str(report).splitlines())) <= 80


@pytest.mark.parametrize("n", [2, 3, 5, 10, 37])
def test_every_cut_has_every_sample_once(n):
    for parts in range(1, min(n, 9)):
        cuts = [even(n, parts), uneven(n, parts), strided(n, parts), backwards(n, parts)]
        for cut in (*cuts, shuffled(n, parts, seed=0)):
            assert cut.counts(n) == [1] * n
            assert len(cut) == parts
            assert min(cut.sizes) >= 1
    assert uneven(10, 4).sizes == (4, 3, 2, 1)
    assert even(10, 3).sizes == (4, 3, 3)


def test_a_cut_says_its_sizes():
    assert str(uneven(10, 4)) == "4, 3, 2 and 1"
    assert str(even(9, 3)) == "3 × 3"
    assert str(even(10, 1)) == "10"
    padded = sampled(lambda n, rank, ranks: [(rank + k * ranks) % n for k in range(2)], 3, 2)
    assert padded == Cut(((0, 2), (1, 0)))
    assert padded.counts(3) == [2, 1, 1]
