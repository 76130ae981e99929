"""What rounding does to a function: every operation of it, in float64, made as inexact as a dtype.

Stochastic arithmetic (Vignes 1993, "A stochastic arithmetic for reliable scientific computation"):
each operation's result is moved by about half a last place of the dtype, up or down at random, and
by half its smallest number, for what underflows. How far the gradient moves over a few runs is what
no implementation by the same operations can avoid: the sum of absolute terms of a reduction, the
digits that a difference cancels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from bp_torch.judge import criteria
from bp_torch.judge.passes import Pass
from bp_torch.judge.trials import Draw
from bp_torch.judge.truth import widen


class Rounding(TorchDispatchMode):
    """Operations under this mode give results that are off as those of `dtype` are."""

    def __init__(self, dtype: torch.dtype, draw: Draw) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        limits, float64 = torch.finfo(dtype), torch.finfo(torch.float64)
        # In float64 itself, half of either would be rounded away.
        self.relative = max(limits.eps / 2, float64.eps)
        self.absolute = max(limits.tiny * limits.eps / 2, float64.tiny * float64.eps)
        self.draw = draw

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and move its result unless it is a view or was written in place."""
        result = func(*args, **(kwargs or {}))
        if func.is_view or func._schema.is_mutable:
            return result
        return tree_map_only(Tensor, self._moved, result)

    def _moved(self, tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float64 or tensor._is_zerotensor():  # zeros without memory
            return tensor
        # Not by equal amounts: of two operations half of the draws would cancel.
        off = self.draw.signs(tensor) * (0.5 + self.draw.uniform(tensor)).to(tensor)
        return torch.where(
            tensor == 0, tensor, tensor * (1 + self.relative * off) + self.absolute * off
        )


def spread(run: Callable[[], Pass], dtype: torch.dtype, draw: Draw) -> Pass:
    """The largest change of outputs and gradients over a few runs with rounded operations.

    Args:
        run: a forward and backward pass in float64.
        dtype: whose rounding is imitated.
    """
    exact = run()
    outputs = tuple(torch.zeros_like(output) for output in exact.outputs)
    gradients = {name: torch.zeros_like(gradient) for name, gradient in exact.gradients.items()}
    for _ in range(criteria.ROUNDED_DRAWS):
        with Rounding(dtype, draw):
            moved = run()
        for total, a, b in zip(outputs, moved.outputs, exact.outputs, strict=True):
            widen(total, a, b)
        for name, total in gradients.items():
            widen(total, moved.gradients[name], exact.gradients[name])
    return Pass(outputs, gradients)
