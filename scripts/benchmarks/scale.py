"""A fused step's time against N, D and threads, and how steeply it rises where they are large."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.benchmark import Benchmark, Options
from benchmarks.data import Data, size_here
from benchmarks.measure import interleave, timed
from benchmarks.report import SCALES, Report, figure
from bp_torch import fused

FEATURES, MOST_FEATURES = 64, 1024
REPEATED = 2**20  # elements of x below which a step is repeated, so that the clock is fine enough

Point = tuple[int, int, int]
"""Samples, features and threads."""


def run(report: Report, options: Options) -> None:
    """Each along a logarithmic axis, up to x as large as `step` has it."""
    size = size_here(options)
    report.say(str(size))
    sweeps, rows = {}, []
    for name, points in _sweeps(size.floats, options.device).items():
        seconds = {at: _time(options, point) for at, point in points.items()}
        for at, values in seconds.items():
            report.row(f"{name}: {at:,}", values, "ms")
        medians = {at: median(values) for at, values in seconds.items()}
        slope = slope_of(medians)
        report.say(f"{name}: slope of the upper half, on logarithmic axes: {slope:.2f}")
        sweeps[name] = medians, slope
        ends = (
            f"{at:,}: {figure(SCALES['ms'] * medians[at])} ms"
            for at in (min(medians), max(medians))
        )
        rows.append((name, *ends, f"{slope:.2f}"))
    report.table(("", "from", "to", "slope of the upper half"), rows)
    if options.figure:
        draw(sweeps, options.figure)


def _sweeps(floats: int, device: str) -> dict[str, dict[int, Point]]:
    """What each is swept over, with N, D and threads of each point."""
    threads = torch.get_num_threads()
    samples, narrow = floats // FEATURES, floats // MOST_FEATURES
    sweeps = {
        f"N (D = {FEATURES})": {n: (n, FEATURES, threads) for n in _powers(16, samples, 4)},
        f"D (N = {narrow:,})": {d: (narrow, d, threads) for d in _powers(1, MOST_FEATURES, 2)},
    }
    if device == "cpu":
        counts = _powers(1, threads, 2)
        sweeps[f"threads ({samples:,} × {FEATURES})"] = {t: (samples, FEATURES, t) for t in counts}
    return sweeps


def _powers(first: int, last: int, factor: int) -> list[int]:
    """first, first · factor, … and last itself."""
    powers = []
    while first < last:
        powers.append(first)
        first *= factor
    return [*powers, last]


def _time(options: Options, point: Point) -> list[float]:
    samples, features, threads = point
    data = Data.draw(samples, features, options.device)
    repeats = 1 if options.quick else max(1, REPEATED // (samples * features))
    step = timed(
        lambda: fused.cost_and_gradients(*data.tensors),
        options.device,
        repeats=repeats,
        threads=threads,
    )
    return interleave({"": step}, options.rounds)[""]


def slope_of(values: Mapping[int, float]) -> float:
    """Of log value against log place, over the upper half of the places; 0 for a single one."""
    if len(values) < 2:
        return 0.0
    upper = np.log(np.array(list(values.items())[-max(2, len(values) // 2) :]))
    return float(np.polyfit(upper[:, 0], upper[:, 1], 1)[0])


def draw(sweeps: Mapping[str, tuple[Mapping[int, float], float]], path: Path) -> None:
    """A panel for each sweep, with its slope."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    picture, axes = pyplot.subplots(1, len(sweeps), figsize=(9, 3.2), layout="constrained")
    for axis, (name, (medians, slope)) in zip(axes, sweeps.items(), strict=True):
        x, y = np.array(list(medians)), SCALES["ms"] * np.array(list(medians.values()))
        axis.loglog(x, y, "o-", color="tab:blue", markersize=4)
        axis.loglog(x, y[-1] * (x / x[-1]) ** slope, "--", color="gray", label=f"slope {slope:.2f}")
        axis.set(xlabel=name, ylim=(y.min() / 2, y.max() * 2))
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
        if len(x) <= 4:
            axis.set_xticks(x, [str(value) for value in x], minor=False)
            axis.set_xticks([], minor=True)
    axes[0].set_ylabel("ms per step")
    picture.savefig(path, dpi=150)
    pyplot.close(picture)


BENCHMARK = Benchmark(
    about="a fused step against N, D and threads; --figure draws it",
    takes="5 seconds for each 256 MiB of x",
    run=run,
    on_cuda=True,
    draws=True,
)
