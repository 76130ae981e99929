import operator
from fractions import Fraction

import numpy as np
import pytest
from lanes import DTYPES, LANES, numbers, over, same_bits
from numba import njit
from numba.core.errors import TypingError

from bp_torch.fused.simd import (
    aligned_zeros,
    at_most,
    keep_first,
    load,
    magnitude,
    multiply_add,
    nearest_integer,
    per_dtype,
    polynomial,
    power_of_two,
    store,
    total,
    totals,
    where_negative,
)

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of NaN and infinity


def compiled(word):
    return njit(word)


ADD, SUB = compiled(lambda a, b: a + b), compiled(lambda a, b: a - b)
MUL, DIV = compiled(lambda a, b: a * b), compiled(lambda a, b: a / b)
OPERATORS = {ADD: operator.add, SUB: operator.sub, MUL: operator.mul, DIV: operator.truediv}


@each_dtype
@pytest.mark.parametrize("word", OPERATORS, ids=[o.__name__ for o in OPERATORS.values()])
def test_operators_are_numpys(word, dtype):
    a, b = numbers(dtype), numbers(dtype, seed=100)
    assert same_bits(over(word, a, b), OPERATORS[word](a, b))
    others = {other(a, b).tobytes() for other in OPERATORS.values()}
    assert len(others) == len(OPERATORS)  # one would not pass for another


@each_dtype
def test_a_number_stands_for_a_vector_of_it(dtype):
    a, three, one = numbers(dtype), np.dtype(dtype).type(3), np.dtype(dtype).type(1)
    assert same_bits(over(compiled(lambda a: a - 3.0), a), a - three)
    assert same_bits(over(compiled(lambda a: 3.0 - a), a), three - a)
    assert same_bits(over(compiled(lambda a: 1.0 / a), a), one / a)
    assert same_bits(over(compiled(lambda a: at_most(a, 1)), a), np.where(a > 1, one, a))


def test_vectors_of_two_dtypes_do_not_mix():
    @njit
    def mixed(a, b):
        store(a, 0, load(a, 0) + load(b, 0))

    with pytest.raises(TypingError, match="vectors of one kind"):
        mixed(numbers("float32"), numbers("float64"))


@each_dtype
def test_multiply_add_rounds_once_or_as_two_operations(dtype):
    a, b, c = (numbers(dtype, seed=seed)[32:64] for seed in (0, 1, 2))
    c = -(a * b)  # what is left is the rounding error of the product, or nothing
    rows = (map(Fraction, map(float, abc)) for abc in zip(a, b, c, strict=True))
    exact = np.array([float(x * y + z) for x, y, z in rows], dtype)
    actual = over(compiled(lambda a, b, c: multiply_add(a, b, c)), a, b, c)
    assert np.array_equal(actual, exact) or np.array_equal(actual, np.zeros_like(a))
    assert exact.any()


WORDS = {
    "magnitude": (compiled(lambda a: magnitude(a)), np.abs),
    "nearest_integer": (compiled(lambda a: nearest_integer(a)), np.rint),
}


@each_dtype
@pytest.mark.parametrize(("word", "numpys"), WORDS.values(), ids=WORDS)
def test_words_are_numpys(word, numpys, dtype):
    a = numbers(dtype)
    assert same_bits(over(word, a), numpys(a))
    assert not same_bits(over(word, a), a)


@each_dtype
def test_at_most_keeps_nan(dtype):
    a, limit = numbers(dtype), numbers(dtype, seed=100)
    actual = over(compiled(lambda a, limit: at_most(a, limit)), a, limit)
    assert same_bits(actual, np.where(a > limit, limit, a))
    assert not same_bits(actual, np.fmin(a, limit))  # that prefers a number to NaN


@each_dtype
def test_where_negative_takes_neither_zero_nor_nan_for_negative(dtype):
    z, a, b = (numbers(dtype, seed=seed) for seed in (0, 50, 100))
    actual = over(compiled(lambda z, a, b: where_negative(z, a, b)), z, a, b)
    assert same_bits(actual, np.where(z < 0, a, b))
    assert not same_bits(actual, np.where(np.signbit(z), a, b))


@each_dtype
def test_powers_of_two_are_exact_over_all_normal_numbers(dtype):
    info = np.finfo(dtype)
    k = np.arange(info.minexp, info.maxexp, dtype=dtype)
    k = np.resize(k, -(-len(k) // LANES[dtype]) * LANES[dtype])
    expected = np.ldexp(np.ones_like(k), k.astype(int))
    assert np.array_equal(over(compiled(lambda k: power_of_two(k)), k), expected)


def first_lanes(count, dtype, extra=0):
    @njit
    def kept(a, out):
        store(out, 0, keep_first(load(a, 0), count + extra))

    a, out = np.arange(1, LANES[dtype] + 1, dtype=dtype), np.zeros(LANES[dtype], dtype)
    kept(a, out)
    return out.tolist()


@each_dtype
def test_keep_first_keeps_so_many_and_no_more(dtype):
    lanes = LANES[dtype]
    for count in range(lanes + 1):
        expected = [*range(1, count + 1), *[0] * (lanes - count)]
        assert first_lanes(count, dtype) == expected
        assert count == lanes or first_lanes(count, dtype, extra=1) != expected


@each_dtype
def test_keep_first_drops_nan(dtype):
    """A product with 0 would keep it."""
    a = np.full(LANES[dtype], np.nan, dtype)
    assert over(compiled(lambda a: keep_first(a, 0)), a).tolist() == [0] * len(a)


@each_dtype
def test_total_adds_halves(dtype):
    @njit
    def summed(a):
        return total(load(a, 0))

    a = np.exp2(np.arange(LANES[dtype]) * 7).astype(dtype) / 3
    halves = a
    while len(halves) > 1:
        halves = halves[: len(halves) // 2] + halves[len(halves) // 2 :]
    assert summed(a) == halves[0]
    assert summed(a) != a[:-1].sum()


@each_dtype
def test_totals_has_a_lane_for_each_row(dtype):
    @njit
    def summed(a, out):
        store(out, 0, totals(a))

    lanes = LANES[dtype]
    rows = np.random.default_rng(0).standard_normal((lanes, lanes)).astype(dtype)
    out = np.zeros(lanes, dtype)
    summed(rows.ravel(), out)
    pairs = rows
    while pairs.shape[1] > 1:
        pairs = pairs[:, ::2] + pairs[:, 1::2]
    assert np.array_equal(out, pairs[:, 0])
    assert not np.allclose(out, rows.sum(axis=0))  # nor for each column


@each_dtype
def test_constants_and_polynomials_are_those_of_the_dtype(dtype):
    constant = per_dtype(32.5, 64.5)
    cubic = polynomial([1.0, 2.0, 4.0], [1.0, 2.0, 4.0, 8.0])
    a = np.arange(LANES[dtype], dtype=dtype)
    assert set(over(compiled(lambda a: constant(a)), a)) == {8 * a.itemsize + 0.5}
    expected = 1 + 2 * a + 4 * a**2 + (8 * a**3 if dtype == "float64" else 0)
    assert np.array_equal(over(compiled(lambda a: cubic(a)), a), expected)


@each_dtype
def test_aligned_zeros_feed_vectors(dtype):
    @njit
    def run(a):
        room = aligned_zeros(a, len(a))
        store(room, 0, load(a, 0))
        return room

    a = np.arange(LANES[dtype], dtype=dtype)
    room = run(a)
    assert np.array_equal(room, a)
    assert room.ctypes.data % 64 == 0
