"""A sum that does not depend on who adds what: the same bits for any number of processes.

Floating-point addition is not associative, so every other way to share out a batch would give other
last places. Integers are: each number is cut into three integers, which are added up as integers,
by whoever and in whatever order, and the total is rounded once.

Source: Kulisch (2013), "Computer Arithmetic and Validity", §8 (the long accumulator); here a window
of it, which moves down where numbers are so small that they do not show in it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]

DIGIT = 42
"""Bits of one integer, so that 2²⁰ of them can be added in 63."""
DIGITS = 3
TOP = 50
"""Numbers of 2⁵⁰ and more are not added; a descent in which they come up has diverged."""
BOTTOM = TOP - DIGITS * DIGIT

COUNTER = 20
"""Bits of each of the three counters in the last integer."""


def exact_total(
    sums: Numbers,
    add: Callable[[Integers], Integers] = lambda integers: integers,
    *,
    precision: int = 56,
    wish: bool = False,
) -> tuple[Numbers, bool]:
    """Σ over the rows of all processes, (n,), and whether any of them has a wish.

    Args:
        sums: the rows of this process, (any number, n).
        add: the sum of an array of integers over all processes; nothing of it is left to chance.
            It is called once, where every number shows in the window to its precision, and again
            for what is below it.
        precision: bits of each number that must show.
        wish: of this process.

    Where a number of any process is 2⁵⁰ or more, or not finite, the totals are NaN.
    """
    bad = not (np.abs(sums) < 2.0**TOP).all()
    rest = np.where(np.isfinite(sums), sums, 0.0) if bad else sums
    total, wished, is_bad = np.zeros(sums.shape[1]), False, False
    bottom = BOTTOM
    while True:
        digits, rest, lost = _digits(rest, bottom, precision)
        counted = int(lost) | int(bad) << COUNTER | int(wish) << 2 * COUNTER
        added = add(np.append(digits.reshape(-1), counted))
        total += _value(added[:-1].reshape(DIGITS, -1), bottom)
        again, are_bad, wishes = (
            int(added[-1]) >> shift & (1 << COUNTER) - 1 for shift in (0, COUNTER, 2 * COUNTER)
        )
        wished, is_bad = wished or wishes > 0, is_bad or are_bad > 0
        if is_bad:
            return np.full_like(total, np.nan), wished
        if not again:
            return total, wished
        bottom -= DIGITS * DIGIT


def _digits(numbers: Numbers, bottom: int, precision: int) -> tuple[Integers, Numbers, bool]:
    """Three integers for each column's sum, what is left of each number below 2^bottom, and whether
    that matters to any. All of it is exact."""
    rest = np.ldexp(numbers, -bottom)
    lost_below = 2.0 ** (precision - 1)
    small = np.abs(rest) < lost_below
    found = []
    for place in (2 * DIGIT, DIGIT, 0):
        digit = np.rint(np.ldexp(rest, -place))
        rest = rest - np.ldexp(digit, place)
        found.append(digit.astype(np.int64).sum(0))
    lost = bool((small & (rest != 0)).any())
    return np.stack(found), np.ldexp(rest, bottom), lost


def _value(digits: Integers, bottom: int) -> Numbers:
    high, middle, low = digits.astype(np.float64)
    below = np.ldexp(middle, DIGIT + bottom) + np.ldexp(low, bottom)
    return np.asarray(np.ldexp(high, 2 * DIGIT + bottom) + below)
