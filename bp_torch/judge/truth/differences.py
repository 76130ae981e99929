"""The truth where no reference can tell it: differences of the function's own values.

    f′(x) ≈ D(h) = [f(x + h) − f(x − h)] / 2h ,   R(h) = [4 D(h/2) − D(h)] / 3

(Richardson 1911: the h² term of the central difference cancels in R). R(h) and R(h/2) differ by
about the error of the coarser one, and that is what the error is taken to be.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bp_torch.judge import criteria
from bp_torch.judge.passes import Point, Tensors, outputs_of
from bp_torch.judge.trials import Draw
from bp_torch.judge.truth import Estimate, Truth, reference

Along = Callable[[Tensor], Tensor]
"""From a step of one input to the weighed outputs, element by element or in total."""


def find_truth(
    point: Point, dtype: torch.dtype, draw: Draw, *, pointwise: bool, draws: int
) -> Truth:
    """The derivative of Σ upstream · output by differences in float64.

    For a pointwise function every element, by moving all at once; else a few elements of each
    input, and NaN, which is not judged, for the others.
    """
    exact = point.exact()
    half_place = torch.finfo(dtype).eps / 2
    # The conditioning is that of fn's own backward: there is no other.
    own = reference.find_truth(point, dtype, draw, draws=draws)
    found = _every_element(exact) if pointwise else _some_elements(exact, draw)
    with torch.no_grad():
        outputs = outputs_of(exact.function, *exact.inputs.values())
    return Truth(
        outputs=tuple(Estimate(output, half_place * output.abs()) for output in outputs),
        gradients={
            name: Estimate(each.value, each.spread + own.gradients[name].spread)
            for name, each in found.items()
        },
    )


def corrected(truth: Truth, point: Point) -> Truth:
    """A pointwise truth with the places mended where autograd lost it and differences did not.

    Autograd multiplies factors that may underflow, overflow or cancel although the derivative is an
    ordinary number; a difference of the function's values there has a small error of its own.
    """
    exact = point.exact()
    kinks = _kinks(exact)
    gradients = {}
    for name, other in _every_element(exact).items():
        known, kink = truth.gradients[name], kinks[name]
        certain = other.value.isfinite() & (other.spread < criteria.CERTAIN * other.value.abs())
        apart = (other.value - known.value).abs() > criteria.SURE * other.spread + known.spread
        wrong = certain & (kink == 0) & apart
        gradients[name] = Estimate(
            torch.where(wrong, other.value, known.value),
            torch.where(wrong, known.spread + other.spread, torch.maximum(known.spread, kink)),
        )
    return Truth(truth.outputs, gradients)


def disagreement(point: Point, gradients: Tensors, draw: Draw) -> float:
    """How far gradients are from differences along one random direction per input.

    Relative to the sum of absolute terms, less what the differences are uncertain by; the largest
    over the inputs. 0 where the gradients are right.
    """
    exact = point.exact()
    worst = 0.0
    for name, gradient in gradients.items():
        if not gradient.numel() or not gradient.isfinite().all():
            continue
        x = exact.inputs[name]
        direction = draw.normal(x)
        step = (criteria.STEP_OF_LARGE * x.abs().amax()).clamp(min=criteria.STEP)
        found = _richardson(_scaled(_total(exact, name), direction), step / direction.abs().amax())
        terms = (gradient.double() * direction).abs().sum()
        difference = ((gradient.double() * direction).sum() - found.value).abs()
        if found.value.isfinite() and terms > 0:
            off = (difference - criteria.SURE * found.spread).clamp(min=0) / terms
            worst = max(worst, off.item())
    return worst


def _every_element(exact: Point) -> dict[str, Estimate]:
    found = {}
    for name in exact.wanted:
        step = _step(exact.inputs[name], criteria.STEP)
        found[name] = _richardson(_per_element(exact, name), step)
    return found


def _some_elements(exact: Point, draw: Draw) -> dict[str, Estimate]:
    found = {}
    for name in exact.wanted:
        x = exact.inputs[name]
        steps = _step(x, criteria.STEP).reshape(-1)
        spread = torch.zeros(x.shape, dtype=x.dtype, device=x.device)  # in rows, as x need not be
        value = torch.full_like(spread, torch.nan)
        chosen = draw.places(x, criteria.SAMPLED_ELEMENTS)
        for element in chosen:
            direction = torch.zeros_like(spread)
            direction.view(-1)[element] = 1
            one = _richardson(_scaled(_total(exact, name), direction), steps[element])
            value.view(-1)[element], spread.view(-1)[element] = one.value, one.spread
        found[name] = Estimate(value, spread)
    return found


def _kinks(exact: Point) -> Tensors:
    """How far the slopes on both sides of each element are apart, where they are: at a kink every
    number between them is a derivative."""
    found = {}
    for name in exact.wanted:
        h = _step(exact.inputs[name], criteria.KINK_STEP)
        values = _per_element(exact, name)
        below, here, above = values(-h), values(0 * h), values(h)
        left, right = (here - below) / h, (above - here) / h
        apart = (left - right).abs()
        kink = apart > criteria.KINK * torch.maximum(left.abs(), right.abs())
        found[name] = torch.where(kink & apart.isfinite(), 2 * apart, 0.0)
    return found


def _step(x: Tensor, least: float) -> Tensor:
    return (criteria.STEP_OF_LARGE * x.abs()).clamp(min=least)


def _per_element(exact: Point, name: str) -> Along:
    """The weighed outputs, added in each place, as a function of a step of that input."""
    return lambda step: torch.stack(_weighed(exact, name, step)).sum(0)


def _total(exact: Point, name: str) -> Along:
    """Their sum."""
    return lambda step: torch.stack([t.sum() for t in _weighed(exact, name, step)]).sum()


@torch.no_grad()
def _weighed(exact: Point, name: str, step: Tensor) -> list[Tensor]:
    moved = {**exact.inputs, name: exact.inputs[name] + step}
    outputs = outputs_of(exact.function, *moved.values())
    return [o * g for o, g in zip(outputs, exact.upstream, strict=True)]


def _scaled(moved: Along, direction: Tensor) -> Along:
    """The function of a number: how far to go in that direction."""
    return lambda size: moved(size * direction)


def _richardson(f: Along, h: Tensor) -> Estimate:
    """R(h/2) and an estimate of its error."""

    def central(step: Tensor) -> Tensor:
        return (f(step) - f(-step)) / (2 * step)

    coarse, middle, fine = central(h), central(h / 2), central(h / 4)
    first, second = (4 * middle - coarse) / 3, (4 * fine - middle) / 3
    rounding = torch.finfo(torch.float64).eps * f(0 * h).abs() / h * 4
    return Estimate(second, (second - first).abs() + rounding)
