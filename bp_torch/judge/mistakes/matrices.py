"""A matrix product's backward pass in which a transpose was forgotten."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bp_torch.judge.evidence import Evidence
from bp_torch.judge.mistakes.hypothesis import Hypothesis

PRODUCTS = ("matmul", "mm", "bmm", "__matmul__")

WAYS = (
    ("A", "takes B in the place of Bᵀ for the gradient of A, in each product A B"),
    ("B", "takes A in the place of Aᵀ for the gradient of B, in each product A B"),
    ("AB", "lacks both transposes, Bᵀ and Aᵀ, in each product A B"),
)


def transposes(e: Evidence) -> Iterator[Hypothesis]:
    """The gradients of A B are G Bᵀ and Aᵀ G: without one transpose, or both, where that fits."""
    exact = e.point.exact()
    for forgotten, text in WAYS:
        with Forgetful(forgotten) as mode:
            guess = exact.run().gradients
        if mode.products:
            yield Hypothesis("transposed", f"{e.the_gradient} {text}", e.of_the_bad(guess))


class Forgetful(TorchFunctionMode):
    """Under this mode products of square matrices forget transposes on their way back."""

    def __init__(self, forgotten: str) -> None:
        super().__init__()
        self.forgotten = forgotten
        self.products = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call, or multiply with another backward pass."""
        if getattr(func, "__name__", "") in PRODUCTS and len(args) == 2 and not kwargs:
            a, b = args
            if all(isinstance(t, Tensor) and t.shape == a.shape for t in args) and _square(a):
                self.products += 1
                return _Product.apply(a, b, self.forgotten)  # type: ignore[no-untyped-call]
        return func(*args, **(kwargs or {}))


def _square(matrix: Tensor) -> bool:
    return matrix.ndim > 1 and matrix.shape[-1] == matrix.shape[-2]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, forgotten: str) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.forgotten = forgotten
        return a @ b

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b = ctx.saved_tensors
        by_a = g @ (b if "A" in ctx.forgotten else b.mT)
        by_b = (a if "B" in ctx.forgotten else a.mT) @ g
        return by_a, by_b, None
