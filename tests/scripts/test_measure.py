"""Measuring: what is counted, and that ratios are taken round by round."""

import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
import torch
from benchmarks.measure import allocated, fastest, interleave, ratios, timed

SCRIPTS = str(Path(__file__).parents[2] / "scripts")


def test_cases_run_in_turn_after_a_warm_up():
    ran = []
    cases = {name: lambda name=name: ran.append(name) or len(ran) for name in "ab"}
    assert interleave(cases, 2) == {"a": [3, 5], "b": [4, 6]}
    assert ran == list("ababab")


def test_settled_cases_run_twice_a_round_and_the_second_counts():
    ran = []
    cases = {name: lambda name=name: ran.append(name) or len(ran) for name in "ab"}
    assert interleave(cases, 1, settle=True) == {"a": [4], "b": [6]}
    assert ran == list("abaabb")


def test_ratios_are_taken_within_each_round():
    ours, peers = [1.0, 10.0, 1.0], [2.0, 20.0, 30.0]  # the second round was slow for both
    assert ratios(peers, ours) == [2.0, 2.0, 30.0]
    assert median(ratios(peers, ours)) != median(peers) / median(ours)


def test_ratios_of_unlike_rounds_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_the_fastest_is_so_by_its_median():
    assert fastest({"lucky once": [0.1, 9, 9], "steady": [1, 1, 1]}) == "steady"


def test_work_runs_as_often_and_on_as_many_threads_as_asked():
    seen, before = [], torch.get_num_threads()
    timed(lambda: seen.append(torch.get_num_threads()), repeats=3, threads=before + 1)()
    assert seen == [before + 1] * 3
    assert torch.get_num_threads() == before


def test_threads_are_put_back_where_the_work_fails():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        timed(lambda: 1 / 0, threads=before + 1)()
    assert torch.get_num_threads() == before


def test_memory_that_is_let_go_again_is_seen():
    bytes_taken = 64 * 2**20
    seen = allocated(lambda: torch.ones(bytes_taken // 4))
    if seen is None:
        pytest.skip("the kernel does not tell of the peak of memory")
    assert bytes_taken * 0.9 < seen < bytes_taken * 1.5
    assert allocated(lambda: None) < bytes_taken * 0.1


def test_memory_that_the_c_library_keeps_for_the_next_call_is_seen():
    held = []

    def work():
        pieces = [torch.ones(2**14) for _ in range(512)]
        held.append(torch.ones(2**14))  # above them, so that they do not go back by themselves
        del pieces

    seen = allocated(work)
    if seen is None:
        pytest.skip("the kernel does not tell of the peak of memory")
    assert 0.9 * 2**25 < seen < 1.5 * 2**25


OWN = "from benchmarks.measure import peak_memory; print(peak_memory())"
INHERITED = "from resource import *; print(1024 * getrusage(RUSAGE_SELF).ru_maxrss)"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere getrusage does not inherit")
def test_the_peak_of_a_process_is_its_own():
    large = torch.ones(2**27)  # held while the other starts

    def peak(program):
        command, environment = (
            [sys.executable, "-c", program],
            {**os.environ, "PYTHONPATH": SCRIPTS},
        )
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return int(run.stdout)

    assert peak(OWN) < large.nbytes
    assert peak(INHERITED) > large.nbytes  # so that it does not serve
