"""Normalisations and losses in single operations, where torch has one node for all of it: so that a
term in their derivative is a place in the graph."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.overrides import TorchFunctionMode


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    axes = list(range(-len(normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    normed = centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    normed = normed if weight is None else normed * weight
    return normed if bias is None else normed + bias


def _rms_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: Any = None
) -> Tensor:
    axes = list(range(-len(normalized_shape), 0))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    normed: Tensor = x * (x.square().mean(axes, keepdim=True) + eps).rsqrt()
    return normed if weight is None else normed * weight


def _normalize(
    x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None
) -> Tensor:
    normed: Tensor = x / x.norm(p, dim, keepdim=True).clamp_min(eps)
    return normed


def _log_softmax(
    input: Tensor, dim: int | None = None, *others: Any, dtype: torch.dtype | None = None
) -> Tensor:
    x = input if dtype is None else input.to(dtype)
    axis = dim if dim is not None else (0 if x.ndim in (0, 1, 3) else 1)  # as torch chooses
    return x - x.logsumexp(axis, keepdim=True)


def _cross_entropy(input: Tensor, target: Tensor, *others: Any, **options: Any) -> Tensor:
    if others or set(options) - {"reduction"} or not target.is_floating_point():
        return _CROSS_ENTROPY(input, target, *others, **options)
    axis = min(1, input.ndim - 1)
    cost = -(target * _log_softmax(input, axis)).sum(axis)
    reduction = options.get("reduction", "mean")
    return cost.mean() if reduction == "mean" else cost.sum() if reduction == "sum" else cost


_CROSS_ENTROPY: Callable[..., Tensor] = F.cross_entropy

PARTS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.normalize: _normalize,
    F.log_softmax: _log_softmax,
    torch.log_softmax: _log_softmax,
    Tensor.log_softmax: _log_softmax,
    F.cross_entropy: _cross_entropy,
}


class InParts(TorchFunctionMode):
    """Under this mode torch's normalisations are made of single operations."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call what it is made of."""
        return PARTS.get(func, func)(*args, **(kwargs or {}))
