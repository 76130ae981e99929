"""What the transforms are held against: plain eager reverse mode, at one point.

What they give is a tensor or, one for each wanted input or output, tuples of tensors as torch nests
them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bp_torch.judge.criteria import COPIES
from bp_torch.judge.passes import Point, Refused, differentiate

Nested = Any


def dot(tensors: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Σ tensor · weight."""
    terms = [(t * w).sum() for t, w in zip(tensors, weights, strict=True)]
    return sum(terms[1:], terms[0])


def cost(point: Point) -> Callable[..., Tensor]:
    """Σ upstream · output as a function of the wanted inputs."""
    return lambda *wanted: dot(point(*wanted), point.upstream)


def wanted(point: Point) -> tuple[Tensor, ...]:
    """The wanted inputs themselves."""
    return tuple(point.inputs[name] for name in point.wanted)


def direction(point: Point) -> tuple[Tensor, ...]:
    """For each wanted input a direction, in so few bits that every dtype holds the same one."""
    generator = torch.Generator().manual_seed(0)

    def drawn(like: Tensor) -> Tensor:
        size = torch.randint(1, 65, like.shape, generator=generator, device="cpu") / 32
        sign = torch.randint(0, 2, like.shape, generator=generator, device="cpu") * 2 - 1
        return (size * sign).to(like)

    return tuple(map(drawn, wanted(point)))


def places(point: Point) -> tuple[int, ...]:
    """The numbers of the wanted inputs among themselves."""
    return tuple(range(len(point.wanted)))


def at(point: Point, values: Sequence[Tensor]) -> Point:
    """The same function with other wanted inputs."""
    return replace(point, inputs={**point.inputs, **dict(zip(point.wanted, values, strict=True))})


def gradient(point: Point) -> Nested:
    """The gradient of the weighed outputs."""
    return tuple(point.run().gradients.values())


def pull_back(point: Point, function: Callable[..., Sequence[Tensor]]) -> Nested:
    """The gradient of the weighed outputs of another form of the function."""
    leaves = point.leaves()
    return differentiate(function(*leaves), point.upstream, leaves)


def copies(point: Point) -> list[Point]:
    """The function at the inputs as they are and scaled, as vmap gets them."""
    return [at(point, [t * scale for t in wanted(point)]) for scale in COPIES]


def stacked(point: Point) -> tuple[Tensor, ...]:
    """The wanted inputs of all copies."""
    return tuple(torch.stack([t * scale for scale in COPIES]) for t in wanted(point))


def samples(point: Point) -> tuple[tuple[int | None, ...], list[Point]]:
    """Which inputs vmap takes apart, those as long as the first, and the function at every sample.

    A sample is weighed as the first is, so that all have one cost.
    """
    first, *_ = point.inputs.values()
    if first.dim() == 0:
        raise Refused(ValueError("the first input has no leading dimension"))
    dims = {n: 0 if t.dim() and len(t) == len(first) else None for n, t in point.inputs.items()}

    def sample(number: int) -> Point:
        inputs = {n: t if dims[n] is None else t[number] for n, t in point.inputs.items()}
        return replace(point, inputs=inputs)

    with torch.no_grad():
        shapes = [output.shape for output in sample(0)(*wanted(sample(0)))]
    weights = tuple(_fitted(g, shape) for g, shape in zip(point.upstream, shapes, strict=True))
    each = [replace(sample(number), upstream=weights) for number in range(len(first))]
    return tuple(dims.values()), each


def _fitted(weights: Tensor, shape: torch.Size) -> Tensor:
    """As many of the weights, again and again, as that shape has places."""
    flat = weights.reshape(-1)
    repeats = -(-shape.numel() // max(1, flat.numel()))
    return flat.repeat(max(1, repeats))[: shape.numel()].reshape(shape)


def each_of(points: Sequence[Point], of: Callable[[Point], Sequence[Tensor]] = gradient) -> Nested:
    """A result of each point, stacked."""
    return tuple(torch.stack(each) for each in zip(*map(of, points), strict=True))


def values(point: Point) -> Sequence[Tensor]:
    """The outputs."""
    return point.run().outputs


def jacobian(point: Point) -> Nested:
    """Every output by every wanted input."""
    return torch.autograd.functional.jacobian(point, wanted(point))


def hessian(point: Point) -> Nested:
    """The weighed outputs by every pair of wanted inputs."""
    return torch.autograd.functional.hessian(cost(point), wanted(point))


def hessian_by_differences(point: Point, steps: float) -> Nested:
    """The Hessian from the gradient alone: central differences over so many times their best
    step."""
    inputs = wanted(point)
    eps = max(torch.finfo(t.dtype).eps for t in inputs)
    step = steps * eps ** (1 / 3) * max(1.0, *(float(t.abs().max()) for t in inputs))
    columns = []
    for j, t in enumerate(inputs):
        slopes = [_slope(point, j, k, step) for k in range(t.numel())]
        columns.append(
            [torch.stack(s, -1).reshape(*s[0].shape, *t.shape) for s in zip(*slopes, strict=True)]
        )
    return tuple(zip(*columns, strict=True))


def _slope(point: Point, j: int, k: int, step: float) -> list[Tensor]:
    ends = []
    for h in (step, -step):
        moved = [t.clone(memory_format=torch.contiguous_format) for t in wanted(point)]
        moved[j].view(-1)[k] += h
        ends.append(gradient(at(point, moved)))
    return [(up - down) / (2 * step) for up, down in zip(*ends, strict=True)]


def along(matrix: Nested, direction: Sequence[Tensor]) -> Nested:
    """A matrix of blocks times a direction."""

    def row(blocks: Sequence[Tensor]) -> Any:
        pairs = zip(blocks, direction, strict=True)
        return sum(torch.tensordot(block, v, dims=v.dim()) for block, v in pairs)

    return tuple(row(blocks) for blocks in matrix)
