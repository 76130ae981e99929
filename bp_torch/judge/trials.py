"""What is tried without being asked: values, layouts, upstream gradients where mistakes hide.

A further trial is a `Role` here and a line in `trials`; its words follow from its name.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import product

import torch
from torch import Tensor

from bp_torch.judge import criteria
from bp_torch.judge.cases import Case
from bp_torch.judge.passes import Function, Point, Tensors, each, outputs_of


class Role(Enum):
    """What a trial is for."""

    AS_GIVEN = auto()
    THOUSANDTH = auto()
    TENTH = auto()
    TENFOLD = auto()
    THOUSANDFOLD = auto()
    INTO_SATURATION = auto()
    ZEROS_AND_SUBNORMALS = auto()
    UPSTREAM_ZERO = auto()
    UPSTREAM_NON_CONTIGUOUS = auto()
    UPSTREAM_TRANSPOSED = auto()
    UPSTREAM_EXPANDED = auto()
    INPUTS_NON_CONTIGUOUS = auto()
    INPUTS_TRANSPOSED = auto()
    INPUTS_EXPANDED = auto()
    ZERO_DIMENSIONAL = auto()
    EMPTY = auto()
    ONLY_PART_REQUIRES_GRADIENTS = auto()

    @property
    def optional(self) -> bool:
        """Whether the function may refuse it: all but what was given."""
        return self is not Role.AS_GIVEN


SCALED = (Role.THOUSANDTH, Role.TENTH, Role.TENFOLD, Role.THOUSANDFOLD)
UPSTREAM_LAYOUTS = frozenset(
    (Role.UPSTREAM_NON_CONTIGUOUS, Role.UPSTREAM_TRANSPOSED, Role.UPSTREAM_EXPANDED)
)

Upstream = Callable[[Tensor], Tensor]
"""From an output to the gradient that is sent into it."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One set of inputs and upstream gradients."""

    role: Role
    inputs: Tensors
    wanted: tuple[str, ...]
    upstream: Upstream

    def point(self, function: Function) -> Point:
        """The function at this trial's inputs, with an upstream gradient drawn for each output; 0
        for one that is not differentiable beside others that are."""
        point = Point(function, self.inputs, self.wanted, ())
        outputs = outputs_of(point, *point.leaves())
        some = any(output.requires_grad for output in outputs)
        drawn = [self.upstream(output.detach()) for output in outputs]
        upstream = [
            g if output.requires_grad or not some else torch.zeros_like(g)
            for g, output in zip(drawn, outputs, strict=True)
        ]
        return replace(point, upstream=tuple(upstream))


class Draw:
    """Random numbers from a generator of its own on the CPU, the same for every device."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers, in the shape, dtype and on the device of `like`."""
        drawn = torch.randn(like.shape, generator=self.generator, dtype=torch.float64, device="cpu")
        return drawn.to(like)

    def uniform(self, like: Tensor) -> Tensor:
        """Numbers from 0 to 1 in float64, on the CPU."""
        return torch.rand(like.shape, generator=self.generator, dtype=torch.float64, device="cpu")

    def signs(self, like: Tensor) -> Tensor:
        """±1 at random."""
        drawn = torch.randint(0, 2, like.shape, generator=self.generator, device="cpu")
        return drawn.mul_(2).sub_(1).to(like)

    def upstream(self, like: Tensor) -> Tensor:
        """Non-uniform and away from 0: ±(½ … 2), so that no error hides behind a small factor."""
        return self.signs(like) * (0.5 + 1.5 * self.uniform(like)).to(like)

    def places(self, tensor: Tensor, count: int) -> list[int]:
        """So many different places in a tensor, or all."""
        drawn = torch.randperm(tensor.numel(), generator=self.generator, device="cpu")
        return drawn[:count].tolist()


def trials(case: Case, draw: Draw) -> Iterator[Trial]:
    """The given inputs first, then everything else that lies in the domain."""
    for trial in _everywhere(case, draw):
        if all(case.domain_of(name).has(t) for name, t in trial.inputs.items()):
            yield trial


def sample(case: Case) -> Tensors:
    """The inputs; of a large pointwise function its first elements, as a square."""
    first, *_ = case.inputs.values()
    if first.numel() <= criteria.SAMPLE or not case.pointwise:
        return case.inputs
    side = math.isqrt(criteria.SAMPLE)
    return each(case.inputs, lambda t: t.flatten()[: side * side].reshape(side, side))


