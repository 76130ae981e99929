"""An explanation as plain text, for a terminal of 80 columns: also for one without colours."""

import textwrap
from collections.abc import Iterator, Sequence

from bp_torch.explanation.document import Chart, Formula, Part, Section, Sentences, Table
from bp_torch.explanation.notation import number

WIDTH = 80
INDENT = "    "
CHART_WIDTH, CHART_HEIGHT = 58, 13
MARKS = "*o+x#@"
"""One for each curve, in ASCII: charts are drawn where there are no other signs."""


def as_text(sections: Sequence[Section]) -> str:
    """The sections, one below the other; no line is longer than 80 characters."""
    blocks = []
    for place, section in enumerate(sections, 1):
        heading = f"{place}. {section.heading}" if len(sections) > 1 else section.heading
        lines = [heading, "─" * len(heading)]
        for part in section.parts:
            lines += [*_lines(part), ""]
        blocks.append("\n".join(lines).rstrip())
    return "\n\n".join(blocks)


def _lines(part: Part) -> list[str]:
    if isinstance(part, Sentences):
        return textwrap.wrap(part.text, WIDTH, break_long_words=False, break_on_hyphens=False)
    if isinstance(part, Formula):
        return [INDENT + line for line in part.lines]
    if isinstance(part, Table):
        return list(_table(part))
    return [INDENT + line for line in chart_lines(part)]


def _table(table: Table) -> Iterator[str]:
    rows = [table.columns, *table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    spare = WIDTH - sum(widths) - 2 * (len(widths) - 1)
    indent = " " * max(0, min(len(INDENT), spare))
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield (indent + "  ".join([first, *rest])).rstrip()


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
        yield (labels.get(place, "").rjust(margin) + " │" + "".join(cells)).rstrip()
    yield " " * margin + " └" + "─" * CHART_WIDTH
    ends = _rounded(left), _rounded(right)
    between = chart.across.center(CHART_WIDTH - len(ends[0]) - len(ends[1]))
    yield " " * (margin + 2) + ends[0] + between + ends[1]
    for mark, name in zip(MARKS, chart.curves, strict=False):
        yield f"{' ' * margin}  {mark}  {name}"


def _rounded(value: float) -> str:
    return number(float(f"{value:.3g}"))
