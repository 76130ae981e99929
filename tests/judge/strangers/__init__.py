"""Functions as people write them: a defect that somebody reported, beside the same code mended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Apply = type[torch.autograd.Function]
Inputs = Callable[[torch.Generator], Any]


@dataclass(frozen=True)
class Stranger:
    """What is known of it before any gradient is checked."""

    name: str
    source: str
    """Where it was reported, or the form in which people write it."""
    inputs: Inputs
    """Drawn in float64."""
    right: Callable[..., Any]
    """A function, a module or an autograd.Function class."""
    reference: Callable[..., Any] | None = None
    wrong: Callable[..., Any] | None = None
    mistake: tuple[str, ...] = ()
    """The words that are right for it, the best first; of a right one none."""
    domain: Any = None
    """Where the inputs lie, as `compare` takes it."""
    order: int = 1
    """2 where the defect is in the second derivative."""
    invisible_in: tuple[torch.dtype, ...] = ()


def normal(*sizes: tuple[int, ...], scale: float = 1.0) -> Inputs:
    """Normal numbers of these shapes."""

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        return tuple(
            scale * torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes
        )

    return draw


def uniform(low: float, high: float, *sizes: tuple[int, ...]) -> Inputs:
    """Even numbers between two ends."""

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        return tuple(
            low + (high - low) * torch.rand(size, generator=generator, dtype=torch.float64)
            for size in sizes
        )

    return draw


def even(generator: torch.Generator, low: float, high: float, *size: int) -> Tensor:
    """Even numbers between two ends, for draws that are made of several."""
    return low + (high - low) * torch.rand(size, generator=generator, dtype=torch.float64)


def as_judged(value: Any, dtype: torch.dtype) -> Any:
    """The arguments with their floating tensors in that dtype."""
    if isinstance(value, Tensor):
        cast = value.detach().to(dtype if value.is_floating_point() else value.dtype)
        return cast.requires_grad_(value.requires_grad)
    if isinstance(value, dict):
        return {key: as_judged(each, dtype) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(as_judged(each, dtype) for each in value)
    return value
