"""What was found: a frozen result, with text, JSON and TensorBoard as views of it.

Everything else in the judge knows trials, quantities and properties as members of an enum; what
they are called stands here.
"""

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum, auto
from typing import Any, Literal, TypeAlias

from bp_torch.judge.evidence import Quantity
from bp_torch.judge.trials import Role

WIDTH = 80
Verdict: TypeAlias = Literal["right", "wrong", "inconclusive"]

SHOWN = 8
"""Rows of the table that the text shows; JSON has all of them."""
REASON = 100
"""Characters of a refusal's reason."""


class Property(Enum):
    """What must hold besides the numbers."""

    INPUTS_UNCHANGED = auto()
    OUTPUTS_UNCHANGED = auto()
    UPSTREAM_UNCHANGED = auto()
    SAME_BACKWARD_TWICE = auto()
    INTERLEAVED = auto()
    EACH_RUN_ANEW = auto()
    DETERMINISTIC = auto()


class Outcome(Enum):
    """What became of a function under a transform; what is amiss comes first."""

    WRONG = auto()
    TORCH = auto()
    """Wrong, and no hand-written rule is to blame: there is none in it, or the reference fares no
    better, or what is right in eager mode has been compiled."""
    BYPASSED = auto()
    """The rule by hand did not run: torch differentiated its forward, rightly or not."""
    REFUSED = auto()
    RIGHT = auto()


WORDS: dict[Enum, str] = {
    Role.THOUSANDTH: "inputs × 0.001",
    Role.TENTH: "inputs × 0.1",
    Role.TENFOLD: "inputs × 10",
    Role.THOUSANDFOLD: "inputs × 1000",
    Role.UPSTREAM_NON_CONTIGUOUS: "upstream non-contiguous",
    Role.INPUTS_NON_CONTIGUOUS: "inputs non-contiguous",
    Role.ZERO_DIMENSIONAL: "0-d",
    Quantity.GRADIENT: "gradient of",
    Quantity.SECOND_DERIVATIVE: "second derivative by",
    Property.SAME_BACKWARD_TWICE: "backward twice",
    Property.INTERLEAVED: "two calls, then backward of the first",
}


def words(member: Enum) -> str:
    """What a trial, a quantity or a property is called: as in the code, unless `WORDS` knows
    better."""
    return WORDS.get(member, member.name.lower().replace("_", " "))


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong, in a word for programs and in a sentence for people."""

    mistake: str
    """One of `mistakes.hypothesis.Mistake`."""
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Row:
    """One tensor of one trial, at its worst element."""

    role: Role
    quantity: Quantity
    name: str
    """Of the input that the gradient is by; of a value its number, where there are several."""
    dtype: str
    device: str
    ok: bool
    yours_ulp: float
    yours_abs: float
    yours_rel: float
    autograd_ulp: float | None
    autograd_abs: float | None
    autograd_rel: float | None
    index: tuple[int, ...] | None
    yours: float | None
    """The three values at that index."""
    autograd: float | None
    truth: float | None
    at: float | None
    """The input's value there, for a pointwise function."""
    nans: int
    zeros: int
    signs: int
    """NaN or infinities, and zeros and wrong signs where the truth is a normal number."""
    told: int
    """In how many elements the truth is known well enough to tell a gradient from none."""
    draw: str = ""
    """Which draw of the inputs, as "n = 33, sorted"; "" where there is one."""

    @property
    def trial(self) -> str:
        """ "as given", "inputs × 10", "second derivative"."""
        second = self.quantity is Quantity.SECOND_DERIVATIVE
        return "second derivative" if second else words(self.role)

    @property
    def what(self) -> str:
        """ "gradient of weight", "second derivative by input" or "value"."""
        return f"{words(self.quantity)} {self.name}".rstrip()


@dataclass(frozen=True)
class Check:
    """A property that is not a number: side effects, determinism, the same backward twice."""

    property: Property
    ok: bool
    detail: str


@dataclass(frozen=True)
class Refusal:
    """A trial that the function refused, with its reason; a refusal is no mistake."""

    role: Role
    quantity: Quantity
    reason: str
    draw: str = ""

    def __str__(self) -> str:
        second = self.quantity is Quantity.SECOND_DERIVATIVE
        trial = "second derivative" if second else words(self.role)
        if self.draw and not self.role.optional:
            trial = self.draw
        return f"{trial} ({self.reason[:REASON]})"


@dataclass(frozen=True)
class TransformRow:
    """One of torch's transforms and what became of the function under it."""

    name: str
    """Such as "func.grad" or "compile(vmap(grad))"."""
    dtype: str
    outcome: Outcome
    order: int
    """Of the derivative that it takes."""
    detail: str
    """One short line: how wrong and where, why refused, what was bypassed; "" where right."""
    error: float = 0.0
    """The relative error, where the numbers are wrong."""


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


def _evidence(row: Row) -> list[str]:
    at = "" if row.at is None else f", input {row.at:.6g}"
    place = f"worst at index {row.index}{at}:"
    values = [("yours", row.yours), ("autograd", row.autograd), ("truth", row.truth)]
    shown = [f"{name} {value:.9g}" for name, value in values if value is not None]
    return _wrap(f"{place} {', '.join(shown)}")


def _wrap(text: str, indent: int = 2) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * indent)
