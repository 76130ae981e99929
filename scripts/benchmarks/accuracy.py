"""How right a sigmoid is: errors of σ, σ′ and σ″ in ULP, over every number that a dtype has.

Every float16, bfloat16 and float32, and a million float64; with --quick every float16 and bfloat16
and a sample of the others. The truth is computed in float64 and, where that cannot tell which of
two neighbours is nearer, and for float64 itself, with 50 digits. Peers that are not installed are
left out.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from errors import Tally, tally
from torch import Tensor
from truth import QUANTITIES, bit_patterns, float64_samples, of_sigmoid

from benchmarks.benchmark import Benchmark, Options
from benchmarks.peers.sigmoids import OURS, SIGMOIDS, installed, second_derivative
from benchmarks.report import Report

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
BINADE = 2**23  # numbers of float32 with one sign and one exponent
CHUNK = 2**18  # of them are judged at once: what that takes stays in the cache
SAMPLE = 2**11  # of each binade, with --quick
HEADER = (
    *("", "", "σ: error in ULP", "not nearest", "σ′: error in ULP", "not nearest"),
    *("0, and should not be", "> 1% off"),
)
SAMPLES = {False: 10**6, True: 10**4}  # of float64, in full and with --quick


@dataclass(frozen=True)
class Task:
    """A part of the work, for one process."""

    dtype: torch.dtype
    first: int
    count: int
    step: int = 1


def tasks(quick: bool) -> Iterator[Task]:
    """All the work, the slowest first."""
    parts = 8
    samples = len(float64_samples(SAMPLES[quick]))
    for part in range(parts):
        yield Task(torch.float64, part, samples, parts)
    yield Task(torch.float16, 0, 2**16)
    yield Task(torch.bfloat16, 0, 2**16)
    count, step = (BINADE, BINADE // SAMPLE) if quick else (CHUNK, 1)
    for first in range(0, 2**32, count):
        yield Task(torch.float32, first, count, step)


def work(task: Task, quick: bool) -> dict[tuple[str, str], Tally]:
    """Judge every sigmoid on one part."""
    torch.set_num_threads(1)  # the processes share the cores
    if task.dtype == torch.float64:
        z = float64_samples(SAMPLES[quick])[task.first :: task.step].contiguous()
    else:
        z = bit_patterns(task.first, task.count, task.step, task.dtype)
    pairs = {name: sigmoid(z) for name, sigmoid in installed().items()}
    values: dict[str, dict[str, Tensor | None]] = {
        "σ": {name: value for name, (value, _) in pairs.items()},
        "σ′": {name: prime for name, (_, prime) in pairs.items()},
        "σ″": {OURS: second_derivative(z)},
    }
    tallies = {}
    for quantity, by_name in values.items():
        # Most parts of float32 have one value all over, which their ends tell: between two powers
        # of 2 a quantity is monotone, or takes many values.
        ends = of_sigmoid(quantity, z[[0, -1]])
        one_value = task.dtype == torch.float32 and ends.nearest[0] == ends.nearest[1]
        everywhere = None
        for name, actual in by_name.items():
            if actual is None:
                continue
            if one_value and bool((actual == ends.nearest[0]).all()):
                seen = tally(actual[[0, -1]], ends, z[[0, -1]])
                seen.inputs = len(z)
            else:
                everywhere = everywhere or of_sigmoid(quantity, z)
                seen = tally(actual, everywhere, z)
            tallies[name, quantity] = seen
    return tallies


Table = dict[tuple[torch.dtype, str, str], Tally]
"""By dtype, sigmoid and quantity."""


def run(report: Report, options: Options) -> None:
    """On every core."""
    table = measure(options.quick)
    for (dtype, name, quantity), seen in table.items():
        report.keep(dtype=str(dtype), sigmoid=name, quantity=quantity, **asdict(seen))
    for dtype in DTYPES:
        seen = table[dtype, OURS, "σ″"]
        report.say(
            f"σ″ of {OURS} in {_name(dtype)}: {_ulp(seen)} ULP over {seen.inputs:,} numbers, "
            f"{seen.not_nearest:,} not nearest, {seen.zeros:,} that are 0 and should not be"
        )
    report.table(HEADER, list(rows(table)))
    if options.figure:
        draw(options.figure)


def measure(quick: bool) -> Table:
    """All of it, on every core."""
    table: Table = {}
    todo = list(tasks(quick))
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        results = pool.map(work, todo, [quick] * len(todo), chunksize=8)
        for task, tallies in zip(todo, results, strict=True):
            for (name, quantity), seen in tallies.items():
                key = task.dtype, name, quantity
                table[key] = table[key] + seen if key in table else seen
    return table


def rows(table: Table) -> Iterator[tuple[str, ...]]:
    """A row for each dtype and sigmoid."""
    for dtype in DTYPES:
        for name in SIGMOIDS:
            value, prime = (table.get((dtype, name, quantity)) for quantity in QUANTITIES[:2])
            if value is None or prime is None:
                continue
            yield (
                *(_name(dtype), name, _ulp(value), f"{value.not_nearest:,}", _ulp(prime)),
                *(f"{prime.not_nearest:,}", f"{prime.zeros:,}", f"{prime.off:,}"),
            )


def _ulp(seen: Tally) -> str:
    if seen.max_ulp < 100:
        return f"{seen.max_ulp:.5f}" if seen.max_ulp < 1 else f"{seen.max_ulp:.2f}"
    return f"{seen.max_ulp:.1e}".replace("e+0", "e").replace("e+", "e")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def draw(path: Path) -> None:
    """Relative error of σ′ over z, ours and autograd's, in two dtypes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    picture, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for axis, dtype, reach in zip(axes, (torch.float32, torch.bfloat16), (40, 12), strict=True):
        z = torch.linspace(-reach, reach, 4001).to(dtype)
        right = of_sigmoid("σ′", z)
        for name, colour in (("torch.sigmoid", "tab:orange"), (OURS, "tab:blue")):
            prime = SIGMOIDS[name](z)[1]
            assert prime is not None
            error = (prime.double() - right.value).abs() / right.value
            axis.semilogy(z.double(), error.clamp(min=1e-12), ".", ms=2, color=colour, label=name)
        half = torch.finfo(dtype).eps / 2
        axis.axhline(half, color="black", lw=1, ls="--", label="half a last place")
        axis.set_ylim(half / 500, 8)
        axis.text(reach, 1.6, "σ′ returned as 0", fontsize=9, ha="right")
        axis.set_title(_name(dtype))
        axis.set_xlabel("z")
    axes[0].set_ylabel("relative error of σ′(z)")
    axes[0].legend(loc="center left", markerscale=4, frameon=False)
    picture.savefig(path, dpi=110)
    pyplot.close(picture)


BENCHMARK = Benchmark(
    about="errors of σ, σ′ and σ″ over every number of a dtype; --figure draws σ′'s",
    takes="7 minutes",
    run=run,
    draws=True,
)
