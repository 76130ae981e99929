"""Many machines: what an epoch would take, from what a row and an all-reduce take here.

A step on a batch of B rows, shared out in parts among P machines of the kind that this is, takes

    t = rows of the busiest · row + call + all-reduce(P, bytes)
    all-reduce(P, bytes) = 2 log₂P · latency + 2 (P − 1)/P · bytes/bandwidth

where a row and a call are measured here, the bytes are those that are sent (three integers for each
of D + 3 numbers, and one), and latency and bandwidth are the link's. Source of the second line:
Thakur, Rabenseifner & Gropp (2005), "Optimization of Collective Communication Operations in MPICH",
§4.5 (Rabenseifner's algorithm); reading and adding what comes takes no time in it.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bp_torch as bp
from benchmarks.benchmark import ROOT, Benchmark, Options
from benchmarks.measure import interleave, timed
from benchmarks.report import SCALES, Report, figure
from bp_torch import fused
from bp_torch.training.exact_sum import DIGITS, exact_total

NODES = (1, 4, 16, 64, 256, 1024)
FEATURES = (30, 1000, 10_000)
BATCH = 2**20
ROWS = 4.2e9
"""As many as Criteo's click logs have, with which others have been measured."""
NUMBERS = {False: 2**26, True: 2**20}
"""Of x in a step that is measured."""
MEASURED = (1, 2, 4)
"""Processes on this machine."""


@dataclass(frozen=True)
class Link:
    """Between two machines."""

    latency: float
    """Seconds."""
    bandwidth: float
    """Bytes per second."""

    def all_reduce(self, nodes: int, size: float) -> float:
        """Seconds for so many bytes; none for one machine."""
        if nodes == 1:
            return 0.0
        return 2 * math.log2(nodes) * self.latency + 2 * (nodes - 1) / nodes * size / self.bandwidth


LINKS = {
    "10 Gbit/s Ethernet": Link(latency=30e-6, bandwidth=1.25e9),
    "100 Gbit/s InfiniBand": Link(latency=2e-6, bandwidth=12.5e9),
}
"""Round figures of what is sold; not measured."""


@dataclass(frozen=True)
class Node:
    """What this machine takes."""

    row: float
    """Seconds for a row of a batch."""
    call: float
    """Seconds for a step, whatever its batch."""


def sent(features: int) -> int:
    """Bytes that each step adds up over all processes."""
    return 8 * (DIGITS * (features + 3) + 1)


def step_time(node: Node, link: Link, nodes: int, features: int, batch: float) -> float:
    """Seconds."""
    part = fused.rows_per_chunk(features)
    busiest = math.ceil(math.ceil(batch / part) / nodes) * part
    return min(busiest, batch) * node.row + node.call + link.all_reduce(nodes, sent(features))


def efficiency(node: Node, link: Link, nodes: int, features: int, batch: float) -> float:
    """What one machine takes, divided by what all of them take together."""
    alone = step_time(node, link, 1, features, batch)
    return alone / (nodes * step_time(node, link, nodes, features, batch))


def run(report: Report, options: Options) -> None:
    """Measure a row and a call, then several processes here, and tell what that comes to."""
    nodes = {features: _measure(report, options, features) for features in FEATURES}
    _measure_processes(report, options)
    for name, link in LINKS.items():
        rows = []
        for count in NODES:
            cells = []
            for features, node in nodes.items():
                epoch = ROWS / BATCH * step_time(node, link, count, features, BATCH)
                share = efficiency(node, link, count, features, BATCH)
                report.keep(link=name, features=features, nodes=count, s=epoch, efficiency=share)
                cells += [figure(epoch), f"{share:.0%}"]
            rows.append((f"{count:,}", *cells))
        titles = [(f"D = {features:,}: s per epoch", "efficiency") for features in nodes]
        title = f"{name}, {ROWS:,.0f} rows, batches of {BATCH:,}: machines"
        report.table((title, *(each for pair in titles for each in pair)), rows)
    if options.figure:
        draw(nodes, options.figure)


