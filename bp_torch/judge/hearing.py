"""One case heard: each trial run, its gradients held against the truth, and the outcome kept."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bp_torch.judge import criteria
from bp_torch.judge.behaviour import mean_of_runs, observe
from bp_torch.judge.cases import Case
from bp_torch.judge.distance import name_of
from bp_torch.judge.evidence import Evidence, Quantity
from bp_torch.judge.findings import autograd_findings, corrections
from bp_torch.judge.judgement import Judgement, judge
from bp_torch.judge.passes import Pass, Point, Refused, Tensors, note
from bp_torch.judge.rows import Check, Property, Refusal, Row, words
from bp_torch.judge.trials import Draw, Role, Trial, sample, trials
from bp_torch.judge.truth import Estimate, Truth, differences, kinks, reference, rounding
from bp_torch.judge.truth.working import working_dtype


@dataclass
class Record:
    """What hearings came to; those of several cases add up."""

    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    """Of gradients that were found wrong."""
    of_values: list[Evidence] = field(default_factory=list)
    """The same of values."""
    closer: "Record | None" = None
    """Of the same inputs in float64, where the mistake shows more clearly."""
    refusals: list[Refusal] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    order: int = 1
    """2 where the second derivative is part of the verdict."""
    reference_is_wrong: bool = False
    """Whether autograd's gradient of the reference is not that of its value."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        counted = (r.ok for r in self.rows if r.quantity.order <= self.order)
        return all(counted) and all(check.ok for check in self.checks)

    def why_nothing_is_told(self) -> str:
        """Of a gradient that no dtype tells at the given inputs: why; "" where all are told."""
        told: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.role is Role.AS_GIVEN and row.quantity is Quantity.GRADIENT:
                told.setdefault(row.name, []).append(row)
        for name, rows in told.items():
            if any(row.told for row in rows):
                continue
            if all(row.index is None for row in rows):
                return f"{name} is empty: there is nothing to judge"
            if all(row.truth is None or math.isnan(row.truth) for row in rows):
                return f"the truth for the gradient of {name} is not known at the inputs given"
            dtypes = " and ".join(dict.fromkeys(row.dtype for row in rows))
            return (
                f"what rounding in {dtypes} does to the gradient of {name} is larger than the "
                f"gradient itself"
            )
        return ""


REMEDY = "Mark backward @once_differentiable, or save inputs and outputs alone"


