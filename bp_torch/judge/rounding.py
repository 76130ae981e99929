"""What rounding does to a function: every operation of it, in float64, made as inexact as a dtype.

Stochastic arithmetic (Vignes 1993, "A stochastic arithmetic for reliable scientific computation"):
each operation's result is moved by half a last place of the dtype, up or down at random, and by
half its smallest number, for what underflows. How far the gradient moves over a few runs is what
no implementation by the same operations can avoid: the sum of absolute terms of a reduction, the
digits that a difference cancels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from bp_torch.judge.evaluate import Pass


class Rounding(TorchDispatchMode):
    """Operations under this mode give results that are off as those of `dtype` are."""

    def __init__(self, dtype: torch.dtype, generator: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        limits, float64 = torch.finfo(dtype), torch.finfo(torch.float64)
        # In float64 itself, half of either would be rounded away.
        self.relative = max(limits.eps / 2, float64.eps)
        self.absolute = max(limits.tiny * limits.eps / 2, float64.tiny * float64.eps)
        self.generator = generator

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and move its result unless it is a view or was written in place."""
        result = func(*args, **(kwargs or {}))
        if func.is_view or func._schema.is_mutable:
            return result
        return tree_map_only(Tensor, self._moved, result)

    def _moved(self, tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float64:
            return tensor
        sign = torch.randint(0, 2, tensor.shape, generator=self.generator).mul_(2).sub_(1)
        sign = sign.to(tensor)
        return torch.where(
            tensor == 0, tensor, tensor * (1 + self.relative * sign) + self.absolute * sign
        )


def spread(
    run: Callable[[], Pass], dtype: torch.dtype, generator: torch.Generator, draws: int
) -> Pass:
    """The largest change of outputs and gradients over a few runs with rounded operations.

    Args:
        run: a forward and backward pass in float64.
        dtype: whose rounding is imitated.
    """
    exact = run()
    outputs = [torch.zeros_like(t) for t in exact.outputs]
    gradients = [None if t is None else torch.zeros_like(t) for t in exact.gradients]
    for _ in range(draws):
        with Rounding(dtype, generator):
            moved = run()
        for total, a, b in zip(
            (*outputs, *gradients),
            (*moved.outputs, *moved.gradients),
            (*exact.outputs, *exact.gradients),
            strict=True,
        ):
            if total is not None and a is not None and b is not None and a.is_floating_point():
                torch.maximum(total, (a - b).abs().nan_to_num(0.0, 0.0), out=total)
    return Pass(tuple(outputs), tuple(gradients))
