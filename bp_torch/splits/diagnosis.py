"""The mistake's name: the one whose gradient is the one that was found."""

from collections.abc import Sequence

from bp_torch.judge.rows import Diagnosis
from bp_torch.splits.cuts import listed
from bp_torch.splits.failed import Failed
from bp_torch.splits.gradients import Gradients, combined
from bp_torch.splits.mistakes import weightings
from bp_torch.splits.omissions import Hypothesis
from bp_torch.splits.rounding import TELLING, Tolerances, largest, units_of, worst
from bp_torch.splits.split import Split
from bp_torch.splits.unnamed import factor_of, weights_of

LEAST_SHARE = 1e-9
"""Weights that differ by less are the same."""

NAMELESS = Diagnosis("unnamed", "the gradient is wrong, and no mistake known here gives it")


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
    common = factor_of(showing)
    if common is not None:
        return Diagnosis(common.mistake, _of_parameters(showing, common.sentence))
    return weights_of(showing) or _ranks_differ(showing)


def _of_parameters(failed: Failed, sentence: str, hint: str = "") -> str:
    """With the names of the parameters, where others are right."""
    others = set(failed.truth) - set(failed.names)
    if not any(largest(failed.truth[name]) for name in others):
        return sentence + hint
    return f"of {listed(failed.names)} alone: {sentence}"


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
