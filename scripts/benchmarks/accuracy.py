"""How right a sigmoid is: errors of σ, σ′ and σ″ in ULP, over every number that a dtype has.

    python scripts/benchmarks/accuracy.py    every float16, bfloat16 and float32, a million float64
    … --quick         every float16 and bfloat16, a sample of the others

    --json FILE       everything that was measured
    --markdown FILE   the table
    --figure FILE     relative error of σ′ over z

The truth is computed in float64 and, where that cannot tell which of two neighbours is nearer, and
for float64 itself, with 50 digits. Peers that are not installed are left out.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from peers import OURS, SIGMOIDS, installed, second_derivative
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from errors import Tally, tally
from truth import QUANTITIES, bit_patterns, float64_samples, of_sigmoid

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
BINADE = 2**23  # numbers of float32 with one sign and one exponent
CHUNK = 2**18  # of them are judged at once: what that takes stays in the cache
SAMPLE = 2**11  # of each binade, with --quick
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


def markdown(table: Table) -> str:
    """A row for each dtype and sigmoid."""
    lines = [
        "| | | σ: error in ULP | not nearest | σ′: error in ULP | not nearest "
        "| 0, and should not be | > 1% off |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for dtype in DTYPES:
        for name in SIGMOIDS:
            value, prime = (table.get((dtype, name, quantity)) for quantity in QUANTITIES[:2])
            if value is None or prime is None:
                continue
            cells = [str(dtype).removeprefix("torch."), name, _ulp(value), f"{value.not_nearest:,}"]
            cells += [_ulp(prime), f"{prime.not_nearest:,}", f"{prime.zeros:,}", f"{prime.off:,}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ulp(seen: Tally) -> str:
    if seen.max_ulp < 100:
        return f"{seen.max_ulp:.5f}" if seen.max_ulp < 1 else f"{seen.max_ulp:.2f}"
    return f"{seen.max_ulp:.1e}".replace("e+0", "e").replace("e+", "e")


def bars(table: Table) -> list[tuple[str, float, float]]:
    """What the accurate form promises: a name, what was measured, and the limit."""
    promised = []
    for dtype in DTYPES:
        limits = {"σ": 2.5, "σ′": 4.0, "σ″": 5.0} if dtype == torch.float64 else {}
        for quantity in QUANTITIES:
            seen = table[dtype, OURS, quantity]
            name = f"{str(dtype).removeprefix('torch.')} {quantity}"
            promised.append((f"{name}, ULP", seen.max_ulp, limits.get(quantity, 0.5001)))
            promised.append((f"{name}, zeros", seen.zeros, 0))
    return promised


def draw(path: Path) -> None:
    """Relative error of σ′ over z, ours and autograd's, in two dtypes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
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
        axis.set_title(str(dtype).removeprefix("torch."))
        axis.set_xlabel("z")
    axes[0].set_ylabel("relative error of σ′(z)")
    axes[0].legend(loc="center left", markerscale=4, frameon=False)
    figure.savefig(path, dpi=110)


def main() -> int:
    """Measure, print, and write what was asked for; status 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a sample, in seconds")
    for name in ("json", "markdown", "figure"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE")
    arguments = parser.parse_args()

    started = time.perf_counter()
    table = measure(arguments.quick)
    seconds = time.perf_counter() - started
    print(markdown(table))
    print()
    for name, value, limit in bars(table):
        print(f"{name:20}{value:10.5g} ≤ {limit:g}: {'holds' if value <= limit else 'FAILS'}")
    print(
        f"\n{'a sample' if arguments.quick else 'all'} in {seconds:.0f} s on {os.cpu_count()} "
        f"cores ({platform.machine()}, torch {torch.__version__})"
    )
    if arguments.json:
        rows = [
            {"dtype": str(dtype), "sigmoid": name, "quantity": quantity, **asdict(seen)}
            for (dtype, name, quantity), seen in table.items()
        ]
        about = {"torch": torch.__version__, "quick": arguments.quick, "seconds": seconds}
        arguments.json.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(table) + "\n")
    if arguments.figure:
        draw(arguments.figure)
    return int(any(value > limit for _, value, limit in bars(table)))


if __name__ == "__main__":
    raise SystemExit(main())
