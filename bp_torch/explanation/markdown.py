"""An explanation as Markdown, which TensorBoard shows."""

from collections.abc import Sequence

from bp_torch.explanation.document import Chart, Part, Section, Sentences, Table
from bp_torch.explanation.text import chart_lines


def as_markdown(sections: Sequence[Section]) -> str:
    """The sections below their headings; formulas and charts as they are in a terminal."""
    blocks = []
    for section in sections:
        blocks += [f"### {section.heading}", *map(_block, section.parts)]
    return "\n\n".join(blocks)


def _block(part: Part) -> str:
    if isinstance(part, Sentences):
        return _escaped(part.text)
    if isinstance(part, Table):
        rows = [part.columns, ("---", *["---:"] * (len(part.columns) - 1)), *part.rows]
        return "\n".join("| " + " | ".join(map(_escaped, row)) + " |" for row in rows)
    lines = chart_lines(part) if isinstance(part, Chart) else part.lines
    return "\n".join("    " + line for line in lines)


def _escaped(text: str) -> str:
    """Without what Markdown would take for a sign of its own."""
    for character in "|*_<`":
        text = text.replace(character, f"\\{character}" if character != "<" else "&lt;")
    return text
