"""Importing bp_torch against importing torch alone."""

import subprocess
import sys
import time

from benchmarks.benchmark import ROOT, Benchmark, Options
from benchmarks.measure import Timer, interleave
from benchmarks.report import Report

OURS = "from bp_torch import Neuron, Network, backprop, fused_cost, quadratic_cost, sigmoid, train"
"""Names are imported when they are asked for."""


def run(report: Report, options: Options) -> None:
    """Whole processes, so that the interpreter's start is in both."""
    statements = ("import torch", OURS)
    seconds = interleave({each: _process(each) for each in statements}, options.rounds)
    extra = [ours - torchs for torchs, ours in zip(*seconds.values(), strict=True)]
    for each in statements:
        report.row(each, seconds[each], "s")
    report.row("the second less the first", extra, "ms")
    report.table_of_rows()


def _process(statement: str) -> Timer:
    def timer() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True, cwd=ROOT)
        return time.perf_counter() - started

    return timer


BENCHMARK = Benchmark(
    about="importing bp_torch against importing torch alone", takes="half a minute", run=run
)
