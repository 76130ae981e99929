"""One forward and backward pass: of your function, of autograd's, and of the truth in float64."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.judge.criteria import DRAWS
from bp_torch.judge.problem import Function

Gradients = tuple[Tensor | None, ...]


@dataclass(frozen=True, eq=False)
class Pass:
    """What one forward and backward pass gave; a gradient is None where none was wanted."""

    outputs: tuple[Tensor, ...]
    gradients: Gradients


@dataclass(frozen=True, eq=False)
class Truth:
    """The reference in float64 on the same numbers, and how far it can be trusted."""

    outputs: tuple[Tensor, ...]
    gradients: Gradients
    output_spreads: tuple[Tensor, ...]
    spreads: Gradients


def leaves(inputs: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    """The inputs as leaves of a new graph; strides and storage stay."""
    return [t.detach().requires_grad_(want) for t, want in zip(inputs, wanted, strict=True)]


def run(
    fn: Function,
    inputs: Sequence[Tensor],
    wanted: Sequence[bool],
    upstream: Sequence[Tensor],
    *,
    order: int = 1,
    directions: Sequence[Tensor] = (),
) -> Pass:
    """Outputs, and the gradient of Σ upstream · output by every wanted input.

    With order=2 the gradient of Σ direction · gradient instead: a Hessian times a direction.
    """
    arguments = leaves(inputs, wanted)
    outputs = fn(*arguments)
    if [o.shape for o in outputs] != [g.shape for g in upstream]:
        raise ValueError(
            f"fn gives shapes {[tuple(o.shape) for o in outputs]} where the reference gives "
            f"{[tuple(g.shape) for g in upstream]}; compare functions with the same results"
        )
    sources = [t for t, want in zip(arguments, wanted, strict=True) if want]
    gradients = _grad(outputs, upstream, sources, create_graph=order == 2)
    if order == 2:
        gradients = _grad(
            [g for g in gradients if g.requires_grad],
            [d for g, d in zip(gradients, directions, strict=True) if g.requires_grad],
            sources,
        )
    filled = iter(gradients)
    return Pass(
        outputs=tuple(output.detach() for output in outputs),
        gradients=tuple(next(filled).detach() if want else None for want in wanted),
    )


def _grad(
    outputs: Sequence[Tensor],
    upstream: Sequence[Tensor],
    sources: Sequence[Tensor],
    *,
    create_graph: bool = False,
) -> list[Tensor]:
    pairs = [(o, g) for o, g in zip(outputs, upstream, strict=True) if o.requires_grad]
    if not pairs:
        return [torch.zeros_like(source) for source in sources]
    gradients = torch.autograd.grad(
        [o for o, _ in pairs],
        list(sources),
        [g for _, g in pairs],
        create_graph=create_graph,
        allow_unused=True,
    )
    return [
        torch.zeros_like(source) if gradient is None else gradient
        for gradient, source in zip(gradients, sources, strict=True)
    ]


def double(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same numbers in float64; integers stay."""
    return [t.double() if t.is_floating_point() else t for t in tensors]


def find_truth(
    reference: Function,
    inputs: Sequence[Tensor],
    wanted: Sequence[bool],
    upstream: Sequence[Tensor],
    dtype: torch.dtype,
    generator: torch.Generator,
    *,
    order: int = 1,
    directions: Sequence[Tensor] = (),
    draws: int = DRAWS,
) -> Truth:
    """The reference in float64 on the same quantised inputs, and its spread in `dtype`.

    The spread is the largest change of the result over a few draws in which each tensor saved for
    backward, and the upstream gradient, is off by half a last place of `dtype`.
    """
    exact, g, v = double(inputs), double(upstream), double(directions)
    truth = run(reference, exact, wanted, g, order=order, directions=v)
    # In float64 itself 1 + eps/2 is 1: there a whole place.
    half_place = max(torch.finfo(dtype).eps / 2, torch.finfo(torch.float64).eps)

    def jitter(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        # Drawn on the CPU, so that the generator serves every device.
        sign = torch.randint(0, 2, tensor.shape, generator=generator).mul_(2).sub_(1)
        return tensor * (1 + half_place * sign.to(tensor))

    spreads = [None if t is None else torch.zeros_like(t) for t in truth.gradients]
    output_spreads = [torch.zeros_like(t) for t in truth.outputs]
    for _ in range(draws):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t, jitter):
            moved = run(
                reference,
                exact,
                wanted,
                [jitter(t) for t in g],
                order=order,
                directions=[jitter(t) for t in v],
            )
        for spread, a, b in zip(spreads, moved.gradients, truth.gradients, strict=True):
            if spread is not None and a is not None and b is not None:
                torch.maximum(spread, (a - b).abs().nan_to_num(posinf=0.0), out=spread)
        if order == 1:
            with torch.no_grad():
                nudged = reference(*(jitter(t) for t in exact))
            for spread, a, b in zip(output_spreads, nudged, truth.outputs, strict=True):
                torch.maximum(spread, (a - b).abs().nan_to_num(posinf=0.0), out=spread)
    if order == 2:
        # What a second derivative is made of, the first one and its factors, has been rounded to
        # the dtype too, some four times.
        for place, gradient in enumerate(truth.gradients):
            spread = spreads[place]
            if gradient is not None and spread is not None and gradient.numel():
                largest = gradient.abs().nan_to_num(0.0, 0.0).max()
                spreads[place] = spread + 4 * half_place * largest
    for place, gradient in enumerate(truth.gradients):
        spread = spreads[place]
        if gradient is not None and spread is not None and gradient.numel():
            # An exact 0 in float64 may be an absorbed or underflown number: it says no more than
            # that the derivative is below the last place of the largest one.
            floor = torch.finfo(torch.float64).eps * gradient.abs().nan_to_num(0.0, 0.0).max()
            spreads[place] = spread + floor * (gradient == 0)
    return Truth(truth.outputs, truth.gradients, tuple(output_spreads), tuple(spreads))


def is_pointwise(reference: Function, inputs: Sequence[Tensor]) -> bool:
    """Whether every output element depends on the inputs' elements in the same place alone.

    Found by changing half of the elements: the outputs in the other half must not move.
    """
    exact = double(inputs)
    shape = exact[0].shape
    if not all(t.is_floating_point() and t.shape == shape for t in exact) or not shape.numel():
        return False
    with torch.no_grad():
        before = reference(*exact)
        if any(output.shape != shape for output in before):
            return False
        if shape.numel() == 1:
            return True
        changed = (torch.arange(shape.numel()) % 2 == 0).reshape(shape).to(exact[0].device)
        after = reference(*(torch.where(changed, t * 1.25 + 0.5, t) for t in exact))
    return all(
        torch.equal(a[~changed].nan_to_num(), b[~changed].nan_to_num())
        for a, b in zip(after, before, strict=True)
    )


def widened(truth: Truth, spread: Pass) -> Truth:
    """The same truth, trusted no further than this spread says."""

    def larger(one: Tensor | None, other: Tensor | None) -> Tensor | None:
        return one if one is None or other is None else torch.maximum(one, other)

    return Truth(
        outputs=truth.outputs,
        gradients=truth.gradients,
        output_spreads=tuple(map(torch.maximum, truth.output_spreads, spread.outputs)),
        spreads=tuple(map(larger, truth.spreads, spread.gradients)),
    )
