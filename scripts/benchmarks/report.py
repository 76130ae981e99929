"""What was measured, printed as it comes and kept as JSON and as Markdown."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import Machine

# Seconds are measured in seconds and shown in these.
SCALES = {"s": 1.0, "ms": 1e3, "µs": 1e6}


@dataclass(frozen=True)
class Spread:
    """The median over the rounds, and how far they lie apart."""

    median: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float], scale: float = 1.0) -> "Spread":
        """Of one value for each round."""
        return cls(*(scale * f(values) for f in (statistics.median, min, max)))

    def __str__(self) -> str:
        return f"{figure(self.median)} ({figure(self.smallest)} to {figure(self.largest)})"


def figure(value: float) -> str:
    """Three digits, and no exponent."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


class Report:
    """Prints and keeps what benchmarks find on a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.records: list[dict[str, object]] = []
        self.pages: list[str] = []
        self.rows: list[tuple[str, str, Spread]] = []  # of the benchmark that runs
        self.benchmark = self.command = ""
        print(machine)

    def begin(self, benchmark: str, command: str) -> None:
        """A heading; what follows belongs to it, and the command prints it again."""
        self.benchmark, self.command, self.rows = benchmark, command, []
        print(f"\n{benchmark}")

    def say(self, text: str) -> None:
        """A line between the rows, kept beside them."""
        print(text)
        self.keep(said=text)

    def row(
        self,
        name: str,
        values: Sequence[float],
        unit: str,
        beside: Mapping[str, Sequence[float]] | None = None,
        note: str = "",
    ) -> None:
        """A quantity, one value for each round; beside it ratios, by what they are called."""
        spread = Spread.of(values, SCALES.get(unit, 1.0))
        ratios = {of: Spread.of(each) for of, each in (beside or {}).items()}
        middle = f"{figure(spread.median)} {unit}"
        around = f"({figure(spread.smallest)} to {figure(spread.largest)})"
        extras = [f"{ratio} {of}" for of, ratio in ratios.items()] + ([note] if note else [])
        print("   ".join((f"{name:36} {middle:>10} {around:22}", *extras)).rstrip())
        self.rows.append((name, unit, spread))
        taken = {of: asdict(ratio) for of, ratio in ratios.items()}
        self.keep(name=name, unit=unit, **asdict(spread), ratios=taken, note=note)

    def keep(self, **record: object) -> None:
        """For the JSON alone."""
        self.records.append({"benchmark": self.benchmark, **record})

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """The summary, in Markdown, below the command and the machine that it comes from."""
        lines = [_line(header), "|---" * len(header) + "|", *map(_line, rows)]
        table = "\n".join(lines)
        print(f"\n{table}")
        self.pages.append(f"`{self.command}`: {self.machine}.\n\n{table}\n")

    def table_of_rows(self) -> None:
        """The summary of a benchmark that needs no other: every row."""
        columns = ("median", "smallest", "largest")
        rows = [
            (name, *(f"{figure(getattr(spread, column))} {unit}" for column in columns))
            for name, unit, spread in self.rows
        ]
        self.table(("", *columns), rows)

    def save(self, json_file: Path | None, markdown_file: Path | None) -> None:
        """All that has been measured so far."""
        if json_file:
            content = json.dumps({**asdict(self.machine), "records": self.records}, indent=1)
            json_file.write_text(content + "\n", encoding="utf-8")
        if markdown_file:
            markdown_file.write_text("\n".join(self.pages), encoding="utf-8")


def _line(cells: Sequence[str]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"
