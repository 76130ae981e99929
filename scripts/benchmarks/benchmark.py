"""What a benchmark is, and what it is asked with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Report

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Options:
    """What the command line asks of a benchmark."""

    rounds: int = 9
    quick: bool = False
    """As small as can be: shows that it runs, not how fast."""
    device: str = "cpu"
    figure: Path | None = None
    """Where to draw, for one that draws."""


@dataclass(frozen=True)
class Benchmark:
    """One subject of the command."""

    about: str
    """What it measures, in half a line."""
    takes: str
    """About how long, on two cores."""
    run: Callable[[Report, Options], None]
    """Prints rows and tables into the report."""
    on_cuda: bool = False
    draws: bool = False
