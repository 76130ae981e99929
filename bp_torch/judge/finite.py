"""The truth where no reference can tell it: differences of the function's own values.

    f′(x) ≈ D(h) = [f(x + h) − f(x − h)] / 2h ,   R(h) = [4 D(h/2) − D(h)] / 3

(Richardson 1911: the h² term of the central difference cancels in R). R(h) and R(h/2) differ by
about the error of the coarser one, and that is what the error is taken to be.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bp_torch.judge import evaluate
from bp_torch.judge.criteria import DRAWS
from bp_torch.judge.evaluate import Pass, Truth, double
from bp_torch.judge.problem import Function

STEP = 2e-3
"""h: the truncation, h⁴ ≈ 1e-11, then meets the rounding, ε/h ≈ 1e-13."""

STEP_OF_LARGE = 1e-7
"""h relative to a large |x|, so that x ± h are rounded to no more than 1e-9 of h."""

CERTAIN = 1e-6
"""A difference whose error is below this share of it decides against autograd in float64."""

KINK_STEP, KINK = 1e-6, 0.05
"""One-sided slopes over this step that differ by more than 5% of the larger are a kink: of a smooth
function they differ by about h f″/f′."""

SAMPLES = 16
"""Elements of each input whose derivative is taken, where the function is not pointwise."""


def find_truth(
    fn: Function,
    inputs: Sequence[Tensor],
    wanted: Sequence[bool],
    upstream: Sequence[Tensor],
    dtype: torch.dtype,
    generator: torch.Generator,
    *,
    pointwise: bool,
    draws: int = DRAWS,
) -> Truth:
    """The derivative of Σ upstream · output by differences in float64.

    For a pointwise function every element, by moving all at once; else `SAMPLES` elements of each
    input, and NaN, which is not judged, for the others.
    """
    exact, g = double(inputs), double(upstream)

    def per_element(*arguments: Tensor) -> Tensor:
        outputs = fn(*arguments)
        return torch.stack([(o * u) for o, u in zip(outputs, g, strict=True)]).sum(0)

    def total(*arguments: Tensor) -> Tensor:
        return torch.stack([(o * u).sum() for o, u in zip(fn(*arguments), g, strict=True)]).sum()

    half_place = torch.finfo(dtype).eps / 2
    # The conditioning is that of fn's own backward: there is no other.
    own = evaluate.find_truth(fn, inputs, wanted, upstream, dtype, generator, draws=draws)
    gradients: list[Tensor | None] = []
    spreads: list[Tensor | None] = []
    with torch.no_grad():
        outputs = fn(*exact)
        for place, want in enumerate(wanted):
            if not want:
                gradients.append(None)
                spreads.append(None)
                continue
            x = exact[place]
            h = (STEP_OF_LARGE * x.abs()).clamp(min=STEP)
            if pointwise:
                value, error = _richardson(_along(per_element, exact, place), h)
            else:
                value, error = torch.full_like(x, torch.nan), torch.zeros_like(x)
                chosen = torch.randperm(x.numel(), generator=generator)[:SAMPLES]
                for element in chosen.tolist():
                    step = torch.zeros_like(x)
                    step.view(-1)[element] = h.reshape(-1)[element]
                    moved = _along(total, exact, place)
                    size = h.reshape(-1)[element]
                    v, e = _richardson(_scaled(moved, step / size), size)
                    value.view(-1)[element], error.view(-1)[element] = v, e
            gradients.append(value)
            spreads.append(error + _needed(own.spreads[place]))
    return Truth(
        outputs=tuple(outputs),
        gradients=tuple(gradients),
        output_spreads=tuple(half_place * output.abs() for output in outputs),
        spreads=tuple(spreads),
    )


def corrected(
    truth: Truth,
    reference: Function,
    inputs: Sequence[Tensor],
    wanted: Sequence[bool],
    upstream: Sequence[Tensor],
    dtype: torch.dtype,
    generator: torch.Generator,
) -> Truth:
    """A pointwise truth with the places mended where autograd lost it and differences did not.

    Autograd multiplies factors that may underflow, overflow or cancel although the derivative is an
    ordinary number; a difference of the function's values there has a small error of its own.
    """
    other = find_truth(
        reference, inputs, wanted, upstream, dtype, generator, pointwise=True, draws=0
    )
    kinks = _kinks(reference, double(inputs), wanted, double(upstream))
    gradients: list[Tensor | None] = []
    spreads: list[Tensor | None] = []
    for exact, spread, value, error, kink in zip(
        truth.gradients, truth.spreads, other.gradients, other.spreads, kinks, strict=True
    ):
        if exact is None or spread is None or value is None or error is None or kink is None:
            gradients.append(None)
            spreads.append(None)
            continue
        certain = value.isfinite() & (error < CERTAIN * value.abs()) & (kink == 0)
        wrong = certain & ((value - exact).abs() > 10 * error + spread)
        gradients.append(torch.where(wrong, value, exact))
        spreads.append(torch.where(wrong, spread + error, torch.maximum(spread, kink)))
    return Truth(truth.outputs, tuple(gradients), truth.output_spreads, tuple(spreads))


def _kinks(
    reference: Function, exact: Sequence[Tensor], wanted: Sequence[bool], g: Sequence[Tensor]
) -> list[Tensor | None]:
    """How far the slopes on both sides of each element are apart, where they are: at a kink every
    number between them is a derivative."""
    found: list[Tensor | None] = []
    for place, want in enumerate(wanted):
        if not want:
            found.append(None)
            continue
        h = (STEP_OF_LARGE * exact[place].abs()).clamp(min=KINK_STEP)
        with torch.no_grad():
            moved = [
                [o * u for o, u in zip(_moved(reference, exact, place, step), g, strict=True)]
                for step in (-h, 0 * h, h)
            ]
        below, here, above = (torch.stack(values).sum(0) for values in moved)
        left, right = (here - below) / h, (above - here) / h
        apart = (left - right).abs()
        kink = apart > KINK * torch.maximum(left.abs(), right.abs())
        found.append(torch.where(kink & apart.isfinite(), 2 * apart, 0.0))
    return found


def _moved(fn: Function, exact: Sequence[Tensor], place: int, step: Tensor) -> tuple[Tensor, ...]:
    return fn(*(t + step if p == place else t for p, t in enumerate(exact)))


def disagreement(
    fn: Function,
    inputs: Sequence[Tensor],
    result: Pass | Truth,
    upstream: Sequence[Tensor],
    generator: torch.Generator,
) -> float:
    """How far the gradients are from differences along one random direction per input.

    Relative to the sum of absolute terms, less what the differences are uncertain by; the largest
    over the inputs. 0 where the gradients are right.
    """
    exact, g = double(inputs), double(upstream)

    def total(*arguments: Tensor) -> Tensor:
        return torch.stack([(o * u).sum() for o, u in zip(fn(*arguments), g, strict=True)]).sum()

    worst = 0.0
    with torch.no_grad():
        for place, gradient in enumerate(result.gradients):
            if gradient is None or not gradient.numel() or not gradient.isfinite().all():
                continue
            x = exact[place]
            v = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.device)
            h = (STEP_OF_LARGE * x.abs().amax()).clamp(min=STEP) / v.abs().amax()
            moved = _along(total, exact, place)
            value, error = _richardson(_scaled(moved, v), h)
            terms = (gradient.double() * v).abs().sum()
            difference = ((gradient.double() * v).sum() - value).abs()
            if value.isfinite() and terms > 0:
                worst = max(worst, ((difference - 4 * error).clamp(min=0) / terms).item())
    return worst


def _along(fn: Callable[..., Tensor], exact: Sequence[Tensor], place: int) -> Callable[..., Tensor]:
    def moved(step: Tensor) -> Tensor:
        return fn(*(t + step if p == place else t for p, t in enumerate(exact)))

    return moved


def _scaled(moved: Callable[[Tensor], Tensor], direction: Tensor) -> Callable[[Tensor], Tensor]:
    """The function of a number: how far to go in that direction."""
    return lambda size: moved(size * direction)


def _needed(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


def _richardson(f: Callable[[Tensor], Tensor], h: Tensor) -> tuple[Tensor, Tensor]:
    """R(h/2) and an estimate of its error."""

    def central(step: Tensor) -> Tensor:
        return (f(step) - f(-step)) / (2 * step)

    coarse, middle, fine = central(h), central(h / 2), central(h / 4)
    first, second = (4 * middle - coarse) / 3, (4 * fine - middle) / 3
    rounding = torch.finfo(torch.float64).eps * f(0 * h).abs() / h * 4
    return second, (second - first).abs() + rounding
