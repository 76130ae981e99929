"""The mistake's name: the one whose gradient is the one that was found."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from bp_torch.judge.rows import Diagnosis
from bp_torch.splits.cuts import Cut, listed
from bp_torch.splits.gradients import Gradients, combined
from bp_torch.splits.independence import gradient_of_part, solved
from bp_torch.splits.mistakes import Hypothesis, Split, Unit, hypotheses, weightings
from bp_torch.splits.rounding import TELLING, Tolerances, largest, units_of, worst

LEAST_SHARE = 1e-9
"""Weights that differ by less are the same."""

NAMELESS = Diagnosis("unnamed", "the gradient is wrong, and no mistake known here gives it")

MOST_SAMPLES = 128
"""Of so many samples it is asked what each counts, at a pass for each."""

LOSS_SCALE = 256
"""Powers of 2 from here on are the factors that a cost is scaled by for float16."""


@dataclass(frozen=True, eq=False)
class Tried:
    """What a way of the user's gave with one cut."""

    unit: Unit
    cut: Cut
    found: Sequence[Gradients]
    """On every rank; of micro-batches one."""
    moved: bool = False
    """Whether the parameters were changed on the way."""


@dataclass(frozen=True, eq=False)
class Failed:
    """One that is wrong, and by what it may be told."""

    tried: Tried
    split: Split
    truth: Gradients
    limits: Tolerances
    names: list[str] = field(default_factory=list)
    """The parameters whose gradients are wrong."""

    def is_given_by(self, expected: Sequence[Gradients]) -> bool:
        """Whether a mistake with these gradients, one for each rank, accounts for what is wrong."""
        for found, gradients in zip(self.tried.found, expected, strict=True):
            units = units_of(found, gradients, self.limits)
            if any(units.get(name, 0.0) > 1 for name in self.names):
                return False
        return True

    def of_each_rank(self, hypothesis: Hypothesis) -> list[Gradients]:
        """What a mistake would have given."""
        return [hypothesis.gradients(rank) for rank in range(len(self.tried.found))]

    def hypotheses(self) -> Iterator[Hypothesis]:
        """Those that account for it."""
        for hypothesis in hypotheses(self.split):
            if self.is_given_by(self.of_each_rank(hypothesis)):
                yield hypothesis


def diagnose(failures: Sequence[Failed]) -> Diagnosis | None:
    """One mistake for all that failed, or for most; None where none is known.

    It accounts at least for the cut with the most parts, whose sizes tell mistakes apart.
    """
    showing = max(
        failures, key=lambda failed: (not failed.split.cut.is_even, len(failed.split.cut))
    )
    named: list[dict[str, Hypothesis]] = []
    for failed in failures:
        by_name: dict[str, Hypothesis] = {}
        for hypothesis in failed.hypotheses():
            by_name.setdefault(hypothesis.mistake, hypothesis)
        named.append(by_name)
    candidates = named[failures.index(showing)]
    if candidates:
        best = max(candidates, key=lambda name: sum(name in each for each in named))
        shown = candidates[best]
        return Diagnosis(best, _of_parameters(showing, shown.sentence, shown.hint))
    if any(failed.tried.moved for failed in failures):
        sentence = "the parameters are changed on the way: step once, after the last part"
        return Diagnosis("step inside", f"{sentence}, with all of the gradient")
    common = _factor(showing)
    if common is not None:
        return Diagnosis(common.mistake, _of_parameters(showing, common.sentence))
    return _weights(showing) or _ranks_differ(showing)


def _of_parameters(failed: Failed, sentence: str, hint: str = "") -> str:
    """With the names of the parameters, where others are right."""
    others = set(failed.truth) - set(failed.names)
    if not any(largest(failed.truth[name]) for name in others):
        return sentence + hint
    return f"of {listed(failed.names)} alone: {sentence}"


def _factor(failed: Failed) -> Diagnosis | None:
    """A factor common to all that is wrong."""
    found = failed.tried.found[0]
    one = torch.cat(
        [failed.truth[n].flatten() for n in failed.names if n in failed.truth]
        or [torch.zeros(1, dtype=torch.float64)]
    )
    other = torch.cat(
        [
            found.get(n, torch.zeros_like(failed.truth[n])).flatten()
            for n in failed.names
            if n in failed.truth
        ]
        or [torch.zeros(1, dtype=torch.float64)]
    )
    square = (one @ one).item()
    if not square or not other.isfinite().all():
        return None
    factor = (one @ other).item() / square
    limits = {n: v * max(1.0, abs(factor)) for n, v in failed.limits.items()}
    scaled = combined([factor], [failed.truth])
    if any(
        units_of(each, scaled, limits).get(n, 0.0) > 1
        for each in failed.tried.found
        for n in failed.names
    ):
        return None
    return _said_of(factor)


