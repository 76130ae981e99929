"""What inputs mean: given once, drawn by a generator, or drawn at many sizes and as many kinds of
values."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bp_torch.judge import criteria
from bp_torch.judge.domains import Domain

Change = Callable[[Tensor, Domain], Tensor]


@dataclass(frozen=True)
class Drawn:
    """One draw of the inputs: the first is tried in every way, the others as they are."""

    label: str
    """Such as "n = 33, sorted"; "" where there is nothing to tell apart."""
    make: Callable[[], Any]
    change: Change | None = None
    """Of each floating input."""


def draws(inputs: Any, seed: int) -> Iterator[Drawn]:
    """Every draw that `inputs` stands for: itself, or what it makes of a generator, and of a
    generator and a size."""
    if not callable(inputs):
        yield Drawn("", lambda: inputs)
        return
    generator = torch.Generator().manual_seed(seed)
    if not takes_a_size(inputs):
        for number in range(criteria.DRAWN_INPUTS):
            label = f"draw {number + 1}" if number else ""
            yield Drawn(label, lambda: inputs(generator))
        return
    first, *others = criteria.SIZES
    yield Drawn(f"n = {first}", lambda: inputs(generator, first))
    for size in others:
        yield Drawn(f"n = {size}", partial(inputs, generator, size))
    for name, change in KINDS.items():
        yield Drawn(f"n = {first}, {name}", partial(inputs, generator, first), change)


def takes_a_size(make: Callable[..., Any]) -> bool:
    """Whether it wants a size beside the generator."""
    try:
        inspect.signature(make).bind(None, 0)
    except TypeError:
        return False
    return True


def _repeated(tensor: Tensor, domain: Domain) -> Tensor:
    flat = tensor.flatten()
    return flat[torch.arange(len(flat), device=flat.device) // 2].reshape(tensor.shape)


def _sorted(tensor: Tensor, domain: Domain) -> Tensor:
    return tensor.flatten().sort().values.reshape(tensor.shape)


def _constant(tensor: Tensor, domain: Domain) -> Tensor:
    return tensor.flatten()[:1].expand(tensor.numel()).reshape(tensor.shape).clone()


def _skewed(tensor: Tensor, domain: Domain) -> Tensor:
    """A few of them far larger than the others."""
    return domain.keep(tensor * tensor.abs().exp(), tensor)


KINDS: dict[str, Change] = {
    "repeated": _repeated,
    "sorted": _sorted,
    "constant": _constant,
    "skewed": _skewed,
}
