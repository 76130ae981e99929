"""What a comparison came to: a frozen result, with text, JSON and TensorBoard as views of it."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, Literal, TypeAlias

from bp_torch.judge.cost import Cost
from bp_torch.judge.evidence import Quantity
from bp_torch.judge.rows import Check, Diagnosis, Outcome, Refusal, Row, TransformRow, words
from bp_torch.judge.trials import Role

WIDTH = 80
Verdict: TypeAlias = Literal["right", "wrong", "inconclusive"]

SHOWN = 8
"""Rows of the table that the text shows; JSON has all of them."""


@dataclass(frozen=True)
class Report:
    """The outcome of `compare`."""

    verdict: Verdict
    reason: str = ""
    """Why it is inconclusive; else empty."""
    diagnosis: Diagnosis | None = None
    """What is wrong; None where nothing is."""
    rows: tuple[Row, ...] = ()
    checks: tuple[Check, ...] = ()
    transforms: tuple[TransformRow, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is not part of the verdict and will bite: a second derivative that is silently wrong, a
    transform under which torch is, an input without a gradient."""
    findings: tuple[str, ...] = ()
    """What is worth knowing beside the verdict, about autograd above all."""
    witness: str = ""
    """Who told the truth: the reference, the function's own forward, or differences of values."""
    not_taken: tuple[Refusal, ...] = ()
    not_covered: tuple[str, ...] = ()
    cost: Cost | None = None
    """Of yours, where it was asked for."""
    autograd_cost: Cost | None = None
    """Of the reference under autograd, measured in turns with it."""

    @property
    def ok(self) -> bool:
        """Whether the gradient has been found right."""
        return self.verdict == "right"

    def to_json(self, *, indent: int | None = None) -> str:
        """The whole report, stable: {"format": "bp_torch compare 3", …the fields of Report…}.

        A row has its trial and its quantity in words, "trial" and "what". Numbers that JSON lacks
        are the strings "NaN", "Infinity" and "-Infinity".
        """
        content = {"format": "bp_torch compare 3", "ok": self.ok, **asdict(self)}
        content["rows"] = [{"trial": r.trial, "what": r.what, **asdict(r)} for r in self.rows]
        return json.dumps(_plain(content), indent=indent, ensure_ascii=False, allow_nan=False)

    def to_tensorboard(self, writer: Any, step: int = 0) -> None:
        """Write the largest errors as scalars `compare/…` and the text under `compare/report`.

        Args:
            writer: a torch.utils.tensorboard.SummaryWriter, or anything with its add_scalar and
                add_text.
            step: on the step axis, for a comparison that is repeated during training.
        """
        for row in _summary(self.rows):
            tag = f"{row.what.replace(' ', '_')}/{row.dtype}"
            writer.add_scalar(f"compare/yours_ulp/{tag}", row.yours_ulp, step)
            if row.autograd_ulp is not None:
                writer.add_scalar(f"compare/autograd_ulp/{tag}", row.autograd_ulp, step)
        writer.add_text("compare/report", f"```\n{self}\n```", step)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


