"""Importing bp_torch against importing torch alone."""

import subprocess
import sys
import time

from benchmarks.benchmark import ROOT, Benchmark, Options
from benchmarks.measure import Timer, interleave
from benchmarks.report import Report


def run(report: Report, options: Options) -> None:
    """Whole processes, so that the interpreter's start is in both."""
    modules = ("torch", "bp_torch")
    seconds = interleave({name: _process(name) for name in modules}, options.rounds)
    extra = [ours - torchs for torchs, ours in zip(*seconds.values(), strict=True)]
    for name in modules:
        report.row(f"import {name}", seconds[name], "s")
    report.row("import bp_torch less import torch", extra, "ms")
    report.table_of_rows()


def _process(module: str) -> Timer:
    def timer() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True, cwd=ROOT)
        return time.perf_counter() - started

    return timer


BENCHMARK = Benchmark(
    about="importing bp_torch against importing torch alone", takes="half a minute", run=run
)
