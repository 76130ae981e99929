"""What rounding does to a function: every operation of it, in float64, made as inexact as a dtype.

Stochastic arithmetic (Vignes 1993, "A stochastic arithmetic for reliable scientific computation"):
each operation's result is moved by about half a last place of the dtype, up or down at random, and
by half its smallest number, for what underflows. How far the gradient moves over a few runs is what
no implementation by the same operations can avoid: the sum of absolute terms of a reduction, the
digits that a difference cancels.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
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

    def __init__(self, dtype: torch.dtype, draw: Draw, *, underflow: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.underflow = underflow
        limits, float64 = torch.finfo(dtype), torch.finfo(torch.float64)
        # In float64 itself, half of either would be rounded away, and a whole one by half of the
        # draws: of a thousand elements one would be moved in none of ten.
        self.relative = max(limits.eps / 2, 2 * float64.eps)
        smallest = max(limits.tiny * limits.eps / 2, float64.tiny * float64.eps)
        self.absolute = smallest if underflow else 0.0
        self.draw = draw
        self.in_parts = _in_parts()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and move its result unless it is a view or was written in place."""
        if (in_parts := self.in_parts.get(func)) is not None:
            with self:
                return in_parts(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::").strip("_")
        if func.is_view or (func._schema.is_mutable and name in EXACT):
            return result
        if func._schema.is_mutable:  # exp_, or an operation with out=
            if isinstance(result, Tensor) and result.dtype == torch.float64:
                result.copy_(self._moved(result))
            return result
        if name in SOUGHT or (name == "linalg_vector_norm" and math.inf in map(abs, args[1:2])):
            return result
        if name.startswith(NORMWISE):
            return tree_map_only(Tensor, self._moved_as_a_whole, result)
        moved = tree_map_only(Tensor, self._moved, result)
        if self.underflow and name in UNDERFLOWING and isinstance(moved, Tensor):
            factors = [t for t in args if isinstance(t, Tensor) and t.dtype == torch.float64]
            moved = self._not_lost(moved, factors)
        return moved

    def _moved(self, tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float64 or tensor._is_zerotensor():  # zeros without memory
            return tensor
        off = self._off(tensor)
        return torch.where(
            tensor == 0, tensor, tensor * (1 + self.relative * off) + self.absolute * off
        )

    def _off(self, tensor: Tensor) -> Tensor:
        """About ±1. Not by equal amounts: of two operations half of the draws would cancel."""
        return self.draw.signs(tensor) * (0.5 + self.draw.uniform(tensor)).to(tensor)

    def _moved_as_a_whole(self, tensor: Tensor) -> Tensor:
        """By a share of the largest number, as an algorithm errs that is right in its norm."""
        if tensor.is_complex():
            return torch.view_as_complex(self._moved_as_a_whole(torch.view_as_real(tensor)))
        if tensor.dtype != torch.float64 or not tensor.numel():
            return tensor
        largest = tensor.abs().nan_to_num(0.0, 0.0).amax()
        return tensor + self.relative * largest * self._off(tensor)

    def _not_lost(self, product: Tensor, factors: Sequence[Tensor]) -> Tensor:
        """With the smallest number where a product of none but non-zero factors is 0."""
        lost = product == 0
        for factor in factors:
            lost = lost & (factor != 0)
        return product.masked_fill(lost, self.absolute) if factors and lost.any() else product


NORMWISE = ("fft", "linalg_", "inverse", "cholesky", "svd", "triangular_solve", "lu_")
"""Operations whose small results are no more exact than their largest (Higham 2002, "Accuracy and
Stability of Numerical Algorithms", chapters 10, 14 and 24)."""

SOUGHT = frozenset(
    (
        *("max", "min", "amax", "amin", "aminmax", "median", "nanmedian", "mode"),
        *("segment_reduce", "scatter_reduce", "index_reduce"),
    )
)
"""One number of many, exact, and backward looks for it among them: moved, it would be none."""

EXACT = frozenset(
    (
        *("copy", "fill", "zero", "masked_fill", "scatter", "index_put", "index_copy"),
        *("detach", "resize", "set", "requires_grad"),
        *("normal", "uniform", "random", "bernoulli", "exponential"),
    )
)
"""What is written in place without a rounding."""

FUSED = ("logsumexp", "_log_softmax", "logaddexp", "log_sigmoid_forward")
"""Forward kernels that add numbers of one size inside."""

UNDERFLOWING = frozenset(("mul", "square", "pow", "div", "exp"))


@cache
def _in_parts() -> dict[Any, Callable[..., Any]]:
    """The fused kernels of torch as it writes them in single operations, as a compiler takes them:
    1 − σ cancels inside glu's backward, and log(1 + ε) in logsumexp, where nobody would see it."""
    from torch._decomp import decomposition_table

    return {
        op: run
        for op, run in decomposition_table.items()
        if "_backward" in op.name() or op.name().partition(".")[0].removeprefix("aten::") in FUSED
    }


def spread(run: Callable[[], Pass], dtype: torch.dtype, draw: Draw, *, underflow: bool) -> Pass:
    """The largest change of outputs and gradients over a few runs with rounded operations.

    Args:
        run: a forward and backward pass in float64.
        dtype: whose rounding is imitated.
        underflow: whether to doubt as well what underflows: a product that is 0 might be the
            smallest number, and what is infinite then is not known at all.
    """
    exact = run()
    outputs = tuple(torch.zeros_like(output) for output in exact.outputs)
    gradients = {name: torch.zeros_like(gradient) for name, gradient in exact.gradients.items()}
    for _ in range(criteria.ROUNDED_DRAWS):
        with Rounding(dtype, draw, underflow=underflow):
            moved = run()
        for total, a, b in zip(outputs, moved.outputs, exact.outputs, strict=True):
            widen(total, a, b)
        for name, total in gradients.items():
            widen(total, moved.gradients[name], exact.gradients[name])
            if underflow:
                lost = exact.gradients[name].isfinite() & ~moved.gradients[name].isfinite()
                total.masked_fill_(lost, torch.inf)
    return Pass(outputs, gradients)
