"""One problem in one dtype on one device: every trial run, and every tensor judged."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bp_torch.judge import criteria, finite, rounding
from bp_torch.judge.behaviour import observe
from bp_torch.judge.evaluate import (
    Pass,
    Truth,
    double,
    find_truth,
    is_pointwise,
    run,
    widened,
)
from bp_torch.judge.evidence import Evidence, needed
from bp_torch.judge.findings import autograd_findings
from bp_torch.judge.problem import Function, Problem
from bp_torch.judge.report import Check, Row
from bp_torch.judge.trials import Draw, Trial, trials

REFERENCE_DISAGREES = 1e-6
"""Beyond this, relative to the sum of absolute terms, autograd's derivative of the reference is not
the derivative of its value; differences in float64 are good to about 1e-10."""


class Bench:
    """One problem in one dtype on one device, and what its trials gave."""

    def __init__(
        self, problem: Problem, dtype: torch.dtype, device: torch.device, draw: Draw
    ) -> None:
        self.problem, self.dtype, self.device, self.draw = problem, dtype, device, draw
        self.rows: list[Row] = []
        self.checks: list[Check] = []
        self.evidence: list[Evidence] = []
        self.not_taken: list[str] = []
        self.findings: list[str] = []
        self.reference_lies = False
        with _noting("as given", problem.inputs):
            self.pointwise = is_pointwise(problem.reference or problem.fn, problem.inputs)

    def prove(self, progress: Callable[[str], None], *, only_given: bool) -> None:
        """Run every trial; only the given inputs where they are a further draw of the same."""
        problem = self.problem
        for trial in trials(
            problem.inputs, problem.wanted, pointwise=self.pointwise, draw=self.draw
        ):
            progress(f"{str(self.dtype).removeprefix('torch.')}, {trial.name}")
            if not trial.optional:
                with _noting(trial.name, trial.inputs):
                    if not self._behaves(trial):
                        return
                    self._first_order(trial)
            else:
                try:
                    self._first_order(trial)
                except Exception as error:
                    self._refused(trial.name, error)
            if not (trial.optional or problem.reference is None or self.reference_lies):
                self._second_order(trial)
            if only_given:
                return

    def _behaves(self, trial: Trial) -> bool:
        """Look for side effects first: a function that overwrites its inputs spoils all else."""
        checks, findings = observe(self.problem.fn, trial, self.draw, self.dtype)
        self.checks += checks
        self.findings += findings
        return next(check for check in checks if check.name == "inputs unchanged").ok

    def _first_order(self, trial: Trial) -> None:
        fn, reference = self.problem.fn, self.problem.reference
        with torch.no_grad():
            shaped = (reference or fn)(*trial.inputs)
        upstream = tuple(
            trial.upstream(o) if o.is_floating_point() else torch.zeros_like(o) for o in shaped
        )
        yours = run(fn, trial.inputs, trial.wanted, upstream)
        peer = None
        if reference is not None:
            peer = run(reference, trial.inputs, trial.wanted, upstream)
        self._judge_twice(trial, yours, peer, upstream, partial(self._truth, trial, upstream))

    def _truth(self, trial: Trial, upstream: tuple[Tensor, ...], *, draws: int) -> Truth:
        """The reference in float64; differences where there is none or it is wrong itself."""
        arguments = (trial.inputs, trial.wanted, upstream, self.dtype, self.draw.generator)
        reference = self.problem.reference
        if reference is not None and not self.reference_lies:
            truth = find_truth(reference, *arguments, draws=draws)
            if self.pointwise and draws > criteria.DRAWS:
                truth = self._corrected(truth, arguments)
            if trial.optional:
                return truth
            off = finite.disagreement(reference, trial.inputs, truth, upstream, self.draw.generator)
            if off <= REFERENCE_DISAGREES:
                return truth
            self.reference_lies = True
            self.findings.append(
                f"autograd's gradient of the reference is not the derivative of its value (off by "
                f"{off:.2g} of the sum of terms); differences of the value are the truth"
            )
        return finite.find_truth(
            reference or self.problem.fn, *arguments, pointwise=self.pointwise, draws=draws
        )

    def _corrected(self, truth: Truth, arguments: tuple[Any, ...]) -> Truth:
        """The truth with autograd's lost places mended, and a finding that there were any."""
        better = finite.corrected(truth, needed(self.problem.reference), *arguments)
        for name, old, new in zip(
            self.problem.names, truth.gradients, better.gradients, strict=True
        ):
            if old is not None and new is not None and not torch.equal(old, new):
                off = ((old - new).abs() / new.abs())[old != new].nan_to_num(0.0).max().item()
                self.findings.append(
                    f"autograd's own float64 gradient of {name} is off by up to {off:.2g} of "
                    f"itself; where it is, differences of the reference's value are the truth"
                )
        return better

    def _judge_twice(
        self,
        trial: Trial,
        yours: Pass,
        peer: Pass | None,
        upstream: tuple[Tensor, ...],
        truth: Callable[..., Truth],
        *,
        what: str = "gradient of",
        directions: Sequence[Tensor] = (),
    ) -> None:
        """Judge; before a conviction, measure the truth's spread more closely and judge again."""
        rows, found = self._judge(
            trial, yours, peer, truth(draws=criteria.DRAWS), upstream, what=what
        )
        if not all(row.ok for row in rows):
            closer = truth(draws=criteria.DRAWS_BEFORE_CONVICTION)
            for function in (self.problem.fn, self.problem.reference):
                closer = self._rounded(function, trial, upstream, closer, directions)
            rows, found = self._judge(trial, yours, peer, closer, upstream, what=what)
        self.rows += rows
        if found.bad:
            self.evidence.append(found)
        if trial.name in ("as given", "into saturation") and what == "gradient of":
            self.findings += autograd_findings(found)

    def _rounded(
        self,
        function: Function | None,
        trial: Trial,
        upstream: tuple[Tensor, ...],
        truth: Truth,
        directions: Sequence[Tensor],
    ) -> Truth:
        """The truth with the spread that rounding every operation of this function brings."""
        if function is None:
            return truth
        order = 2 if directions else 1
        exact, g, v = double(trial.inputs), double(upstream), double(directions)
        try:
            moved = rounding.spread(
                lambda: run(function, exact, trial.wanted, g, order=order, directions=v),
                self.dtype,
                self.draw.generator,
                criteria.ROUNDED_DRAWS,
            )
            return widened(truth, moved)
        except Exception:  # It may take its own dtype alone, or no second derivative.
            return truth

    def _judge(
        self,
        trial: Trial,
        yours: Pass,
        peer: Pass | None,
        truth: Truth,
        upstream: tuple[Tensor, ...],
        *,
        what: str,
    ) -> tuple[list[Row], Evidence]:
        rows: list[Row] = []
        judgements: list[criteria.Judgement | None] = []
        if peer is not None and what == "gradient of":
            for number, mine in enumerate(yours.outputs):
                if not mine.is_floating_point():
                    continue
                name = "value" if len(yours.outputs) == 1 else f"value {number}"
                value, exact = peer.outputs[number], truth.outputs[number]
                spread = truth.output_spreads[number]
                verdict = criteria.judge(
                    mine, value, exact, spread, self.dtype, systematic=not trial.optional
                )
                rows.append(self._row(trial, name, verdict, mine, value, exact))
        for number, gradient in enumerate(yours.gradients):
            if gradient is None:
                judgements.append(None)
                continue
            exact, spread = needed(truth.gradients[number]), needed(truth.spreads[number])
            theirs = None if peer is None else peer.gradients[number]
            verdict = criteria.judge(
                gradient, theirs, exact, spread, self.dtype, systematic=not trial.optional
            )
            judgements.append(verdict)
            name = f"{what} {self.problem.names[number]}"
            rows.append(self._row(trial, name, verdict, gradient, theirs, exact))
        found = Evidence(
            trial=trial.name,
            what=what,
            dtype=self.dtype,
            names=self.problem.names,
            reference=self.problem.reference,
            inputs=trial.inputs,
            wanted=trial.wanted,
            upstream=upstream,
            yours=yours,
            peer=peer,
            truth=truth,
            judgements=tuple(judgements),
            pointwise=self.pointwise,
        )
        return rows, found

    def _row(
        self,
        trial: Trial,
        what: str,
        verdict: criteria.Judgement,
        mine: Tensor,
        theirs: Tensor | None,
        exact: Tensor,
    ) -> Row:
        index = verdict.worst
        peer = verdict.autograd

        def at(tensor: Tensor | None) -> float | None:
            return None if tensor is None or index is None else tensor[index].item()

        return Row(
            trial=trial.name,
            what=what,
            dtype=str(self.dtype).removeprefix("torch."),
            device=str(self.device),
            ok=verdict.ok,
            yours_ulp=verdict.yours.max_ulp,
            yours_abs=verdict.yours.max_abs,
            yours_rel=verdict.yours.max_rel,
            autograd_ulp=None if peer is None else peer.max_ulp,
            autograd_abs=None if peer is None else peer.max_abs,
            autograd_rel=None if peer is None else peer.max_rel,
            index=index,
            yours=at(mine),
            autograd=at(theirs),
            truth=at(exact),
            at=at(trial.inputs[0]) if self.pointwise else None,
            nans=verdict.yours.nans,
            zeros=verdict.yours.zeros,
            signs=verdict.yours.signs,
        )

    def _second_order(self, trial: Trial) -> None:
        reference = self.problem.reference
        assert reference is not None
        with torch.no_grad():
            shaped = reference(*trial.inputs)
        upstream = tuple(self.draw.upstream(o) for o in shaped)
        directions = tuple(
            self.draw.normal(t) for t, want in zip(trial.inputs, trial.wanted, strict=True) if want
        )
        arguments = (trial.inputs, trial.wanted, upstream)
        try:
            peer = run(reference, *arguments, order=2, directions=directions)
            yours = run(self.problem.fn, *arguments, order=2, directions=directions)
        except Exception as error:
            self._refused("second derivative", error)
            return
        truth = partial(
            find_truth,
            reference,
            *arguments,
            self.dtype,
            self.draw.generator,
            order=2,
            directions=directions,
        )
        second = Trial("second derivative", trial.inputs, trial.wanted, self.draw.upstream)
        self._judge_twice(
            second,
            yours,
            peer,
            upstream,
            truth,
            what="second derivative by",
            directions=directions,
        )

    def _refused(self, trial: str, error: Exception) -> None:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        self.not_taken.append(f"{trial} ({type(error).__name__}: {reason[:90]})")


@contextmanager
def _noting(trial: str, inputs: Sequence[Tensor]) -> Iterator[None]:
    """Let the function's own error through, with a note on what led to it."""
    try:
        yield
    except Exception as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        if hasattr(error, "add_note"):  # Python 3.11
            error.add_note(f"raised in the trial '{trial}', inputs of shape {shapes}")
        raise
