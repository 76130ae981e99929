"""The truth where no reference can tell it: slopes of the function's own values."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bp_torch.judge import criteria
from bp_torch.judge.passes import Pass, Point, Refused, Tensors
from bp_torch.judge.trials import Draw
from bp_torch.judge.truth import Estimate, Truth, reference
from bp_torch.judge.truth.slopes import Slope, slope, typical


def find_truth(
    exact: Point, dtype: torch.dtype, draw: Draw, *, pointwise: bool, draws: int, elements: int
) -> Truth:
    """The derivative of Σ upstream · output by differences of values.

    For a pointwise function every element, by moving all at once; else so many elements of each
    input, and NaN, which is not judged, for the others.
    """
    half_place = torch.finfo(dtype).eps / 2
    # The conditioning is that of fn's own backward: there is no other, and no peer to show what
    # the rounding of its argument does to a function.
    own = reference.find_truth(exact, dtype, draw, draws=draws, inputs_too=True)
    gradients = {}
    for name in exact.wanted:
        found = (
            _every_element(exact, name)
            if pointwise
            else _some_elements(exact, name, draw, elements)
        )
        # Far out in a tail there is no telling what the dtype could still show: autograd would.
        rounded = found.error + half_place * (found.terms + typical(found.value).clamp(max=1.0))
        gradients[name] = Estimate(found.value, rounded + own.gradients[name].spread)
    outputs = tuple(Estimate(o, half_place * o.abs()) for o in exact.values())
    return Truth(outputs, gradients)


def where_values_are_finite(truth: Truth, yours: Pass, *, pointwise: bool) -> Truth:
    """The truth where the function itself, in the dtype judged, has values that are finite: where
    it overflows there is no reference to say that it should not."""
    finite = [output.isfinite() for output in yours.outputs]
    if pointwise:
        known = torch.stack(finite).all(0)
    else:
        known = torch.stack([each.all() for each in finite]).all()
    gradients = {
        name: Estimate(each.value.where(known, torch.nan), each.spread)
        for name, each in truth.gradients.items()
    }
    return Truth(truth.outputs, gradients)


def corrected(truth: Truth, exact: Point) -> Truth:
    """A pointwise truth with the places mended where autograd lost it and differences did not.

    Autograd multiplies factors that may underflow, overflow or cancel although the derivative is an
    ordinary number; a difference of the function's values there has a small error of its own. At a
    kink every number between the slopes is a derivative.
    """
    gradients = {}
    for name, known in truth.gradients.items():
        other = _every_element(exact, name)
        certain = other.error < criteria.CERTAIN * other.value.abs()
        apart = (other.value - known.value).abs() > criteria.SURE * other.error + known.spread
        wrong = certain & apart
        gradients[name] = Estimate(
            torch.where(wrong, other.value, known.value),
            torch.where(
                wrong, known.spread + other.error, torch.maximum(known.spread, 2 * other.kink)
            ),
        )
    return Truth(truth.outputs, gradients)


def confirmed(
    truth: Truth, exact: Point, name: str, places: Sequence[int], yours: Tensor
) -> tuple[Truth, float]:
    """A truth that is not pointwise with these places of one input mended as `corrected` does, and
    the share of itself by which the worst of them was off; 0 where none had to be.

    Two against one: where the difference agrees with yours, less is enough against autograd.
    """
    known = truth.gradients[name]
    slopes = _at_places(exact, name, places)
    flat, spread = known.value.flatten().clone(), known.spread.flatten().clone()
    before = flat[list(places)]
    certain = slopes.error < criteria.CERTAIN * slopes.value.abs()
    agrees = (slopes.value - yours.flatten()[list(places)]).abs() <= slopes.error
    enough = torch.where(agrees, criteria.SURE_OF_TWO, criteria.SURE) * slopes.error
    wrong = certain & ((slopes.value - before).abs() > enough + spread[list(places)])
    if not wrong.any():
        return truth, 0.0
    mended = torch.where(wrong, slopes.value, before)
    unsure = spread[list(places)] + torch.where(wrong, slopes.error, 0.0)
    flat[list(places)], spread[list(places)] = mended, unsure
    better = Estimate(flat.reshape(known.value.shape), spread.reshape(known.value.shape))
    off = ((mended - before) / mended).abs().nan_to_num(torch.inf).max().item()
    return Truth(truth.outputs, {**truth.gradients, name: better}), off


def disagreement(exact: Point, gradients: Tensors, draw: Draw) -> float:
    """How far gradients are from differences along one random direction per input.

    Relative to the sum of absolute terms, less what the differences are uncertain by; the largest
    over the inputs. 0 where the gradients are right.
    """
    worst = 0.0
    for name, gradient in gradients.items():
        if not gradient.numel() or not gradient.isfinite().all():
            continue
        x = exact.inputs[name]
        direction = draw.normal(x)
        found = _along(exact, name, direction)
        terms = (gradient.double() * direction).abs().sum()
        difference = ((gradient.double() * direction).sum() - found.value).abs()
        if found.value.isfinite() and terms > 0:
            off = (difference - criteria.SURE * found.error).clamp(min=0) / terms
            worst = max(worst, off.item())
    return worst


def _every_element(exact: Point, name: str) -> Slope:
    """Of a pointwise function: every place at once."""
    x = exact.inputs[name]
    return slope(lambda step: torch.stack(_weighed(exact, name, x + step)), x)


def _some_elements(exact: Point, name: str, draw: Draw, count: int) -> Slope:
    """A few places, each moved by itself."""
    x = exact.inputs[name]
    if not x.numel():
        return Slope(x, x, x, x)
    places = draw.places(x, count)
    found = _at_places(exact, name, places)

    def everywhere(values: Tensor, elsewhere: float) -> Tensor:
        whole = values.new_full((x.numel(),), elsewhere)
        whole[places] = values
        return whole.reshape(x.shape)

    unknown = (torch.nan, 0.0, 0.0, 0.0)
    return Slope(*map(everywhere, vars(found).values(), unknown))


def _at_places(exact: Point, name: str, places: Sequence[int]) -> Slope:
    """The slope of each of these places."""
    x = exact.inputs[name]

    def moved(place: int, step: Tensor) -> Tensor:
        changed = x.clone(memory_format=torch.contiguous_format)
        changed.view(-1)[place] += step
        return changed

    def terms(steps: Tensor) -> Tensor:
        columns = [_terms(exact, name, moved(*each)) for each in zip(places, steps, strict=True)]
        return torch.stack(columns, -1)

    return slope(terms, x.flatten()[list(places)])


def _along(exact: Point, name: str, direction: Tensor) -> Slope:
    """The slope in one direction; steps are as large as the input's largest number."""
    x = exact.inputs[name]
    return slope(lambda step: _terms(exact, name, x + step * direction), x.abs().amax())


def _terms(exact: Point, name: str, moved: Tensor) -> Tensor:
    return torch.cat([each.flatten() for each in _weighed(exact, name, moved)])


def _weighed(exact: Point, name: str, moved: Tensor) -> list[Tensor]:
    """The terms upstream · output with that input moved; NaN where the function has no value."""
    try:
        outputs = exact.at({name: moved}).values()
    except Refused:
        return [torch.full_like(g, torch.nan) for g in exact.upstream]
    return [o * g for o, g in zip(outputs, exact.upstream, strict=True)]
