"""Mean and deviation, against 50 digits and against the formulas that lose them."""

import mpmath
import numpy as np
import pytest

from bp_torch.table.moments import Moments


def measured(x, blocks=7):
    moments = Moments(1)
    for block in np.array_split(x[:, None], blocks):
        moments.add(block)
    if not moments.sound:
        moments = moments.scaled(np.abs(x[np.isfinite(x)]).max(keepdims=True))
        for block in np.array_split(x[:, None], blocks):
            moments.add(block)
    return moments.mean()[0], moments.deviation()[0]


def truth(x):
    with mpmath.workdps(50):
        values = [mpmath.mpf(float(v)) for v in x]
        mean = mpmath.fsum(values) / len(values)
        square = mpmath.fsum((v - mean) ** 2 for v in values) / len(values)
        return mean, mpmath.sqrt(square)


@pytest.mark.parametrize("blocks", [1, 7, 100])
@pytest.mark.parametrize(
    ("offset", "scale"),
    [
        (0, 1),
        (1.7e9, 3),
        (1e6, 1e-3),
        (0, 1e-30),
        (1e15, 1),
        (0, 1e300),
        (0, 1e-300),
        (1e300, 1e290),
    ],
)
def test_mean_and_deviation(offset, scale, blocks):
    x = offset + scale * np.random.default_rng(0).normal(size=1000)
    mean, deviation = measured(x, blocks)
    true_mean, true_deviation = truth(x)
    assert abs(mean - true_mean) <= 2 * np.spacing(abs(float(x.max())))
    assert abs(deviation / true_deviation - 1) < 1e-14


def test_the_difference_of_sums_of_squares_is_caught():
    x = 1.7e9 + 3 * np.random.default_rng(0).normal(size=1000)
    cancelled = np.sqrt(max((x * x).mean() - x.mean() ** 2, 0))
    assert abs(cancelled / float(truth(x)[1]) - 1) > 1e-3


def test_what_is_missing_is_left_out():
    x = np.array([1.0, np.nan, 3.0, np.nan, 5.0])
    mean, deviation = measured(x, 2)
    assert (mean, deviation) == (3.0, pytest.approx(np.sqrt(8 / 3)))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 0.1, -1e-300])
def test_what_never_varies_has_deviation_1(value):
    mean, deviation = measured(np.full(1000, value), 3)
    assert mean == pytest.approx(value, rel=1e-15)
    assert deviation == 1
