"""From everything that was found wrong to one sentence that says what the mistake is."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bp_torch.judge.evidence import Evidence
from bp_torch.judge.hypotheses import hypotheses
from bp_torch.judge.regions import describe
from bp_torch.judge.report import Check, Diagnosis, Row

MISTAKES = (
    *("sign", "factor", "missing-factor", "output-for-input", "upstream-ignored", "transposed"),
    *("swapped", "reduction", "missing-term", "region", "overflow", "precision", "side-effect"),
    *("storage-order", "nondeterministic", "second-derivative", "forward", "updated-weights"),
    *("transform", "not-explained"),
)

CLOSE, TINY = 3.0, 1e-12
"""Residuals within this factor, or this share of the error, fit equally well."""

LAYOUTS = ("upstream non-contiguous", "upstream transposed", "upstream expanded")


def diagnose(
    rows: Sequence[Row], checks: Sequence[Check], evidence: Sequence[Evidence]
) -> Diagnosis:
    """The first explanation that fits to within rounding; a wrong name is worse than none."""
    failed = {check.name: check for check in checks if not check.ok}
    for name in ("inputs unchanged", "outputs unchanged", "upstream unchanged", "backward twice"):
        if name in failed:
            return Diagnosis("side-effect", failed[name].detail)
    if "deterministic" in failed:
        return Diagnosis("nondeterministic", f"not deterministic: {failed['deterministic'].detail}")
    first = [e for e in evidence if e.what == "gradient of"]
    values = [row for row in rows if not row.ok and row.what.startswith("value")]
    given = [e for e in first if e.trial == "as given"]
    if values and values[0].trial == "as given" and not given:
        return _forward(values[0])
    infinite = [row for row in values if row.yours is not None and not math.isfinite(row.yours)]
    if infinite and not given:
        return _forward(infinite[0])
    if not first:
        if values:
            return _forward(values[0])
        if evidence:
            return _second(evidence[0])
        return Diagnosis("transform", "; ".join(check.detail for check in failed.values()))
    if all(e.trial in LAYOUTS for e in first):
        trials = " and ".join(dict.fromkeys(e.trial for e in first))
        return Diagnosis(
            "storage-order",
            f"reads the upstream gradient in storage order: right for a contiguous one, "
            f"wrong with {trials}",
        )
    return _overflow(first) or _named(first) or _unexplained(first[0])


def _forward(row: Row) -> Diagnosis:
    if row.yours is not None and not math.isfinite(row.yours):
        return Diagnosis(
            "overflow",
            f"the value is {row.yours} where the reference gives {row.truth:.6g}, in the trial "
            f"'{row.trial}': something overflows on the way, in {row.dtype}",
        )
    return Diagnosis(
        "forward",
        f"the gradient is right and the value is not: {row.yours:.6g} where the reference gives "
        f"{row.truth:.6g}, at index {row.index}",
    )


def _second(e: Evidence) -> Diagnosis:
    names = " and ".join(e.names[place] for place in e.bad)
    text = f"the first derivative is right and the second, by {names}, is not"
    broken = sum(int((~e.mine(k).isfinite() & e.exact(k).isfinite()).sum()) for k in e.bad)
    if broken:
        reason = f"NaN or infinite in {broken} elements where the truth is finite"
    else:
        reason = "backward hides from autograd what it depends on"
    return Diagnosis("second-derivative", f"{text}: {reason}")


def _overflow(evidence: Sequence[Evidence]) -> Diagnosis | None:
    for e in evidence:
        for place in e.bad:
            mine, exact = e.mine(place), e.exact(place)
            broken = exact.isfinite() & ~mine.isfinite()
            if not broken.any():
                continue
            what = "NaN" if mine[broken].isnan().any() else "infinite"
            size = e.inputs[place].double()
            where = describe(size, broken, exact.isfinite(), e.names[place]) or "in places"
            return Diagnosis(
                "overflow",
                f"the gradient of {e.names[place]} is {what} {where}: something overflows on the "
                f"way, in {str(e.dtype).removeprefix('torch.')}",
            )
    return None


def _named(evidence: Sequence[Evidence]) -> Diagnosis | None:
    """The whole gradient explained, or else a region; the given inputs before others."""
    for e in evidence[:3]:
        everywhere = e.trial in ("as given", "second derivative")
        if everywhere and (whole := _best(e) or _one_by_one(e)):
            return whole
        if region := _region(e):
            return region
    return None


def _best(e: Evidence) -> Diagnosis | None:
    """Of all hypotheses that explain the gradient, the one that fits best; of equals the first."""
    fitting = [
        (residual, hypothesis)
        for hypothesis in hypotheses(e)
        if (residual := e.explained_by(hypothesis.gradients)) is not None
    ]
    if not fitting:
        return None
    best = min(residual for residual, _ in fitting)
    chosen = next(h for residual, h in fitting if residual <= CLOSE * best + TINY)
    return Diagnosis(chosen.mistake, chosen.sentence)


def _one_by_one(e: Evidence) -> Diagnosis | None:
    """A mistake of its own for each input: all must be explained."""
    if len(e.bad) < 2:
        return None
    found = [_best(e.alone(place)) for place in e.bad]
    known = [diagnosis for diagnosis in found if diagnosis is not None]
    if len(known) < len(found):
        return None
    return Diagnosis(known[0].mistake, "; ".join(str(diagnosis) for diagnosis in known))


def _region(e: Evidence) -> Diagnosis | None:
    if len(e.bad) != 1:
        return None
    (place,) = e.bad
    judgement = e.judgements[place]
    assert judgement is not None
    mine, exact, wrong = e.mine(place), e.exact(place), judgement.bad
    # Where the truth is within the limit of 0 a mistake could not be seen.
    tested = exact.isfinite() & (wrong | (exact.abs() > 2 * judgement.limit))
    where = describe(e.inputs[place].double(), wrong, tested, e.names[place])
    if where is None or where == "everywhere":
        return None
    return Diagnosis(
        "region",
        f"the gradient of {e.names[place]} is wrong only {where}{_how(mine, exact, wrong)}",
    )


def _how(mine: Tensor, exact: Tensor, wrong: Tensor) -> str:
    """What it is there instead, where that is simple."""
    mine, exact = mine[wrong], exact[wrong]
    if (mine == 0).all():
        return ": it is 0 there"
    ratio = mine / exact
    middle = ratio.median()
    if ((ratio - middle).abs() < 0.01 * middle.abs()).all():
        if (middle + 1).abs() < 0.01:
            return ": it has the wrong sign there"
        if (middle - 1).abs() > 0.01:
            return f": it is {middle:.3g} times the truth there"
    return ""


def _unexplained(e: Evidence) -> Diagnosis:
    place = e.bad[0]
    judgement = e.judgements[place]
    assert judgement is not None
    ratio = (e.mine(place) / e.exact(place))[judgement.bad]
    ratio = ratio[ratio.isfinite()]
    spread = ""
    if ratio.numel():
        quantiles = torch.quantile(
            ratio[:1_000_000], torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).to(ratio)
        )
        spread = "; yours/truth there: " + ", ".join(f"{q:.3g}" for q in quantiles.tolist())
        spread += " (least, quartiles, most)"
    share = judgement.bad.double().mean().item()
    return Diagnosis(
        "not-explained",
        f"the gradient of {e.names[place]} is wrong in {share:.0%} of its elements, worst at index "
        f"{judgement.worst}, and no known mistake explains it{spread}",
    )
