"""What a wrong gradient is of the right one, where no known mistake gives it: a factor, or other
weights of parts or samples."""

import math

import torch

from bp_torch.judge.rows import Diagnosis
from bp_torch.splits.cuts import listed
from bp_torch.splits.failed import Failed
from bp_torch.splits.gradients import Gradients, combined
from bp_torch.splits.independence import gradient_of_part, solved
from bp_torch.splits.rounding import units_of

MOST_SAMPLES = 128
"""Of so many samples it is asked what each counts, at a pass for each."""

LOSS_SCALE = 256
"""Powers of 2 from here on are the factors that a cost is scaled by for float16."""

MOST_NUMBERS = 2e7
"""In all of those gradients together."""

ALIKE = 1e-6
"""A factor that is no further from a whole number, or from another one, is the same: n / N in
float32 is as near."""


def factor_of(failed: Failed) -> Diagnosis | None:
    """A factor common to all that is wrong."""
    names = [name for name in failed.names if name in failed.truth]
    if not names:
        return None
    one = torch.cat([failed.truth[name].flatten() for name in names])
    other = torch.cat([gradient.flatten() for gradient in _filled(failed, names).values()])
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
    if factor >= LOSS_SCALE and abs(power - round(power)) < ALIKE:
        return Diagnosis(
            "not unscaled",
            f"the gradient is {factor:g} = 2^{round(power)} times too large: the cost has been "
            f"scaled, as for float16, and the gradient not back; scaler.unscale_(optimizer) does",
        )
    whole = factor if factor > 1 else 1 / factor
    text = f"the gradient is {whole:.6g} times too {'large' if factor > 1 else 'small'}"
    if abs(whole - round(whole)) < ALIKE * whole:
        why = (
            f"as where {round(whole)} parts are added and nothing divides by {round(whole)}"
            if factor > 1
            else f"as where it is divided by {round(whole)} once too often"
        )
        return Diagnosis("factor", f"{text}, {why}")
    return Diagnosis("factor", f"{text}, in every entry alike, as by clipping its norm")


def weights_of(failed: Failed) -> Diagnosis | None:
    """What each part counts, or each sample, where that gives exactly what was found."""
    split, ranks = failed.split, len(failed.tried.found)
    found = _filled(failed, list(failed.truth))
    if not failed.is_given_by([found] * ranks) or not _is_finite(found):
        return None
    weights = solved(list(split.parts), found)
    if weights and failed.is_given_by([combined(weights, split.parts)] * ranks):
        return Diagnosis(
            "weights",
            f"{len(weights)} {split.unit.several} of {split.cut} count "
            f"{listed(f'{w:.4g}' for w in weights)}, where "
            f"{listed(f'{w:.4g}' for w in split.shares)} is right",
        )
    return _samples(failed, found)


def _samples(failed: Failed, found: Gradients) -> Diagnosis | None:
    split, ranks = failed.split, len(failed.tried.found)
    n = len(split.batch)
    if n > MOST_SAMPLES or n * sum(g.numel() for g in found.values()) > MOST_NUMBERS:
        return None
    samples = [gradient_of_part(split.subject, split.batch, (place,)) for place in range(n)]
    weights = solved(samples, found)
    if not weights or not failed.is_given_by([combined(weights, samples)] * ranks):
        return None
    usual = sorted(weights)[n // 2]
    never = [place for place, weight in enumerate(weights) if abs(weight) < ALIKE * abs(usual)]
    others = [p for p, w in enumerate(weights) if p not in never and abs(w - usual) > ALIKE * usual]
    said = []
    if never:
        said.append(f"samples {listed(never)} count nothing")
    if others:
        times = listed(f"{weights[place] / usual:.4g}" for place in others)
        said.append(f"samples {listed(others)} count {times} times what others do")
    if not said:
        return None
    return Diagnosis("samples", f"{split.unit.several} of {split.cut}: {' and '.join(said)}")


def _filled(failed: Failed, names: list[str]) -> Gradients:
    """What was found on the first rank; a gradient that is missing is 0."""
    found = failed.tried.found[0]
    return {name: found.get(name, torch.zeros_like(failed.truth[name])) for name in names}


def _is_finite(gradients: Gradients) -> bool:
    return all(bool(gradient.isfinite().all()) for gradient in gradients.values())