class Hearing:
    """One case, in one dtype on one device."""

    def __init__(self, case: Case, draw: Draw, record: Record) -> None:
        self.case, self.draw, self.record = case, draw, record
        self.trusted = case.reference
        """Whose gradient in float64 is the truth; None: differences of values are."""
        self.autograd_off = 0.0
        """The share of itself by which the truth's gradient was seen to be off."""
        self.working: torch.dtype | None = None
        self.random = False
        """Whether the gradient varies from run to run: then its mean is judged."""

    def hear(self, tell: Callable[[Role], None], *, only_given: bool) -> None:
        """Run every trial; only the given inputs where they are a further draw of the same.

        `tell` is called before each, and raises `Refused` where it must not be tried.

        Raises whatever the function raises on the given inputs, with a note on what led to it.
        """
        sequence = trials(self.case, self.draw)  # made one by one, each when it is due
        given = next(sequence)
        if not self._may(given, tell):
            return
        if only_given:  # which the function may refuse, as it may an empty one
            with self._refusals(given.role, Quantity.GRADIENT):
                self._hear_given(given)
            return
        with _its_own_error(self.case):
            if not self._hear_given(given):
                return
            for trial in sequence:
                if self._may(trial, tell):
                    with self._refusals(trial.role, Quantity.GRADIENT):
                        self._ask(trial.role, trial.point(self.case.told_by))

    def _may(self, trial: Trial, tell: Callable[[Role], None]) -> bool:
        """Say what will be tried; False where it must not be."""
        with self._refusals(trial.role, Quantity.GRADIENT):
            tell(trial.role)
            return True
        return False

    def _hear_given(self, trial: Trial) -> bool:
        """The inputs as given; whether anything else is worth trying."""
        # Side effects first: a function that overwrites its inputs spoils all else.
        if not self._behaves(trial):
            return False
        self._ask(trial.role, trial.point(self.case.told_by))
        if self.random:
            return False
        self._try_twice(trial)
        return True

    def _behaves(self, trial: Trial) -> bool:
        checks, findings = observe(self.case.fn, trial, self.draw)
        self.record.checks += checks
        self.record.findings += findings
        self.random = any(c.property is Property.DETERMINISTIC and not c.ok for c in checks)
        return all(c.ok for c in checks if c.property is Property.INPUTS_UNCHANGED)

    def _try_twice(self, trial: Trial) -> None:
        """The second derivative, where there is a reference to tell it."""
        if self.trusted is None:
            return
        trial = replace(trial, inputs=sample(self.case))
        directions = {name: self.draw.normal(trial.inputs[name]) for name in trial.wanted}
        with self._refusals(trial.role, Quantity.SECOND_DERIVATIVE):
            point = replace(trial.point(self.trusted), directions=directions)
            self._ask(trial.role, point)

    @contextmanager
    def _refusals(self, role: Role, quantity: Quantity) -> Iterator[None]:
        """What is refused inside is noted, and no mistake."""
        try:
            yield
        except Refused as refusal:
            self.record.refusals.append(Refusal(role, quantity, refusal.reason, self.case.label))

    def _ask(self, role: Role, point: Point) -> None:
        """Judge; before a conviction, measure the truth's spread more closely and judge again.

        Where the inputs as given have convicted it, further trials only illustrate that.
        """
        if self.case.pointwise and not point.keeps_the_shape():
            raise Refused(ValueError("its inputs no longer fit what the function closes over"))
        yours = point.of(self.case.fn).run()
        unsure: Tensors | None = None
        if self.random:
            yours, unsure = mean_of_runs(point.of(self.case.fn))
        if role is Role.AS_GIVEN and point.directions is None:
            self._examine_the_reference(point)
        peer = None if self.case.reference is None else point.run()
        sides = (self.case, role, point, yours, peer)
        rows, evidence = _judged(*sides, self._truth(role, point, yours, criteria.DRAWS, unsure))
        if not all(row.ok for row in rows) and not self._is_convicted():
            truth = self._truth_before_conviction(role, point, yours, unsure)
            rows, evidence = _judged(*sides, truth)
            if evidence.bad:
                rows, evidence = _judged(*sides, self._confirmed(truth, evidence))
        self.record.rows += rows
        self.record.findings += autograd_findings(evidence)
        if evidence.bad_value is not None:
            self.record.of_values.append(evidence)
        if evidence.bad and evidence.quantity.order <= self.record.order:
            self.record.evidence.append(evidence)
        elif evidence.bad:
            self.record.warnings.append(
                f"differentiated again, the gradient is silently wrong: the second derivative by "
                f"{' and '.join(evidence.bad)} is not what it says. {REMEDY}"
            )

    def _is_convicted(self) -> bool:
        return any(
            e.role is Role.AS_GIVEN and e.quantity is Quantity.GRADIENT and e.case is self.case
            for e in self.record.evidence
        )

    def _examine_the_reference(self, point: Point) -> None:
        """Where its gradient is not the derivative of its value, the value is trusted alone."""
        if self.trusted is None:
            return
        inputs = sample(self.case)
        if inputs is not self.case.inputs:
            trial = Trial(Role.AS_GIVEN, inputs, point.wanted, self.draw.upstream)
            with suppress(Refused):  # it may close over something of the whole shape
                point = trial.point(self.trusted)
        exact = point.exact()
        off = differences.disagreement(exact, exact.run().gradients, self.draw)
        if off > criteria.REFERENCE_DISAGREES:
            self.trusted, self.record.reference_is_wrong = None, True
            self.record.findings.append(
                f"autograd's gradient of the reference is not the derivative of its value (off by "
                f"{off:.2g} of the sum of terms); differences of the value are the truth"
            )

    def _truth(
        self, role: Role, point: Point, yours: Pass, draws: int, unsure: Tensors | None
    ) -> Truth:
        """The truth, and what it is uncertain by; `unsure`: what yours are."""
        truth = self._known(role, point, yours, draws)
        truth = truth.within(criteria.ELSEWHERE * self.autograd_off) if self.autograd_off else truth
        return truth if unsure is None else truth.unsure_by(unsure)

    def _known(self, role: Role, point: Point, yours: Pass, draws: int) -> Truth:
        dtype, draw = self._working_dtype(point), self.draw
        if self.trusted is not None:
            truth = reference.find_truth(point.exact(), dtype, draw, draws=draws)
            return truth.where_defined() if self.case.pointwise else truth
        pointwise = self.case.pointwise
        truth = differences.find_truth(
            point.exact(),
            dtype,
            draw,
            draws=draws,
            pointwise=pointwise,
            elements=criteria.SAMPLED_LATER if role.optional else criteria.SAMPLED_ELEMENTS,
        )
        return differences.where_values_are_finite(truth, yours, pointwise=pointwise)

    def _working_dtype(self, point: Point) -> torch.dtype:
        """The coarser of those that the function and the reference work in; what is coarser than
        the inputs' is nobody's right."""
        if self.working is None:
            given = self.case.dtype
            functions = filter(None, (self.case.fn, self.case.reference))
            met = [working_dtype(point.of(f), given) for f in functions]
            coarsest = max(met, key=lambda dtype: torch.finfo(dtype).eps)
            self.working = min(coarsest, given, key=lambda dtype: torch.finfo(dtype).eps)
        return self.working

    def _truth_before_conviction(
        self, role: Role, point: Point, yours: Pass, unsure: Tensors | None
    ) -> Truth:
        truth = self._truth(role, point, yours, criteria.DRAWS_BEFORE_CONVICTION, unsure)
        if self.trusted is not None and self.case.pointwise and point.directions is None:
            better = differences.corrected(truth, point.exact())
            self.record.findings += corrections(truth, better)
            truth = better
        for function in filter(None, (self.case.fn, self.case.reference)):
            exact = point.of(function).exact()
            try:
                # What you let underflow at the very inputs that are given is yours.
                doubt = function is not self.case.fn or role.optional
                dtype = self._working_dtype(point)
                off = rounding.spread(exact.run, dtype, self.draw, underflow=doubt)
                truth = truth.widened(off)
                if not self.case.pointwise:  # there the slopes to both sides have told
                    truth = truth.widened(kinks.jumps(exact, self.draw))
            except Refused:  # it may take its own dtype alone, or have no second derivative
                continue
        return truth

    def _confirmed(self, truth: Truth, evidence: Evidence) -> Truth:
        """The truth where a few of the elements that seem wrong have been looked at by differences
        as well; of a pointwise function all have been."""
        if self.trusted is None or self.case.pointwise or evidence.point.directions is not None:
            return truth
        for name in evidence.bad:
            judgement = evidence.judgements[name]
            excess = (evidence.mine(name) - evidence.exact(name)).abs() / judgement.limit
            excess = excess.where(judgement.bad, -1.0).nan_to_num(-1.0, -1.0).flatten()
            worst = excess.topk(min(criteria.CONFIRMED, int((excess > 0).sum()))).indices
            if worst.numel():
                exact = evidence.point.exact()
                better, off = differences.confirmed(
                    truth, exact, name, worst.tolist(), evidence.mine(name)
                )
                self.record.findings += corrections(truth, better)
                self.autograd_off = max(self.autograd_off, off)
                truth = better.within(criteria.ELSEWHERE * off)
        return truth