def _everywhere(case: Case, draw: Draw) -> Iterator[Trial]:
    given = case.inputs

    def trial(
        role: Role,
        inputs: Tensors,
        upstream: Upstream = draw.upstream,
        wanted: tuple[str, ...] = case.wanted,
    ) -> Trial:
        return Trial(role, inputs, wanted, upstream)

    yield trial(Role.AS_GIVEN, given)
    some = sample(case)
    few = each(some, torch.flatten) if case.pointwise else given
    for role, factor in zip(SCALED, criteria.MAGNITUDES, strict=True):
        scaled = {
            name: case.domain_of(name).scaled(t, factor) if name in case.wanted else t
            for name, t in few.items()
        }
        if all(t.isfinite().all() for t in scaled.values()):
            yield trial(role, scaled)
    if case.pointwise:
        ladder = {
            name: case.domain_of(name).over(steps, t) if name in case.wanted else _again(t, steps)
            for name, t in few.items()
            for steps in [_ladder(draw)]
        }
        yield trial(Role.INTO_SATURATION, ladder)
    # Squares of subnormal numbers are lost: only a reference shows whether they had to be.
    alone = case.reference is None
    tiny = each(few, lambda t: _tiny_among(t, zeros_alone=alone))
    tiny = {
        name: case.domain_of(name).keep(t, few[name]) if name in case.wanted else few[name]
        for name, t in tiny.items()
    }
    yield trial(Role.ZEROS_AND_SUBNORMALS, tiny)
    yield trial(Role.UPSTREAM_ZERO, few, torch.zeros_like)
    yield trial(Role.UPSTREAM_NON_CONTIGUOUS, few, lambda o: _strided(draw.upstream(o)))
    yield trial(Role.UPSTREAM_TRANSPOSED, some, lambda o: _transposed(draw.upstream(o)))
    yield trial(Role.UPSTREAM_EXPANDED, few, lambda o: o.new_tensor(0.75).expand(o.shape))
    yield trial(Role.INPUTS_NON_CONTIGUOUS, each(few, _strided))
    if any(t.ndim >= 2 for t in given.values()):
        yield trial(Role.INPUTS_TRANSPOSED, each(some, _transposed))
    expanded = {
        name: t[:1].expand(t.shape) if t.ndim and name in case.wanted else t
        for name, t in few.items()
    }
    yield trial(Role.INPUTS_EXPANDED, expanded)
    if case.pointwise:
        yield trial(Role.ZERO_DIMENSIONAL, each(given, lambda t: t.flatten()[0]))
        yield trial(Role.EMPTY, each(given, lambda t: t.flatten()[:0]))
    for subset in _subsets(case.wanted):
        yield trial(Role.ONLY_PART_REQUIRES_GRADIENTS, few, wanted=subset)


def _ladder(draw: Draw) -> Tensor:
    """Even steps from end to end, and some numbers between them, as one row."""
    end, count = criteria.LADDER_END, criteria.LADDER_STEPS
    steps = torch.linspace(-end, end, count, dtype=torch.float64, device="cpu")
    between = 40 * draw.uniform(steps) - 20
    return torch.cat([steps, between])


def _again(tensor: Tensor, like: Tensor) -> Tensor:
    """Its numbers again and again, as many as the other has: it is no argument but a weight, a
    target or a mask."""
    return tensor.flatten().repeat(-(-like.numel() // tensor.numel()))[: like.numel()]


def _tiny_among(tensor: Tensor, *, zeros_alone: bool) -> Tensor:
    """The first elements replaced by ±0, the smallest subnormal and normal numbers."""
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    limits = torch.finfo(tensor.dtype)
    tiny = [0.0, -0.0, limits.tiny * limits.eps, -limits.tiny * limits.eps, limits.tiny]
    tiny = tiny[:2] if zeros_alone else tiny
    changed = tensor.clone(memory_format=torch.contiguous_format)
    count = min(len(tiny), changed.numel())
    changed.view(-1)[:count] = tensor.new_tensor(tiny[:count])
    return changed


def _strided(tensor: Tensor) -> Tensor:
    """The same values, every second place of a storage twice as long."""
    if not tensor.ndim:
        return tensor
    wide = torch.zeros((*tensor.shape, 2), dtype=tensor.dtype, device=tensor.device)
    wide[..., 0] = tensor
    wide[..., 1] = 3.0 if tensor.is_floating_point() else 0  # a stranger's number between
    return wide[..., 0]


def _transposed(tensor: Tensor) -> Tensor:
    """The same values, stored in the order of the transposed tensor."""
    if tensor.ndim < 2:
        return tensor
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)


def _subsets(wanted: Sequence[str]) -> list[tuple[str, ...]]:
    """The proper non-empty subsets of the wanted inputs; of many, each alone and all but each."""
    if len(wanted) < 2:
        return []
    if len(wanted) > criteria.MOST_INPUTS_FOR_SUBSETS:
        alone = [(name,) for name in wanted]
        return alone + [tuple(n for n in wanted if n != name) for name in wanted]
    choices = product((True, False), repeat=len(wanted))
    subsets = [
        tuple(name for name, take in zip(wanted, choice, strict=True) if take) for choice in choices
    ]
    return [subset for subset in subsets if 0 < len(subset) < len(wanted)]
