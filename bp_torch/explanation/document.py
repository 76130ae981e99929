"""What an explanation is made of, before anything is drawn: headings, sentences, formulas, tables,
charts. Terminal, page and TensorBoard are views of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentences:
    """Running text, one paragraph."""

    text: str


@dataclass(frozen=True)
class Formula:
    """Lines that stand as they are, one below the other: mathematics, with its numbers."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells below named columns; the first column is text, the others are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Chart:
    """Curves over steps (or whatever `across` says), one for each name, of finite numbers."""

    title: str
    across: str
    curves: dict[str, tuple[tuple[float, float], ...]]
    """By name: (x, y) points, from left to right."""


Part = Sentences | Formula | Table | Chart


@dataclass(frozen=True)
class Section:
    """One thought: a heading and what is said below it."""

    heading: str
    parts: tuple[Part, ...]
