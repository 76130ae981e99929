"""The mistake by its name: the first explanation that fits to within rounding.

A wrong name is worse than none.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from bp_torch.judge.criteria import (
    ALIKE,
    CLOSE,
    EXACTLY,
    FEWEST_TRIED,
    MOST_EVIDENCE,
    MOST_EXPLAINED,
    MOST_WORK,
    STANDS_OUT,
    TINY,
)
from bp_torch.judge.distance import apart, name_of
from bp_torch.judge.evidence import Evidence, Quantity
from bp_torch.judge.hearing import Record
from bp_torch.judge.judgement import Judgement
from bp_torch.judge.mistakes.constants import constants
from bp_torch.judge.mistakes.hypothesis import Family, Hypothesis
from bp_torch.judge.mistakes.masks import masks
from bp_torch.judge.mistakes.matrices import transposes
from bp_torch.judge.mistakes.nodes import factors_in_terms, nodes, several_nodes
from bp_torch.judge.mistakes.saved import (
    saved_overwritten,
    saved_replaced,
    saved_replaced_once,
    updated_weights,
)
from bp_torch.judge.mistakes.simple import (
    any_factor,
    diagonal,
    digits_of,
    functions_of_input_and_output,
    known_factors,
    precision,
    shifted,
    signs_and_places,
)
from bp_torch.judge.mistakes.substitutes import copied, stale, surrogates
from bp_torch.judge.mistakes.sums import (
    contributions,
    reversed_places,
    samples,
    summed_over_other_axes,
    summed_too_far,
    wrong_axis,
)
from bp_torch.judge.mistakes.upstream import (
    upstream_elsewhere,
    upstream_ignored,
    upstream_ignored_but_for_a_factor,
    upstream_not_linear,
    upstream_of_one,
)
from bp_torch.judge.mistakes.where import describe
from bp_torch.judge.passes import Refused
from bp_torch.judge.rows import Diagnosis, Outcome, Property, TransformRow, words
from bp_torch.judge.trials import UPSTREAM_LAYOUTS, Role

FAMILIES: tuple[Family, ...] = (
    surrogates,
    signs_and_places,
    copied,
    upstream_ignored,
    upstream_of_one,
    known_factors,
    constants,
    functions_of_input_and_output,
    saved_replaced,
    saved_replaced_once,
    saved_overwritten,
    masks,
    diagonal,
    nodes,
    upstream_elsewhere,
    samples,
    contributions,
    wrong_axis,
    summed_too_far,
    summed_over_other_axes,
    reversed_places,
    several_nodes,
    transposes,
    updated_weights,
    factors_in_terms,
    precision,
    any_factor,
)
"""From the most to the least specific: of two that fit equally well the first is named."""

LAST: tuple[Family, ...] = (upstream_ignored_but_for_a_factor, shifted)
"""With fitted numbers: where nothing simpler explains it."""

OF_NUMBERS_ALONE: tuple[Family, ...] = (
    surrogates,
    signs_and_places,
    copied,
    known_factors,
    constants,
    precision,
    any_factor,
)
"""Those that need no reference."""


def diagnose(record: Record, transforms: Sequence[TransformRow]) -> Diagnosis:
    """What is wrong, of everything that was found; first what a person would say first."""
    for check in record.checks:
        if not check.ok and check.property is not Property.DETERMINISTIC:
            stale_value = check.property in (Property.INTERLEAVED, Property.EACH_RUN_ANEW)
            return Diagnosis("stale-value" if stale_value else "side-effect", check.detail)
    first = [e for e in record.evidence if e.quantity is Quantity.GRADIENT]
    if record.closer is not None:
        first = [e for e in record.closer.evidence if e.quantity is Quantity.GRADIENT] + first
    first.sort(key=lambda e: (e.role is not Role.AS_GIVEN, torch.finfo(e.dtype).eps))
    given = [e for e in first if e.role is Role.AS_GIVEN]
    values = record.of_values
    if varies := next((c.detail for c in record.checks if not c.ok), None):
        if not given:
            return Diagnosis("nondeterministic", f"not deterministic: {varies}")
        known = _named(given) or _unexplained(given[0])
        return Diagnosis(known.mistake, f"{known}; so it is in the mean, for {varies}")
    if values and values[0].role is Role.AS_GIVEN:
        return _two_functions(values[0])
    if given:
        return _overflow(given) or _named(first) or _unexplained(given[0])
    for e in values:
        if overflow := _overflow_of_a_value(e):
            return overflow
    if first:
        return _layout(first) or _overflow(first) or _named(first) or _unexplained(first[0])
    if values:
        return _two_functions(values[0])
    if record.evidence:
        return _second_derivative(record.evidence[0])
    wrong = [f"{row.name}: {row.detail}" for row in transforms if row.outcome is Outcome.WRONG]
    return Diagnosis("transform", "; ".join(wrong))


def _overflow_of_a_value(e: Evidence) -> Diagnosis | None:
    for number, judgement in enumerate(e.of_values):
        mine, exact = e.yours.outputs[number].double(), e.truth.outputs[number].value
        broken = judgement.bad & ~mine.isfinite()
        if broken.any():
            return Diagnosis(
                "overflow",
                f"the value is {mine[broken][0].item()} where the reference gives "
                f"{exact[broken][0].item():.6g}, in the trial '{words(e.role)}': something "
                f"overflows on the way, in {name_of(e.dtype)}",
            )
    return None


def _two_functions(e: Evidence) -> Diagnosis:
    """The values differ: then what is said of gradients comes second."""
    if overflow := _overflow_of_a_value(e):
        return overflow
    number = e.bad_value or 0
    judgement = e.of_values[number]
    mine, exact = e.yours.outputs[number].double(), e.truth.outputs[number].value
    if coarse := digits_of(mine, e.truth.outputs[number], e, pointwise=True):
        return Diagnosis(
            "precision",
            f"the value has lost precision: its numbers carry only the digits of {name_of(coarse)}",
        )
    worst = judgement.worst or ()
    yours, theirs = apart(mine[worst].item(), exact[worst].item())
    size = (mine - exact).abs()[judgement.bad].max().item()
    where = "" if e.role is Role.AS_GIVEN else f", in the trial '{words(e.role)}'"
    text = (
        f"these are two functions: their values differ by up to {size:.3g}{where}, as {yours} "
        f"where the reference gives {theirs}"
    )
    if worst:
        text += f", at index {worst[0] if len(worst) == 1 else worst}"
    return Diagnosis("forward", text)


def _second_derivative(e: Evidence) -> Diagnosis:
    text = f"the first derivative is right and the second, by {' and '.join(e.bad)}, is not"
    broken = sum(int((~e.mine(n).isfinite() & e.exact(n).isfinite()).sum()) for n in e.bad)
    if broken:
        reason = f"NaN or infinite in {broken} elements where the truth is finite"
    else:
        reason = "backward hides from autograd what it depends on"
    return Diagnosis("second-derivative", f"{text}: {reason}")


def _layout(evidence: Sequence[Evidence]) -> Diagnosis | None:
    if not all(e.role in UPSTREAM_LAYOUTS for e in evidence):
        return None
    trials = " and ".join(dict.fromkeys(words(e.role) for e in evidence))
    return Diagnosis(
        "storage-order",
        f"reads the upstream gradient in storage order: right for a contiguous one, "
        f"wrong with {trials}",
    )


def _overflow(evidence: Sequence[Evidence]) -> Diagnosis | None:
    for e in evidence:
        for name in e.bad:
            mine, exact = e.mine(name), e.exact(name)
            broken = exact.isfinite() & ~mine.isfinite()
            if not broken.any():
                continue
            what = "NaN" if mine[broken].isnan().any() else "infinite"
            where = describe(e.point.inputs, broken, exact.isfinite(), name) or "in places"
            return Diagnosis(
                "overflow",
                f"the gradient of {name} is {what} {where}: something overflows on the way, in "
                f"{name_of(e.dtype)}",
            )
    return None


def _named(evidence: Sequence[Evidence]) -> Diagnosis | None:
    """The whole gradient explained, or else a region.

    At the inputs as given, if it is wrong there, and in the finest dtype: what does not explain it
    in many digits does not explain it. Else in the first of the other trials.
    """
    for e in evidence[:MOST_EVIDENCE]:
        if e.role is Role.AS_GIVEN:
            few = e.sampled(MOST_EXPLAINED)
            return (
                _vanishes(e)
                or _best(few, _families(e))
                or _one_by_one(few)
                or _best(few, LAST)
                or _region(e)
                or _best(few, (upstream_not_linear,))
                or _stale_elsewhere(evidence)
            )
        if found := _best(e, (stale,)) or _region(e):
            return found
    return None


def _stale_elsewhere(evidence: Sequence[Evidence]) -> Diagnosis | None:
    """What an earlier call has left shows in later trials: in most of them, for of many trials one
    may match by chance."""
    later = [e for e in evidence if e.role is not Role.AS_GIVEN][:MOST_EVIDENCE]
    found = [diagnosis for e in later if (diagnosis := _best(e, (stale,)))]
    return found[0] if 2 * len(found) > len(later) else None


def _families(e: Evidence) -> Sequence[Family]:
    return FAMILIES if e.case.reference is not None else OF_NUMBERS_ALONE


def _best(e: Evidence, families: Sequence[Family]) -> Diagnosis | None:
    """Of all hypotheses that explain the gradient, the one that fits best; of equals the first."""
    fitting = []
    for hypothesis in _hypotheses(e, families):
        residual = e.explained_by(hypothesis.gradients)
        if residual is not None:
            fitting.append((residual, hypothesis))
            if residual < EXACTLY:  # nothing later fits better
                break
    if not fitting:
        return None
    best = min(residual for residual, _ in fitting)
    chosen = next(h for residual, h in fitting if residual <= CLOSE * best + TINY)
    return Diagnosis(chosen.mistake, chosen.sentence)


def _hypotheses(e: Evidence, families: Sequence[Family]) -> Iterator[Hypothesis]:
    most = int(MOST_WORK / max(_size(e), 1))
    return islice(_all_hypotheses(e, families), most)


def _size(e: Evidence) -> int:
    """Of one pass: its inputs and outputs."""
    return sum(t.numel() for t in (*e.point.inputs.values(), *e.point.upstream))


def _all_hypotheses(e: Evidence, families: Sequence[Family]) -> Iterator[Hypothesis]:
    for family in families:
        try:
            yield from family(e)
        except Refused:
            continue  # The reference refuses what this family tries: then it explains nothing.


def _one_by_one(e: Evidence) -> Diagnosis | None:
    """A mistake of its own for each input: all must be explained."""
    if len(e.bad) < 2:
        return None
    found = [_best(e.alone(name), _families(e)) for name in e.bad]
    known = [diagnosis for diagnosis in found if diagnosis is not None]
    if len(known) < len(found):
        return None
    return Diagnosis(known[0].mistake, "; ".join(str(diagnosis) for diagnosis in known))


def _vanishes(e: Evidence) -> Diagnosis | None:
    """Of a pointwise function: where the wrong elements are all 0 and the others right, that says
    it; in a coarse dtype a hypothesis on the others would fit as well."""
    zero = all((e.mine(name)[e.judgements[name].bad] == 0).all() for name in e.bad)
    if not e.case.pointwise or not zero:
        return None
    return _region(e)


def _region(e: Evidence) -> Diagnosis | None:
    regions = [_region_of(e, name) for name in e.bad]
    found = [region for region in regions if region is not None]
    if not found or len(found) < len(regions):
        return None
    return Diagnosis("region", "; ".join(found))


def _region_of(e: Evidence, name: str) -> str | None:
    judgement, mine, exact = e.judgements[name], e.mine(name), e.exact(name)
    wrong = judgement.bad
    # Where the truth is within the limit of 0 a mistake could not be seen.
    tested = exact.isfinite() & (wrong | (exact.abs() > 2 * judgement.limit))
    where = describe(e.point.inputs, wrong, tested, name) or _where_zero(exact, wrong, tested)
    if where is None or where == "everywhere" or not _stands_out(judgement, mine, exact):
        return None
    return f"the gradient of {name} is wrong only {where}{_how(mine, exact, wrong)}"


def _where_zero(exact: Tensor, wrong: Tensor, tested: Tensor) -> str | None:
    """What is masked out, say, and has a gradient all the same."""
    zero = exact == 0
    return "where it should be 0" if torch.equal(wrong, zero) and (tested & ~wrong).any() else None


def _stands_out(judgement: Judgement, mine: Tensor, exact: Tensor) -> bool:
    """Whether wrong elements are far more wrong than right ones: an error that only passes the
    limit somewhere is no region."""
    excess = (mine - exact).abs() / judgement.limit
    excess = excess.where(exact.isfinite(), 0.0).nan_to_num(torch.inf, torch.inf)
    right = excess[~judgement.bad]
    return not right.numel() or bool(excess[judgement.bad].min() > STANDS_OUT * right.max())


def _how(mine: Tensor, exact: Tensor, wrong: Tensor) -> str:
    """What it is there instead, where that is simple."""
    mine, exact = mine[wrong], exact[wrong]
    if len(mine) > 1 and (mine == mine[0]).all():
        return f": it is {mine[0].item() + 0.0:.6g} there"
    if (mine == 0).all():
        return ": it is 0 there"
    ratio = mine / exact
    middle = ratio.median()
    if ((ratio - middle).abs() < ALIKE * middle.abs()).all():
        if (middle + 1).abs() < ALIKE:
            return ": it has the wrong sign there"
        if (middle - 1).abs() > ALIKE:
            return f": it is {middle:.3g} times the truth there"
    return ""


def _unexplained(e: Evidence) -> Diagnosis:
    name = e.bad[0]
    judgement, mine, exact = e.judgements[name], e.mine(name), e.exact(name)
    share = judgement.bad.double().mean().item()
    worst = judgement.worst or ()
    yours, truth = apart(mine[worst].item(), exact[worst].item())
    text = (
        f"the gradient of {name} is wrong in {share:.0%} of its elements, as {yours} for {truth} "
        f"at index {worst[0] if len(worst) == 1 else worst}; no known mistake explains it"
    )
    if MOST_WORK / max(_size(e), 1) < FEWEST_TRIED and not e.case.pointwise:
        text += " (with smaller inputs more can be tried)"
    ratio = (mine / exact)[judgement.bad]
    ratio = ratio[ratio.isfinite()]
    if ratio.numel() > 1 and ratio.max() - ratio.min() > ALIKE * ratio.abs().max():
        text += f". Yours/truth there: {ratio.min().item():.3g} to {ratio.max().item():.3g}"
    return Diagnosis("not-explained", text)
