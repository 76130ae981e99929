"""e^{−a} and ln(1 + e) against 50 digits, in the last places of float32 and float64."""

import math

import numpy as np
import pytest
import torch
from errors import in_ulp
from lanes import DTYPES, over
from mpmath import mp
from numba import njit
from tolerances import ELEMENTARY_ULP
from truth import to_50_digits

from bp_torch.fused.simd import elementary, exp_minus, log_1_plus, polynomial

each_dtype = pytest.mark.parametrize("dtype", DTYPES)

EXP, LOG = njit(lambda a: exp_minus(a)), njit(lambda e: log_1_plus(e))
VANISHING = {"float32": 104.0, "float64": 746.0}


def error(word, truth, numbers):
    """In ULP of the truth."""
    expected = to_50_digits(truth, torch.from_numpy(numbers))
    actual = torch.from_numpy(over(word, numbers))
    return in_ulp(actual, expected.to(actual.dtype))


def spread(dtype, end):
    """From 0 to the end, dense near 0 as well."""
    small = np.geomspace(1e-12, 1, 512)
    return np.concatenate((small, np.linspace(0, end, 2048))).astype(dtype)


def exp_of(a):
    return mp.exp(-a)


def log_of(e):
    return mp.log1p(e)


@each_dtype
def test_exp_is_exact_down_to_the_smallest_number(dtype):
    numbers = spread(dtype, VANISHING[dtype])
    assert error(EXP, exp_of, numbers) <= ELEMENTARY_ULP["exp_minus"]


@each_dtype
def test_exp_ends_in_0_and_keeps_nan(dtype):
    a = np.resize(np.array([0, VANISHING[dtype], 1e30, np.inf, np.nan], dtype), 16)
    assert over(EXP, a)[:4].tolist() == [1, 0, 0, 0]
    assert np.isnan(over(EXP, a)[4])


@each_dtype
def test_log_is_exact_from_0_to_1(dtype):
    assert error(LOG, log_of, spread(dtype, 1.0)) <= ELEMENTARY_ULP["log_1_plus"]


def shorter(terms, coefficient):
    """The series of float32 and float64 with some terms too few."""
    return polynomial(*([coefficient(k) for k in range(n)] for n in terms))


SLIPS = {
    "exp_minus": ("exp_series", shorter((7, 13), lambda k: 1 / math.factorial(k)), exp_of, 50.0),
    "log_1_plus": ("atanh_series", shorter((6, 14), lambda k: 1 / (2 * k + 1)), log_of, 1.0),
}


@each_dtype
@pytest.mark.parametrize("word", SLIPS)
def test_a_series_cut_short_is_caught(word, dtype, monkeypatch):
    name, series, truth, end = SLIPS[word]
    monkeypatch.setattr(elementary, name, series)
    wrong = njit(getattr(elementary, word).py_func)
    assert error(wrong, truth, spread(dtype, end)) > ELEMENTARY_ULP[word]
