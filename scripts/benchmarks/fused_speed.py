"""What the fused step costs, against one pass over the data and against its peers."""

import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import epochs
import numpy as np
import steps
import torch
from measure import Report, allocated, interleave, ratio, timed
from steps import Data

from bp_torch import fused

FIGURE = Path(__file__).parents[2] / ".github" / "scale.png"

# D: at most so many passes over x, at least so many times as fast as autograd and the best peer.
STEP_BARS = {
    8: (2.5, 4.0, 1.3),
    30: (1.6, 3.0, 1.4),
    64: (1.25, 2.5, 1.4),
    256: (1.25, 2.5, 1.4),
    1024: (1.25, 2.5, 1.4),
}
CUDA_BARS = (1.2, 2.0, 1.5)  # the floor there is x read at the bandwidth of a copy


def benchmark_step(report: Report, rounds: int, device: str) -> None:
    """All data as one batch: x of 256 MB, on a GPU of 4 GB, float32."""
    size = 2**30 if device == "cuda" else 2**26
    for features, bars in STEP_BARS.items():
        data = Data.draw(size // features, features, device)
        floor = _copy(data) if device == "cuda" else steps.passes(data)
        ours = steps.steps(data)
        cases = {name: timed(work, device) for name, work in {**floor, **ours}.items()}
        seconds = interleave(cases, rounds, settle=True)
        if device == "cuda":
            seconds = {n: [s / 2 if n in floor else s for s in v] for n, v in seconds.items()}
        best = min(floor, key=lambda name: statistics.median(seconds[name]))
        case = f"D = {features}"
        for name in cases:
            extra = allocated(ours[name], device) if name in ours else 0
            note = f"{ratio(seconds[name], seconds[best]):7.2f} passes"
            if extra is not None and name in ours:
                note += f", {100 * extra / data.x.nbytes:.2f}% of x allocated"
            report.row(f"{case}: {name}", seconds[name], "ms", 1e3, note)
            if name == steps.OURS and extra is not None:
                report.bar(f"{case}: allocated, % of x", 100 * extra / data.x.nbytes, 1)
        _compare(report, case, seconds, best, bars if device == "cpu" else CUDA_BARS)
        if device == "cpu":
            _threads(report, data, case, rounds)


def _copy(data: Data) -> dict[str, Callable[[], object]]:
    target = torch.empty_like(data.x)
    return {"x at half of a copy's time": lambda: target.copy_(data.x)}


def _compare(
    report: Report,
    case: str,
    seconds: dict[str, list[float]],
    floor: str,
    bars: tuple[float, float, float],
) -> None:
    ours = seconds[steps.OURS]
    peers = _peers(seconds)
    report.bar(f"{case}: passes over x", ratio(ours, seconds[floor]), bars[0])
    report.least(f"{case}: times faster than autograd", ratio(seconds[steps.EAGER], ours), bars[1])
    report.least(f"{case}: than {peers[0]}", ratio(seconds[peers[0]], ours), bars[2])


def _peers(seconds: dict[str, list[float]]) -> list[str]:
    """Others' ways to the same, the fastest first."""
    names = [n for n in seconds if n.startswith(("torch, ", "torch.compile", "NumPy", "JAX"))]
    return sorted(names, key=lambda name: statistics.median(seconds[name]))


def _threads(report: Report, data: Data, case: str, rounds: int) -> None:
    many = torch.get_num_threads()

    def alone(work: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            torch.set_num_threads(1)
            try:
                return work()
            finally:
                torch.set_num_threads(many)

        return run

    step = lambda: fused.cost_and_gradients(*data.tensors)  # noqa: E731
    seconds = interleave({"1": timed(alone(step)), "all": timed(step)}, rounds, settle=True)
    least = 0.85 * many
    report.least(f"{case}: 1 thread's time by {many}'s", ratio(seconds["1"], seconds["all"]), least)


def benchmark_small(report: Report, rounds: int, device: str) -> None:
    """A batch of 32 × 30: what a call costs."""
    data = Data.draw(32, 30, device)
    for into_grad, ours, bars in (
        (False, steps.OURS, (12.0, 3.0)),
        (True, steps.DIFFERENTIABLE, (3.0, 1.0)),
    ):
        cases = steps.steps(data, into_grad=into_grad)
        timers = {name: timed(work, device, 2000) for name, work in cases.items()}
        seconds = interleave(timers, rounds, settle=True)
        for name, values in seconds.items():
            report.row(name, values, "µs", 1e6)
        best = _peers(seconds)[0]
        for peer, least in zip((steps.EAGER, best), bars, strict=True):
            times = ratio(seconds[peer], seconds[ours])
            report.least(f"times as fast as {peer}", times, least)


def benchmark_epoch(report: Report, rounds: int, device: str) -> None:
    """A million samples of 64 features in batches of 32."""
    data = Data.draw(1_000_000, 64, device)
    cases = epochs.epochs(data, 32)
    rounds = min(rounds, 5)
    floor = steps.passes(data)
    timers = {name: timed(work, device) for name, work in {**floor, **cases}.items()}
    seconds = interleave(timers, rounds)
    for name, values in seconds.items():
        report.row(name, values, "s")
    best = min(floor, key=lambda name: statistics.median(seconds[name]))
    ours = seconds[epochs.OURS]
    report.bar("passes over x", ratio(ours, seconds[best]), 2.5)
    report.bar("passes over x, random order", ratio(seconds[epochs.SHUFFLED], seconds[best]), 2.5)
    report.least("times as fast as autograd", ratio(seconds[epochs.EAGER], ours), 100)
    if epochs.SKLEARN in seconds:
        report.least("times as fast as SGDClassifier", ratio(seconds[epochs.SKLEARN], ours), 20)
    peers = _peers(seconds)
    print(f"fastest peer: {peers[0]}, {ratio(seconds[peers[0]], ours):.1f} times as long")


def benchmark_scale(report: Report, rounds: int, device: str) -> None:
    """Cost against N, D and threads, on log axes; the figure is written to .github/scale.png."""
    sweeps: dict[str, dict[int, tuple[int, int, int]]] = {}
    all_threads = torch.get_num_threads()
    sweeps["N (D = 64)"] = {2**k: (2**k, 64, all_threads) for k in range(4, 21, 2)}
    sweeps["D (N = 65,536)"] = {2**k: (2**16, 2**k, all_threads) for k in range(0, 11)}
    if device == "cpu":
        counts = sorted({2**k for k in range(int(math.log2(all_threads)) + 1)} | {all_threads})
        sweeps["threads (2²⁰ × 64)"] = {t: (2**20, 64, t) for t in counts}
    figures = {}
    for name, points in sweeps.items():
        medians = {}
        for value, (samples, features, threads) in points.items():
            data = Data.draw(samples, features, device)
            torch.set_num_threads(threads)
            work = lambda data=data: fused.cost_and_gradients(*data.tensors)  # noqa: E731
            repeats = max(1, 2**20 // (samples * features))
            seconds = interleave({"": timed(work, device, repeats)}, rounds)[""]
            torch.set_num_threads(all_threads)
            report.row(f"{name.split()[0]} = {value:,}", seconds, "ms", 1e3)
            medians[value] = statistics.median(seconds)
        # The slope where the data are large: over the upper half, in logarithms.
        upper = np.log(np.array(list(medians.items())[-max(2, len(medians) // 2) :]))
        slope = float(np.polyfit(upper[:, 0], upper[:, 1], 1)[0]) if len(medians) > 1 else 0.0
        print(f"slope against {name}, upper half: {slope:.2f}")
        figures[name] = medians, slope
    _draw(figures)


def _draw(figures: dict[str, tuple[dict[int, float], float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(figures), figsize=(9, 3.2), layout="constrained")
    for axis, (name, (medians, slope)) in zip(np.atleast_1d(axes), figures.items(), strict=True):
        x, y = np.array(list(medians)), 1e3 * np.array(list(medians.values()))
        axis.loglog(x, y, "o-", color="tab:blue", markersize=4)
        axis.loglog(x, y[-1] * (x / x[-1]) ** slope, "--", color="gray", label=f"slope {slope:.2f}")
        axis.set(xlabel=name, ylim=(y.min() / 2, y.max() * 2))
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
        if len(x) <= 4:
            axis.set_xticks(x, [str(value) for value in x], minor=False)
            axis.set_xticks([], minor=True)
    np.atleast_1d(axes)[0].set_ylabel("ms per step")
    figure.savefig(FIGURE, dpi=150)
    plt.close(figure)


BENCHMARKS: dict[str, Any] = {
    "step": benchmark_step,
    "small": benchmark_small,
    "epoch": benchmark_epoch,
    "scale": benchmark_scale,
}