def _said_of(factor: float) -> Diagnosis:
    if abs(factor) < 1e-12:
        return Diagnosis("no gradient", "there is no gradient: it is 0 or missing")
    if factor < 0:
        return Diagnosis(
            "sign", f"the gradient is {factor:g} times the right one: its sign is wrong"
        )
    power = math.log2(factor)
    if factor >= LOSS_SCALE and abs(power - round(power)) < 1e-6:
        return Diagnosis(
            "not unscaled",
            f"the gradient is {factor:g} = 2^{round(power)} times too large: the cost has been "
            f"scaled, as for float16, and the gradient not back; scaler.unscale_(optimizer) does",
        )
    whole = factor if factor > 1 else 1 / factor
    text = f"the gradient is {whole:.6g} times too {'large' if factor > 1 else 'small'}"
    if abs(whole - round(whole)) < 1e-6 * whole:
        why = (
            f"as where {round(whole)} parts are added and nothing divides by {round(whole)}"
            if factor > 1
            else f"as where it is divided by {round(whole)} once too often"
        )
        return Diagnosis("factor", f"{text}, {why}")
    return Diagnosis("factor", f"{text}, in every entry alike, as by clipping its norm")


def _weights(failed: Failed) -> Diagnosis | None:
    """What each part counts, or each sample, where that gives exactly what was found."""
    split = failed.split
    if len(failed.tried.found) > 1 and not failed.is_given_by(
        [failed.tried.found[0]] * len(failed.tried.found)
    ):
        return None
    found = {n: failed.tried.found[0].get(n, torch.zeros_like(t)) for n, t in failed.truth.items()}
    if not all(gradient.isfinite().all() for gradient in found.values()):
        return None
    weights = solved(list(split.parts), found)
    if weights and failed.is_given_by([combined(weights, split.parts)] * len(failed.tried.found)):
        return Diagnosis(
            "weights",
            f"{len(weights)} {split.unit.several} of {split.cut} count "
            f"{listed(f'{w:.4g}' for w in weights)}, where "
            f"{listed(f'{w:.4g}' for w in split.shares)} is right",
        )
    n = len(split.batch)
    if n > MOST_SAMPLES:
        return None
    samples = [gradient_of_part(split.subject, split.batch, (place,)) for place in range(n)]
    weights = solved(samples, found)
    if not weights or not failed.is_given_by(
        [combined(weights, samples)] * len(failed.tried.found)
    ):
        return None
    usual = sorted(weights)[n // 2]
    never = [place for place, weight in enumerate(weights) if abs(weight) < 1e-6 * abs(usual)]
    others = [p for p, w in enumerate(weights) if p not in never and abs(w - usual) > 1e-6 * usual]
    said = [f"samples {listed(never)} count nothing"] if never else []
    said += (
        [
            f"samples {listed(others)} count {listed(f'{weights[p] / usual:.4g}' for p in others)} "
            f"times what others do"
        ]
        if others
        else []
    )
    return (
        Diagnosis("samples", f"{split.unit.several} of {split.cut}: {' and '.join(said)}")
        if said
        else None
    )


def _ranks_differ(failed: Failed) -> Diagnosis | None:
    first = failed.tried.found[0]
    same = failed.is_given_by([first] * len(failed.tried.found))
    if same:
        return None
    sentence = "the ranks end with different gradients, and will step apart"
    return Diagnosis("ranks differ", _of_parameters(failed, sentence))


def hidden(split: Split, truth: Gradients, limits: Tolerances) -> str:
    """A mistake that could not be told from the truth here, though it weighs the parts otherwise;
    "" where there is none."""
    for mistake, _, weights in weightings(split):
        differs = max(abs(w - c) for w, c in zip(weights, split.shares, strict=True)) > LEAST_SHARE
        given = combined(weights, split.parts)
        if differs and worst(units_of(given, truth, limits)) <= TELLING:
            return mistake
    return ""
