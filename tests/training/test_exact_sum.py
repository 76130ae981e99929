"""One sum, whoever adds what."""

from fractions import Fraction

import numpy as np
import pytest

from bp_torch.training import exact_sum
from bp_torch.training.exact_sum import exact_total

SCALES = {
    "alike": (0, 1),
    "as gradients": (-30, 10),
    "far apart": (-300, 40),
    "tiny": (-1074, -900),
    "below the window": (-200, -80),
}


def numbers(scale, rows=40, columns=7, seed=0):
    rng = np.random.default_rng(seed)
    low, high = SCALES[scale]
    return np.ldexp(rng.normal(size=(rows, columns)), rng.integers(low, high, (rows, columns)))


def true(sums):
    return np.array([float(sum(map(Fraction, column))) for column in sums.T.tolist()])


def added_by(shares, **options):
    """The total that each of several processes has, which add as an all-reduce would."""
    # Each in turn, as often as they all ask for: the integers of round k are added in round k.
    rounds = []
    while True:
        asked, found = [], []
        for share in shares:
            seen = []

            def add(integers, seen=seen):
                if len(seen) == len(rounds):
                    seen.append(integers)
                    raise StopIteration
                seen.append(integers)
                return rounds[len(seen) - 1]

            try:
                found.append(exact_total(share, add, **options))
            except StopIteration:
                asked.append(seen[-1])
        if found:
            assert not asked  # all have come to the end together
            return found
        rounds.append(sum(asked))


@pytest.mark.parametrize("scale", SCALES)
def test_it_is_the_sum_rounded_once(scale):
    sums = numbers(scale)
    total, _ = exact_total(sums)
    # Rounded once, and the three digits' own sum twice more: three units at most, mostly none.
    np.testing.assert_allclose(total, true(sums), rtol=3 * 2**-53, atol=0)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("precision", [32, 56])
def test_whoever_adds_what_comes_to_the_same_bits(scale, precision):
    sums = numbers(scale)
    alone, _ = exact_total(sums, precision=precision)
    rng = np.random.default_rng(1)
    for processes in (2, 3, 4, 7, 50):
        cuts = np.sort(rng.integers(0, len(sums) + 1, processes - 1))
        shuffled = sums[rng.permutation(len(sums))]
        for found, _ in added_by(np.split(shuffled, cuts), precision=precision):
            assert found.tobytes() == alone.tobytes()


def test_floating_point_numbers_do_not():
    """What the integers are for: the same shares, added up as they are, come to other bits."""
    sums = numbers("as gradients")
    found = {
        sum(share.sum(0) for share in np.array_split(sums, processes)).tobytes()
        for processes in (1, 2, 3, 4)
    }
    assert len(found) > 1


def test_one_round_is_enough_for_gradients_as_they_are():
    rounds = []

    def add(integers):
        rounds.append(integers)
        return integers

    exact_total(np.random.default_rng(0).normal(size=(100, 33)), add)
    assert len(rounds) == 1
    assert rounds[0].shape == (exact_sum.DIGITS * 33 + 1,)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 2.0**50, -(2.0**60)])
def test_where_one_number_of_one_process_is_none_all_know(wrong):
    shares = np.split(numbers("alike"), [10, 30])
    shares[1][3, 2] = wrong
    assert all(np.isnan(total).all() for total, _ in added_by(shares))


def test_a_wish_of_one_is_known_to_all():
    shares = np.split(numbers("far apart"), [0, 30])  # the first has no rows

    def wishes(who):
        return [wish for _, wish in added_by(shares, wish=who)]

    assert wishes(False) == [False] * 3
    assert wishes(True) == [True] * 3


def test_the_largest_count_does_not_overflow():
    ones = np.full((2**12, 1), 2.0**49)
    total, _ = exact_total(ones)
    assert total[0] == 2.0**61
