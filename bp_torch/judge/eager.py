"""What the transforms are held against: plain eager reverse mode, at one point."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# vmap gets the inputs as they are and scaled by these: exact in every dtype, and towards zero,
# where a function that is defined at the inputs most likely is defined as well.
COPIES = (1.0, 0.5, 0.25)


class Case:
    """A function of the floating-point inputs alone, at one point, and a cost that weighs its
    outputs with fixed random numbers."""

    def __init__(self, function: Callable[..., Any], inputs: Sequence[Tensor]) -> None:
        self.function = function
        self.inputs = tuple(t.detach().clone() for t in inputs)
        self.places = tuple(i for i, t in enumerate(inputs) if t.is_floating_point())
        self.point = tuple(self.inputs[i] for i in self.places)
        self.eps = max(torch.finfo(t.dtype).eps for t in self.point)
        self.all = tuple(range(len(self.point)))
        with torch.no_grad():
            outputs = self(*self.point)
        if not outputs:
            raise ValueError("the function returns no floating-point tensor")
        self.weights = tuple(draw_weights(t, seed) for seed, t in enumerate(outputs))

    def __call__(self, *point: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.places, point, strict=True))
        return floating(self.function(*[given.get(i, t) for i, t in enumerate(self.inputs)]))

    def cost(self, *point: Tensor) -> Tensor:
        return self.weigh(self(*point))

    def weigh(self, outputs: Sequence[Tensor]) -> Tensor:
        return dot(outputs, self.weights)

    def at(self, point: Sequence[Tensor]) -> "Case":
        given = dict(zip(self.places, point, strict=True))
        return Case(self.function, [given.get(i, t) for i, t in enumerate(self.inputs)])

    def leaves(self) -> tuple[Tensor, ...]:
        return tuple(t.clone().requires_grad_() for t in self.point)

    def direction(self) -> tuple[Tensor, ...]:
        return tuple(draw_weights(t, 100 + seed) for seed, t in enumerate(self.point))

    def copies(self) -> list["Case"]:
        return [self.at([t * scale for t in self.point]) for scale in COPIES]

    def stacked(self) -> tuple[Tensor, ...]:
        return tuple(torch.stack([t * scale for scale in COPIES]) for t in self.point)

    def samples(self) -> tuple[tuple[int | None, ...], list["Case"]]:
        """Which inputs vmap takes apart, and the function at every single sample."""
        if self.inputs[0].dim() == 0:
            raise ValueError("the first input has no leading dimension")
        size = len(self.inputs[0])
        dims = tuple(0 if t.dim() and len(t) == size else None for t in self.inputs)
        pairs = list(zip(self.inputs, dims, strict=True))
        points = [[t if d is None else t[n] for t, d in pairs] for n in range(size)]
        return dims, [Case(self.function, point) for point in points]


def floating(result: Any) -> tuple[Tensor, ...]:
    """The floating-point tensors of a result."""
    many = result if isinstance(result, (tuple, list)) else (result,)
    return tuple(t for t in many if isinstance(t, Tensor) and t.is_floating_point())


def draw_weights(like: Tensor, seed: int) -> Tensor:
    """Random, between 1/32 and 2 in size, in so few bits that every dtype holds the same."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.randint(1, 65, like.shape, generator=generator) / 32
    sign = torch.randint(0, 2, like.shape, generator=generator) * 2 - 1
    return (size * sign).to(like)


def dot(tensors: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Σ tensor · weight."""
    terms = [(t * w).sum() for t, w in zip(tensors, weights, strict=True)]
    return sum(terms[1:], terms[0])


def derive(cost: Tensor, leaves: Sequence[Tensor], graph: bool = False) -> tuple[Tensor, ...]:
    """The gradient of a cost by leaves; zeros where it does not depend on them."""
    if not cost.requires_grad:  # a constant, and torch would raise
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(cost, leaves, create_graph=graph, materialize_grads=True)


def gradient(case: Case) -> Any:
    """The gradient of the weighed outputs."""
    return pull_back(case, case)


def pull_back(case: Case, function: Callable[..., Sequence[Tensor]]) -> Any:
    """The gradient of the weighed outputs of another form of the function."""
    leaves = case.leaves()
    return derive(case.weigh(function(*leaves)), leaves)


def of_each(cases: Sequence[Case], of: Callable[[Case], Sequence[Tensor]] = gradient) -> Any:
    """A result of each case, stacked."""
    return tuple(torch.stack(each) for each in zip(*map(of, cases), strict=True))


def values_and_gradients(case: Case) -> Any:
    """What vmap should give, one copy at a time."""
    values = of_each(case.copies(), lambda c: c(*c.point))
    return {"value": values, "gradient": of_each(case.copies())}


def jacobian(case: Case) -> Any:
    """Every output by every input."""
    return torch.autograd.functional.jacobian(case, case.point)


def hessian_by_differences(case: Case) -> Any:
    """The Hessian from the gradient alone: central differences at their best step."""
    step = case.eps ** (1 / 3) * max(1.0, *(float(t.abs().max()) for t in case.point))
    columns = []
    for j, t in enumerate(case.point):
        slopes = [_slope(case, j, k, step) for k in range(t.numel())]
        columns.append(
            [torch.stack(s, -1).reshape(*s[0].shape, *t.shape) for s in zip(*slopes, strict=True)]
        )
    return tuple(zip(*columns, strict=True))


def _slope(case: Case, j: int, k: int, step: float) -> list[Tensor]:
    ends = []
    for h in (step, -step):
        point = [t.clone(memory_format=torch.contiguous_format) for t in case.point]
        point[j].view(-1)[k] += h
        ends.append(gradient(case.at(point)))
    return [(up - down) / (2 * step) for up, down in zip(*ends, strict=True)]


def along(matrix: Any, direction: Sequence[Tensor]) -> Any:
    """A matrix of blocks times a direction."""

    def row(blocks: Sequence[Tensor]) -> Any:
        pairs = zip(blocks, direction, strict=True)
        return sum(torch.tensordot(block, v, dims=v.dim()) for block, v in pairs)

    return tuple(row(blocks) for blocks in matrix)
