"""What is tried without being asked: values, layouts, upstream gradients where mistakes hide."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

MAGNITUDES = (1e-3, 1e-1, 10.0, 1e3)
LADDER_END = 110.0
"""Past every saturation of float32: e⁻¹⁰⁴ underflows to 0."""

LADDER_STEPS = 2201
SAMPLE = 1 << 16
"""A pointwise function's further trials look at this many elements; the given inputs at all."""

MOST_INPUTS_FOR_SUBSETS = 4


@dataclass(frozen=True, eq=False)
class Trial:
    """One set of inputs and upstream gradients; `optional` ones the function may refuse."""

    name: str
    inputs: tuple[Tensor, ...]
    wanted: tuple[bool, ...]
    upstream: Callable[[Tensor], Tensor]
    """From an output to the gradient that is sent into it."""
    optional: bool = True


class Draw:
    """Random numbers from a generator of its own, the same on every device."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers, in the shape, dtype and on the device of `like`."""
        return torch.randn(like.shape, generator=self.generator, dtype=torch.float64).to(like)

    def upstream(self, like: Tensor) -> Tensor:
        """Non-uniform and away from 0: ±(½ … 2), so that no error hides behind a small factor."""
        size = torch.rand(like.shape, generator=self.generator, dtype=torch.float64) * 1.5 + 0.5
        sign = torch.randint(0, 2, like.shape, generator=self.generator) * 2 - 1
        return (size * sign).to(like)


def trials(
    inputs: Sequence[Tensor], wanted: tuple[bool, ...], *, pointwise: bool, draw: Draw
) -> Iterator[Trial]:
    """The given inputs first, then everything else."""
    given = tuple(inputs)

    def trial(
        name: str,
        values: Sequence[Tensor],
        upstream: Callable[[Tensor], Tensor] = draw.upstream,
        wanted: tuple[bool, ...] = wanted,
    ) -> Trial:
        return Trial(name, tuple(values), wanted, upstream)

    yield Trial("as given", given, wanted, draw.upstream, optional=False)
    few = tuple(t.flatten()[:SAMPLE] for t in given) if pointwise else given
    for factor in MAGNITUDES:
        scaled = [t * factor if t.is_floating_point() else t for t in few]
        if all(t.isfinite().all() for t in scaled):
            yield trial(f"inputs × {factor:g}", scaled)
    if pointwise:
        yield trial("into saturation", [_ladder(t, draw) for t in few])
    yield trial("zeros and subnormals", [_tiny_among(t) for t in few])
    yield trial("upstream zero", few, torch.zeros_like)
    yield trial("upstream non-contiguous", few, lambda o: _strided(draw.upstream(o)))
    yield trial("upstream transposed", few if not pointwise else given, _transposed_by(draw))
    yield trial("upstream expanded", few, lambda o: o.new_tensor(0.75).expand(o.shape))
    yield trial("inputs non-contiguous", [_strided(t) for t in few])
    if any(t.ndim >= 2 for t in given):
        yield trial("inputs transposed", [_transposed(t) for t in given])
    yield trial("inputs expanded", [t[:1].expand(t.shape) if t.ndim else t for t in few])
    if pointwise:
        yield trial("0-d", [t.flatten()[0] for t in given])
        yield trial("empty", [t.flatten()[:0] for t in given])
    for subset in _subsets(wanted):
        yield trial("only part requires gradients", few, wanted=subset)


def _ladder(like: Tensor, draw: Draw) -> Tensor:
    """Steps of a tenth from −110 to 110, and some between them, as one row."""
    steps = torch.linspace(-LADDER_END, LADDER_END, LADDER_STEPS, dtype=torch.float64)
    between = torch.rand(LADDER_STEPS, generator=draw.generator, dtype=torch.float64) * 40 - 20
    return torch.cat([steps, between]).to(like)


def _tiny_among(tensor: Tensor) -> Tensor:
    """The first elements replaced by ±0, the smallest subnormal and normal numbers."""
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    limits = torch.finfo(tensor.dtype)
    tiny = [0.0, -0.0, limits.tiny * limits.eps, -limits.tiny * limits.eps, limits.tiny]
    changed = tensor.clone(memory_format=torch.contiguous_format)
    count = min(len(tiny), changed.numel())
    changed.view(-1)[:count] = torch.tensor(tiny[:count], dtype=torch.float64).to(tensor)
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


def _transposed_by(draw: Draw) -> Callable[[Tensor], Tensor]:
    return lambda output: _transposed(draw.upstream(output))


def _subsets(wanted: tuple[bool, ...]) -> list[tuple[bool, ...]]:
    """The proper non-empty subsets of the wanted inputs; for many, each alone and all but each."""
    places = [place for place, want in enumerate(wanted) if want]
    if len(places) < 2:
        return []
    if len(places) <= MOST_INPUTS_FOR_SUBSETS:
        choices = [c for c in product((True, False), repeat=len(places)) if any(c) and not all(c)]
    else:
        choices = [tuple(p == q for p in places) for q in places]
        choices += [tuple(p != q for p in places) for q in places]
    subsets = []
    for choice in choices:
        chosen = {place for place, take in zip(places, choice, strict=True) if take}
        subsets.append(tuple(place in chosen for place in range(len(wanted))))
    return subsets
