"""Which rows are held out: a share of every class, by what the rows hold and not where they stand.

So the same rows are held out whether a table is one file or many, sorted or shuffled, CSV or a
frame.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio (Knuth 1998, TAOCP 3, §6.4)
HALF = np.uint64(32)


def hash_rows(columns: Iterable[NDArray[np.uint64]], rows: int) -> NDArray[np.uint64]:
    """A hash of each row, multiplicative and folded for each of its columns."""
    hashes = np.zeros(rows, np.uint64)
    for bits in columns:
        hashes ^= bits
        hashes *= FACTOR
        hashes ^= hashes >> HALF
    hashes *= FACTOR
    hashes ^= hashes >> HALF
    return hashes


def held_out(
    hashes: NDArray[np.uint64], groups: NDArray[np.int16], share: float
) -> NDArray[np.bool_]:
    """Which rows are held out: of each group the share with the smallest hashes, rounded, and
    never all of it.

    Of rows with the same hash, which hold the same, the first are taken.
    """
    out = np.zeros(len(hashes), bool)
    for group in np.unique(groups):
        members = groups == group
        of_group = hashes[members]
        wanted = min(round(share * len(of_group)), len(of_group) - 1)
        if not wanted:
            continue
        last = np.partition(of_group, wanted - 1)[wanted - 1]
        chosen = of_group < last
        equal = np.flatnonzero(of_group == last)
        chosen[equal[: wanted - int(chosen.sum())]] = True
        out[members] = chosen
    return out