class GradientMismatch(AssertionError):  # noqa: N818, it is an assertion, named as in tests
    """A gradient is not right, or nothing shows that it is; `report` says more. Raised by
    `assert_gradients`."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


def with_deaths(report: Report | None, deaths: Mapping[str, str]) -> Report:
    """The report of what could be tried, with what the process died of beside it, by what was being
    tried; it is no longer right then."""
    said = tuple(f"{how}, in the trial '{trial or 'first call'}'" for trial, how in deaths.items())
    if report is None:
        return Report("inconclusive", reason=said[-1], findings=said[:-1])
    if not said:
        return report
    if report.verdict == "right":
        report, said = replace(report, verdict="inconclusive", reason=said[0]), said[1:]
    return replace(report, findings=(*said, *report.findings))


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return words(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _lines(report: Report) -> list[str]:
    lines: list[str] = []
    said = report.diagnosis.sentence if report.diagnosis is not None else report.reason
    lines += _wrap(f"{report.verdict}: {said or 'nothing of what was tried shows a mistake'}")
    for warning in report.warnings[:1]:  # the others say the same of another input or dtype
        lines += _wrap(f"warning: {warning}")
    for finding in report.findings:
        lines += _wrap(f"note: {finding}")
    failed = [] if report.ok else [row for row in report.rows if not row.ok]
    lines += ["", *_table(failed[:SHOWN] or _summary(report.rows))]
    if len(failed) > SHOWN:
        lines.append(f"… and {len(failed) - SHOWN} more")
    if failed:
        lines += ["", *_evidence(failed[0])]
        lines += _wrap(_where_drawn(report.rows))
    for check in report.checks:
        if not check.ok:
            lines += _wrap(f"{words(check.property)}: {check.detail}")
    if report.transforms:
        lines += ["", *_transform_lines(report.transforms)]
    if report.cost is not None:
        lines += ["", *_cost_lines(report.cost, report.autograd_cost, report.rows[0])]
    tried = dict.fromkeys(row.trial for row in report.rows)
    if tried:
        lines += ["", *_wrap(f"truth: {report.witness}", indent=7)]
        lines += _wrap(f"tried: {', '.join(tried)}", indent=7)
    if report.not_taken:
        lines += _wrap(f"not taken: {'; '.join(map(str, report.not_taken))}", indent=11)
    if report.not_covered:
        lines += _wrap(f"not covered: {'; '.join(report.not_covered)}", indent=13)
    return lines


def _where_drawn(rows: Iterable[Row]) -> str:
    """At which sizes and kinds of values it is wrong, and at which right."""
    given = [row for row in rows if row.draw and row.role is Role.AS_GIVEN]
    wrong = dict.fromkeys(row.draw for row in given if not row.ok)
    right = dict.fromkeys(row.draw for row in given if row.draw not in wrong)
    if not wrong:
        return ""
    return f"wrong at {_listed(wrong)}" + (f"; right at {_listed(right)}" if right else "")


def _listed(draws: Iterable[str]) -> str:
    """ "n = 33, 127 and 33 sorted", of "n = 33", "n = 127" and "n = 33, sorted"."""
    texts = [draw.removeprefix("n = ").replace(",", "") for draw in draws]
    sized = all(text[0].isdigit() for text in texts)
    listed = ", ".join(texts[:-1]) + (" and " if len(texts) > 1 else "") + texts[-1]
    return ("n = " if sized else "") + listed


def _summary(rows: Iterable[Row]) -> list[Row]:
    """For each tensor and dtype the row with the largest error."""
    worst: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row.what, row.dtype, row.device)
        if key not in worst or row.yours_ulp > worst[key].yours_ulp:
            worst[key] = row
    return list(worst.values())


def _table(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    lines = [f"{'largest error, in ULP':25}{'':10}{'in the trial':25}{'yours':>10}{'autograd':>10}"]
    symbols = {Quantity.GRADIENT: "∂ ", Quantity.SECOND_DERIVATIVE: "∂² "}
    for row in rows:
        what = symbols[row.quantity] + row.name if row.quantity in symbols else row.what
        peer = "–" if row.autograd_ulp is None else _ulp(row.autograd_ulp)
        lines.append(
            f"{what[:24]:25}{row.dtype:10}{row.trial[:24]:25}{_ulp(row.yours_ulp):>10}{peer:>10}"
        )
    return lines


def _ulp(value: float) -> str:
    return f"{value:.1f}" if value < 10_000 else f"{value:.2g}"


def _transform_lines(transforms: tuple[TransformRow, ...]) -> list[str]:
    """The transforms by outcome and reason, what is amiss first."""
    dtype = Counter(row.dtype for row in transforms).most_common(1)[0][0]
    lines = [f"torch's transforms, in {dtype}:"]
    for outcome in Outcome:
        names: dict[str, list[str]] = {}
        for row in transforms:
            if row.outcome is outcome:
                name = row.name if row.dtype == dtype else f"{row.name} (in {row.dtype})"
                names.setdefault(row.detail, []).append(name)
        for detail, named in names.items():
            text = f"{words(outcome):9} {', '.join(named)}" + (f": {detail}" if detail else "")
            lines += _wrap(text, indent=10)
    return lines


def _cost_lines(yours: Cost, autograd: Cost | None, row: Row) -> list[str]:
    """What it comes to, and how many times autograd's that is."""
    peer = "" if autograd is None else f"{'autograd':>10}{'yours / autograd':>20}"
    lines = [f"{f'what it costs, in {row.dtype} on {row.device}':40}{'yours':>10}{peer}"]
    for what, name, shown in (
        ("forward pass", "forward", _duration),
        ("backward pass", "backward", _duration),
        ("saved besides the inputs", "saved", _size),
        ("peak memory besides the inputs", "peak", _size),
    ):
        line = f"{what:40}{shown(getattr(yours, name)):>10}"
        if autograd is not None:
            theirs = getattr(autograd, name)
            ratio = f"{getattr(yours, name) / theirs:.2f}" if theirs else "–"
            line += f"{shown(theirs):>10}{ratio:>20}"
        lines.append(line)
    return lines


def _duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _size(count: float) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def _evidence(row: Row) -> list[str]:
    at = "" if row.at is None else f", input {row.at:.6g}"
    place = f"worst at index {row.index}{at}:"
    values = [("yours", row.yours), ("autograd", row.autograd), ("truth", row.truth)]
    shown = [f"{name} {value:.9g}" for name, value in values if value is not None]
    return _wrap(f"{place} {', '.join(shown)}")


def _wrap(text: str, indent: int = 2) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent)
