"""An explanation as plain text, for a terminal of 80 columns: also for one without colours."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from bp_torch.explanation.document import Chart, Formula, Part, Section, Sentences, Table
from bp_torch.explanation.notation import number
from bp_torch.symbols import written_in

WIDTH = 80
INDENT = "    "
CHART_WIDTH, CHART_HEIGHT = 58, 13
MARKS = "*o+x#@"
"""One for each curve, in ASCII: charts are drawn where there are no other signs."""


def as_text(sections: Sequence[Section], encoding: str = "utf-8") -> str:
    """The sections, one below the other; no line is longer than 80 characters.

    Args:
        encoding: of the terminal. Where it lacks a symbol, ASCII stands in its place before lines
            are broken and columns made: "δ" is "delta" there.
    """
    blocks = []
    for place, section in enumerate(sections, 1):
        heading = f"{place}. {section.heading}" if len(sections) > 1 else section.heading
        heading = written_in(encoding, heading)
        lines = [heading, "-" * len(heading)]
        for part in section.parts:
            drawn = _lines(_written_in(encoding, part))
            lines += [written_in(encoding, line) for line in drawn]  # a chart's own labels
            lines.append("")
        blocks.append("\n".join(lines).rstrip())
    return "\n\n".join(blocks)


def _written_in(encoding: str, part: Part) -> Part:
    def written(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(written_in(encoding, text) for text in texts)

    if isinstance(part, Sentences):
        return Sentences(*written([part.text]))
    if isinstance(part, Formula):
        return Formula(written(part.lines))
    if isinstance(part, Table):
        return Table(written(part.columns), tuple(map(written, part.rows)))
    title, across, *names = written([part.title, part.across, *part.curves])
    return Chart(title, across, dict(zip(names, part.curves.values(), strict=True)))


def _lines(part: Part) -> list[str]:
    if isinstance(part, Sentences):
        return textwrap.wrap(part.text, WIDTH, break_long_words=False, break_on_hyphens=False)
    if isinstance(part, Formula):
        return [line for each in part.lines for line in _formula(each)]
    if isinstance(part, Table):
        return list(_table(part))
    return [INDENT + line for line in chart_lines(part)]


def _formula(line: str) -> list[str]:
    """As it stands, or broken at a space where it is too long, below what its = says."""
    if len(INDENT + line) <= WIDTH:
        return [INDENT + line]
    equals, begins = line.find("= ") + 2, len(line) - len(line.lstrip())
    below = INDENT + " " * (equals if 2 <= equals < WIDTH // 3 else begins)
    return textwrap.wrap(
        line,
        WIDTH,
        initial_indent=INDENT,
        subsequent_indent=below,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def _table(table: Table) -> Iterator[str]:
    """Columns as wide as what stands in them; where that is too wide, headings take two lines, and
    else the table is cut in two, one below the other."""
    for heading in ([table.columns], list(_two_lines(table.columns))):
        rows = [*heading, *table.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
        if (spare := WIDTH - sum(widths) - len(widths) + 1) >= 0:
            break
    if spare < 0 and len(widths) > 2:
        middle = (len(widths) + 2) // 2
        yield from _table(_columns(table, [*range(middle)]))
        yield ""
        yield from _table(_columns(table, [0, *range(middle, len(widths))]))
        return
    between = "  " if spare >= len(widths) - 1 else " "
    indent = " " * max(0, min(len(INDENT), spare - (len(between) - 1) * (len(widths) - 1)))
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield (indent + between.join([first, *rest])).rstrip()


def _columns(table: Table, which: Sequence[int]) -> Table:
    return Table(
        tuple(table.columns[i] for i in which),
        tuple(tuple(row[i] for i in which) for row in table.rows),
    )


def _two_lines(headings: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The headings, broken at their last space."""
    parts = [heading.rpartition(" ") for heading in headings]
    yield tuple(first for first, _, _ in parts)
    yield tuple(second for _, _, second in parts)


def chart_lines(chart: Chart) -> Iterator[str]:
    """Every curve with a mark of its own; where two meet, the later one is seen."""
    points = [point for curve in chart.curves.values() for point in curve]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    bottom, top = min(y for _, y in points), max(y for _, y in points)
    across, up = (right - left) or 1.0, (top - bottom) or 1.0
    grid = [[" "] * CHART_WIDTH for _ in range(CHART_HEIGHT)]
    for mark, curve in zip(MARKS, chart.curves.values(), strict=False):
        for x, y in curve:
            column = round((x - left) / across * (CHART_WIDTH - 1))
            row = round((top - y) / up * (CHART_HEIGHT - 1))
            grid[row][column] = mark
    labels = {0: _rounded(top), CHART_HEIGHT - 1: _rounded(bottom)}
    margin = max(map(len, labels.values()))
    yield chart.title
    for place, cells in enumerate(grid):
        yield (labels.get(place, "").rjust(margin) + " |" + "".join(cells)).rstrip()
    yield " " * margin + " +" + "-" * CHART_WIDTH
    ends = _rounded(left), _rounded(right)
    between = chart.across.center(CHART_WIDTH - len(ends[0]) - len(ends[1]))
    yield " " * (margin + 2) + ends[0] + between + ends[1]
    for mark, name in zip(MARKS, chart.curves, strict=False):
        yield f"{' ' * margin}  {mark}  {name}"


def _rounded(value: float) -> str:
    return number(float(f"{value:.3g}"))
