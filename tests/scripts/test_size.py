"""x is more than a cache holds, or it is said that it is not."""

import pytest
from benchmarks.benchmark import Options
from benchmarks.data import LEAST, QUICK, TIMES, size, size_here
from benchmarks.machine import Cache

MIB = 2**20
LARGE = 64 * 1024 * MIB


def planted(cache, available=LARGE, device="cpu"):
    return size(Cache(cache * MIB, "planted"), available, LEAST[device])


@pytest.mark.parametrize(
    ("cache", "device", "expected"),
    [(32, "cpu", 256), (64, "cpu", 256), (480, "cpu", 1920), (50, "cuda", 4096)],
)
def test_x_is_four_times_the_cache_and_at_least_so_much(cache, device, expected):
    found = planted(cache, device=device)
    assert found.x == expected * MIB
    assert found.reached
    assert "not 4 times" not in str(found)


def test_a_fixed_size_would_lie_in_a_large_cache():
    fixed = 256 * MIB
    assert fixed < TIMES * 480 * MIB <= planted(480).x


def test_little_memory_gives_a_quarter_of_it_and_says_so():
    found = planted(480, available=4096 * MIB)
    assert found.x == 1024 * MIB
    assert not found.reached
    assert str(found) == (
        "x of 1024 MiB, 2.1 times the last-level cache of 480 MiB (planted), not 4 times, so that "
        "part of it may come from there: of 4096 MiB of memory it takes no more than one part in 4"
    )


def test_very_little_memory_gives_less_than_the_least_and_may_still_do():
    found = planted(1, available=400 * MIB)
    assert found.x == 100 * MIB
    assert found.reached


def test_what_is_quick_says_that_it_measures_a_cache():
    found = size_here(Options(quick=True))
    assert found.x == QUICK
    assert not found.reached
    assert "--quick" in str(found)
