"""A share of every class is held out, by what the rows hold."""

import numpy as np
import pytest

from bp_torch.table.split import hash_rows, held_out

RNG = np.random.default_rng(0)


def bits(values):
    return (np.asarray(values, float) + 0.0).view(np.uint64)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.5, 0.999])
def test_the_share_is_exact_in_every_class(share):
    groups = RNG.choice(3, 1000, p=[0.9, 0.09, 0.01]).astype(np.int16)
    out = held_out(RNG.integers(0, 2**63, 1000).astype(np.uint64), groups, share)
    for group in range(3):
        size = (groups == group).sum()
        assert out[groups == group].sum() == min(round(share * size), size - 1)


def test_rows_that_are_all_alike_are_split_as_well():
    out = held_out(np.zeros(100, np.uint64), np.zeros(100, np.int16), 0.2)
    assert out.sum() == 20


@pytest.mark.parametrize("columns", [1, 5])
def test_small_whole_numbers_are_spread_evenly(columns):
    rows = 20_000
    hashes = hash_rows([bits(np.arange(rows) // 7 + c) for c in range(columns)], rows)[::7]
    tenths = np.histogram(hashes / 2.0**64, 10, (0, 1))[0]
    # Some 286 in each tenth, give or take 16; six of these would be one chance in 10⁸.
    assert abs(tenths - len(hashes) / 10).max() < 6 * np.sqrt(len(hashes) / 10)


def test_a_row_is_known_by_each_of_its_columns_and_their_order():
    one = hash_rows([bits([1, 2]), bits([2, 1])], 2)
    assert one[0] != one[1]
    assert hash_rows([bits([0.0])], 1) == hash_rows([bits([-0.0])], 1)
