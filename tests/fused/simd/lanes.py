"""Vectors do not leave compiled code: a word of the language over arrays, a vector at a time."""

import numpy as np
from numba import njit

from bp_torch.fused.simd import lanes_of, load, store

DTYPES = ["float32", "float64"]
LANES = {"float32": 16, "float64": 8}


def over(word, *arrays):
    """word(vector, …) of arrays of one dtype and length, which is a multiple of the lanes."""
    out = np.full_like(arrays[0], np.nan)
    _LOOPS[len(arrays)](word)(*arrays, out)
    return out


def _loop_of_1(word):
    @njit
    def loop(a, out):
        for i in range(0, len(a), lanes_of(a)):
            store(out, i, word(load(a, i)))

    return loop


def _loop_of_2(word):
    @njit
    def loop(a, b, out):
        for i in range(0, len(a), lanes_of(a)):
            store(out, i, word(load(a, i), load(b, i)))

    return loop


def _loop_of_3(word):
    @njit
    def loop(a, b, c, out):
        for i in range(0, len(a), lanes_of(a)):
            store(out, i, word(load(a, i), load(b, i), load(c, i)))

    return loop


_LOOPS = {1: _loop_of_1, 2: _loop_of_2, 3: _loop_of_3}


def numbers(dtype, *, seed=0, count=256):
    """Of many magnitudes and both signs, with the special ones among them."""
    generator = np.random.default_rng(seed)
    drawn = generator.standard_normal(count) * 2.0 ** generator.integers(-30, 30, count)
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 0.5, 1.5, 2.5, -2.5]
    drawn[seed : seed + len(special)] = special
    return drawn.astype(dtype)


def same_bits(actual, expected):
    """Whether two arrays hold the same numbers, ±0 told apart and NaN equal to NaN."""
    return np.array_equal(actual, expected, equal_nan=True) and np.array_equal(
        np.signbit(actual) & ~np.isnan(actual), np.signbit(expected) & ~np.isnan(expected)
    )
