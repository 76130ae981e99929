"""Measuring as the benchmarks need it: interleaved rounds, medians with their spread, bars."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

Work = Callable[[], object]


class Report:
    """Prints rows and bars as they come, and keeps them for `--json`."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.section = ""

    def begin(self, section: str) -> None:
        """A heading; what follows belongs to it."""
        self.section = section
        print(f"\n{section}")

    def row(
        self, name: str, values: list[float], unit: str, scale: float = 1.0, note: str = ""
    ) -> None:
        """Median, smallest and largest of the values."""
        low, middle, high = (scale * f(values) for f in (min, statistics.median, max))
        print(f"{name:44}{middle:9.3f} {unit:3} ({low:.3f} to {high:.3f}){note}")
        self._keep(name, median=middle, smallest=low, largest=high, unit=unit)

    def bar(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """Whether the value is at most the limit."""
        self._bar(name, value, limit, unit, "≤", value <= limit)

    def least(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """Whether the value is at least the limit."""
        self._bar(name, value, limit, unit, "≥", value >= limit)

    def _bar(self, name: str, value: float, limit: float, unit: str, sign: str, ok: bool) -> None:
        print(f"{name:44}{value:9.3f} {unit:3} {sign} {limit:g}: {'holds' if ok else 'FAILS'}")
        self._keep(name, value=value, bar=f"{sign} {limit:g}", unit=unit, holds=ok)

    def _keep(self, name: str, **figures: Any) -> None:
        self.records.append({"section": self.section, "name": name, **figures})

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """All that was printed, as JSON."""
        path.write_text(json.dumps({**about, "figures": self.records}, indent=1) + "\n")


def interleave(
    cases: Mapping[str, Callable[[], float]], rounds: int, *, settle: bool = False
) -> dict[str, list[float]]:
    """Run all cases in turn, `rounds` times after one warm-up; each returns its seconds.

    settle: run each case twice a round and count the second run. The threads of one library keep
    the cores busy for some milliseconds after its work, at the cost of whatever comes next.
    """
    for case in cases.values():
        case()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            if settle:
                case()
            seconds[name].append(case())
    return seconds


def timed(work: Work, device: str = "cpu", repeats: int = 1) -> Callable[[], float]:
    """Seconds per call: of the clock on a CPU, of the device's own events on a GPU."""

    def on_cpu() -> float:
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        return (time.perf_counter() - started) / repeats

    def on_gpu() -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(repeats):
            work()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3 / repeats

    return on_gpu if device == "cuda" else on_cpu


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """The median of the ratios round by round, which what slows a round does not touch."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def allocated(work: Work, device: str = "cpu") -> float | None:
    """Bytes that a call takes at its peak, beyond what was there; None where it cannot be seen."""
    work()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return float(torch.cuda.max_memory_allocated() - before)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of resident memory
    except OSError:
        return None
    before = _status("VmRSS")
    work()
    return max(0, _status("VmHWM") - before)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)