def _judged(
    case: Case, role: Role, point: Point, yours: Pass, peer: Pass | None, truth: Truth
) -> tuple[list[Row], Evidence]:
    """A row for every tensor of one trial, and the judgements on gradients with their grounds."""
    evidence = Evidence(case, role, point, yours, peer, truth, {})
    first = evidence.quantity is Quantity.GRADIENT
    rows = []

    def judged(
        quantity: Quantity, name: str, mine: Tensor, theirs: Tensor | None, known: Estimate
    ) -> Judgement:
        systematic = first and not role.optional
        found = judge(mine, theirs, known, case.dtype, systematic=systematic)
        rows.append(_row(evidence, quantity, name, found, (mine, theirs, known.value)))
        return found

    if peer is not None and first:
        outputs = zip(yours.outputs, peer.outputs, truth.outputs, strict=True)
        for number, (mine, theirs, known) in enumerate(outputs):
            name = "" if len(yours.outputs) == 1 else str(number)
            evidence.of_values.append(judged(Quantity.VALUE, name, mine, theirs, known))
    for name, known in truth.gradients.items():
        autograd = None if peer is None else peer.gradients[name]
        gradient = yours.gradients[name]
        evidence.judgements[name] = judged(evidence.quantity, name, gradient, autograd, known)
    return rows, evidence


def _row(
    evidence: Evidence,
    quantity: Quantity,
    name: str,
    found: Judgement,
    values: tuple[Tensor, Tensor | None, Tensor],
) -> Row:
    case, index, peer = evidence.case, found.worst, found.autograd

    def at(tensor: Tensor | None) -> float | None:
        return None if tensor is None or index is None else tensor[index].item()

    mine, theirs, exact = map(at, values)
    first_input = next(iter(evidence.point.inputs.values()))
    return Row(
        role=evidence.role,
        quantity=quantity,
        name=name,
        dtype=name_of(case.dtype),
        device=str(case.device),
        ok=found.ok,
        yours_ulp=found.yours.max_ulp,
        yours_abs=found.yours.max_abs,
        yours_rel=found.yours.max_rel,
        autograd_ulp=None if peer is None else peer.max_ulp,
        autograd_abs=None if peer is None else peer.max_abs,
        autograd_rel=None if peer is None else peer.max_rel,
        index=index,
        yours=mine,
        autograd=theirs,
        truth=exact,
        at=at(first_input) if case.pointwise else None,
        nans=found.yours.nans,
        zeros=found.yours.zeros,
        signs=found.yours.signs,
        told=found.told,
        draw=case.label,
    )


@contextmanager
def _its_own_error(case: Case) -> Iterator[None]:
    """Let a refusal through as the error that the function raised, noting what led to it."""
    error = None
    try:
        yield
    except Refused as refusal:
        error = refusal.error
    if error is not None:  # outside the handler, so that it keeps a cause of its own
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in case.inputs.values())
        note(error, f"raised in the trial '{words(Role.AS_GIVEN)}', inputs of shape {shapes}")
        raise error
