"""Measuring: cases in turn, ratios round by round, and the memory that a call takes."""

import ctypes
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch

Case = TypeVar("Case")

Work = Callable[[], object]
Timer = Callable[[], float]
"""Runs once and returns its seconds."""


def interleave(
    cases: Mapping[Case, Timer], rounds: int, *, settle: bool = False
) -> dict[Case, list[float]]:
    """Run all cases in turn, `rounds` times after one warm-up; the seconds of each, by round.

    settle: run each case twice a round and count the second run. The threads of one library keep
    the cores busy for some milliseconds after its work, at the cost of whatever comes next.
    """
    for case in cases.values():
        case()
    seconds: dict[Case, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            if settle:
                case()
            seconds[name].append(case())
    return seconds


def timed(
    work: Work, device: str = "cpu", *, repeats: int = 1, threads: int | None = None
) -> Timer:
    """Seconds per call: of the clock on a CPU, of the device's own events on a GPU."""

    def on_cpu() -> float:
        with _on_threads(threads):
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


@contextmanager
def _on_threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ratios(numerator: list[float], denominator: list[float]) -> list[float]:
    """Round by round, since what slows a round slows both."""
    return [a / b for a, b in zip(numerator, denominator, strict=True)]


def fastest(seconds: Mapping[str, list[float]]) -> str:
    """The case whose median is the smallest."""
    return min(seconds, key=lambda name: statistics.median(seconds[name]))


def allocated(work: Work, device: str = "cpu") -> int | None:
    """Bytes that a call takes at its peak, beyond what was there; None where it cannot be seen."""
    work()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return int(torch.cuda.max_memory_allocated() - before)
    _let_go_of_freed_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of resident memory
    except OSError:
        return None
    before = _status("VmRSS")
    work()
    return max(0, _status("VmHWM") - before)


def peak_memory() -> int:
    """Bytes that this process has held at most.

    Not getrusage's: on Linux a process takes over the peak of the one that started it.
    """
    try:
        return _status("VmHWM")
    except OSError:  # macOS, which counts in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _let_go_of_freed_memory() -> None:
    """What the C library keeps for the next call would hide what that call takes."""
    with suppress(AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)
