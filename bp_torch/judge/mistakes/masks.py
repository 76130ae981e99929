"""A backward pass that does not see the reference's mask, or sees its opposite."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bp_torch.judge.evidence import Evidence
from bp_torch.judge.mistakes.hypothesis import Hypothesis, Mistake

Mask = Callable[[str, Sequence[Any]], Any]
"""From the name of the operation and its arguments to another result; None: as it is."""


def masks(e: Evidence) -> Iterator[Hypothesis]:
    """As if the reference had masked nothing, or the rest."""
    exact = e.point.exact()
    ways: tuple[tuple[Mask, Mistake, str], ...] = (
        (_nothing, "missing-factor", "lacks the mask: it is as if nothing were masked"),
        (_the_rest, "swapped", "has the mask the wrong way round"),
    )
    for mask, word, text in ways:
        with Masking(mask) as mode:
            guess = exact.run().gradients
        if mode.masked:
            yield Hypothesis(word, f"{e.the_gradient} {text}", e.of_the_bad(guess))


class Masking(TorchFunctionMode):
    """Under this mode masked_fill, where and the like mask something else."""

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self.mask = mask
        self.masked = False

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call, or mask in the other way."""
        name = getattr(func, "__name__", "").strip("_")
        if name in ("masked_fill", "where") and len(args) == 3 and isinstance(args[0], Tensor):
            other = self.mask(name, args)
            if other is not None:
                self.masked = True
                return other
        return func(*args, **(kwargs or {}))


def _nothing(name: str, args: Sequence[Any]) -> Any:
    if name == "masked_fill":
        return args[0]
    tensors = [t for t in args[1:] if isinstance(t, Tensor) and t.requires_grad]
    return tensors[0] if len(tensors) == 1 else None


def _the_rest(name: str, args: Sequence[Any]) -> Any:
    if name == "masked_fill":
        return torch.masked_fill(args[0], ~args[1], args[2])
    return torch.where(~args[0].bool(), *args[1:])
