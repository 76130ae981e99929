"""Proving a pointwise gradient: seconds and memory."""

import subprocess
import sys

from benchmarks.benchmark import ROOT, Benchmark, Options
from benchmarks.report import Report

LARGE = 1_000_000
PROGRAM = """
import sys, time
import torch
import bp_torch as bp
sys.path.append("scripts")
from benchmarks.measure import peak_memory

inputs, before, started = (torch.randn(int(sys.argv[1])),), peak_memory(), time.perf_counter()
bp.compare(bp.sigmoid, torch.sigmoid, inputs=inputs, compile=False)
print(time.perf_counter() - started, (peak_memory() - before) / 2**30)
started = time.perf_counter()
bp.compare(bp.sigmoid, torch.sigmoid, inputs=(torch.randn(64, 3),))
print(time.perf_counter() - started)
"""


def run(report: Report, options: Options) -> None:
    """Whole processes, so that the peak of memory is that of one comparison."""
    elements = 1_000 if options.quick else LARGE
    command = [sys.executable, "-c", PROGRAM, str(elements)]
    found = []
    for _ in range(options.rounds):
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        found.append([float(text) for text in run.stdout.split()])
    large, memory, small = zip(*found, strict=True)
    report.row(f"{elements:,} elements, all but compiled", large, "s")
    report.row("memory over the import", memory, "GiB")
    report.row("64 × 3 elements, every default", small, "s")
    report.table_of_rows()


BENCHMARK = Benchmark(
    about="proving a pointwise gradient of a million elements, and of 64 × 3",
    takes="1 minute",
    run=run,
)