def _measure(report: Report, options: Options, features: int) -> Node:
    """From a large batch and a small one, with all threads."""
    most = fused.rows_per_chunk(features)
    large = max(4 * most, NUMBERS[options.quick] // features)
    timers = {}
    for rows in (large, 2 * most):
        x = torch.randn(rows, features)
        y, neuron = (x[:, 0] > 0).float(), bp.Neuron(features)
        timers[rows] = timed(partial(_sum, x, y, neuron))
    seconds = interleave(timers, options.rounds, settle=True)
    (large, slow), (small, fast) = ((rows, np.median(s)) for rows, s in seconds.items())
    row = float(slow - fast) / (large - small)
    call = max(0.0, float(fast) - small * row)
    for rows, values in seconds.items():
        report.row(f"D = {features:,}: {rows:,} rows", values, "ms")
    bandwidth = 4 * (features + 1) / row / 1e9
    report.say(
        f"D = {features:,}: {4 * (features + 1):,} bytes and {row * 1e9:.3g} ns a row, "
        f"{bandwidth:.3g} GB/s; {call * 1e6:.3g} µs a step; {sent(features):,} bytes are added up"
    )
    return Node(row, call)


def _sum(x: torch.Tensor, y: torch.Tensor, neuron: bp.Neuron) -> None:
    exact_total(fused.chunk_sums(x, y, neuron.weight, neuron.bias, "cross-entropy"), precision=32)


def _measure_processes(report: Report, options: Options) -> None:
    """Processes of one thread each, on this machine."""
    features = FEATURES[0]
    batch = max(8 * fused.rows_per_chunk(features), NUMBERS[options.quick] // features)
    repeats = 3 if options.quick else 10 * options.rounds
    rows: list[tuple[str, ...]] = []
    alone, reduce = 0.0, dict[int, float]()
    for count in MEASURED[:2] if options.quick else MEASURED:
        found = _processes(count, batch, features, repeats)
        step = found["step"]
        alone = alone or step
        reduce = {int(size): seconds for size, seconds in found["all_reduce"].items()}
        report.keep(processes=count, step=step, all_reduce=reduce)
        shown = [f"{SCALES['µs'] * seconds:,.0f}" for seconds in reduce.values()]
        rows.append((f"{count}", figure(SCALES["ms"] * step), f"{alone / step:.2f}", *shown))
    sizes = [f"all-reduce of {size:,} bytes, µs" for size in reduce]
    title = f"processes of one thread, on {os.cpu_count()} cores, {batch:,} × {features}"
    report.table((title, "ms a step", "times one", *sizes), rows)


def _processes(count: int, batch: int, features: int, repeats: int) -> dict[str, Any]:
    script = Path(__file__).with_name("peers") / "ranks.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = [f"--nproc-per-node={count}", script, *(batch, features, repeats)]
    paths = [str(ROOT), str(ROOT / "scripts")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    ended = subprocess.run(
        [*command, *map(str, words)], env=environment, capture_output=True, text=True
    )
    if ended.returncode:
        raise RuntimeError(f"{count} processes came to no end: {ended.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def draw(nodes: Mapping[int, Node], path: Path) -> None:
    """The efficiency over the number of machines, a panel for each link."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    picture, axes = pyplot.subplots(1, len(LINKS), figsize=(9, 3.4), layout="constrained")
    counts = [2**k for k in range(11)]
    for axis, (name, link) in zip(axes, LINKS.items(), strict=True):
        for features, node in nodes.items():
            shares = [efficiency(node, link, count, features, BATCH) for count in counts]
            axis.plot(counts, shares, "o-", markersize=3, label=f"D = {features:,}")
        axis.set_xscale("log", base=2)
        axis.set_xticks(NODES, [f"{count:,}" for count in NODES])
        axis.set(xlabel="machines", ylim=(0, 1.02))
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"efficiency, batches of {BATCH:,}")
    axes[-1].legend(frameon=False, loc="lower left")
    picture.savefig(path, dpi=150)
    pyplot.close(picture)


BENCHMARK = Benchmark(
    about="what an epoch would take on many machines; --figure draws it",
    takes="two minutes",
    run=run,
    draws=True,
)
