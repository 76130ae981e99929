"""Large tensors block by block, so that what a formula computes on the way stays in the cache.

Torch writes every intermediate result to memory, and for large tensors that, not the arithmetic, is
what a formula of several operations costs.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bp_torch import quirks

BLOCK = 2**16
"""Elements per block and thread: half a MiB in float64, so that two or three intermediate results
fit into a core's second-level cache. Smaller blocks wait for the threads to start and stop."""


def blockwise(function: type[Function]) -> type[Function]:
    """The same Function for eager code, its backward called once per block where that saves time.

    Args:
        function: of one tensor, elementwise, with `jvp = backward`; what it saves has the shape of
            the upstream gradient.
    """

    def backward(ctx: Any, upstream: Tensor) -> Any:
        saved = ctx.saved_tensors  # asked for once: a checkpoint has them for nobody twice
        if not worth_cutting(upstream, *saved):
            return function.backward(SimpleNamespace(saved_tensors=saved), upstream)
        result = torch.empty_like(saved[-1])
        for piece, g, *parts in cut(result, upstream, *saved):
            piece.copy_(function.backward(SimpleNamespace(saved_tensors=parts), g))
        return result

    rule = staticmethod(backward)
    return type(function.__name__, (function,), {"backward": rule, "jvp": rule})


def cut(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors of one shape in blocks, one row of them after the other."""
    flat = (tensor.reshape(-1).split(block_size()) for tensor in tensors)
    return zip(*flat, strict=True)


def block_size() -> int:
    """Elements in a block, all threads together."""
    return BLOCK * torch.get_num_threads()


def worth_cutting(*tensors: Tensor) -> bool:
    """Whether tensors of one shape are large and in rows, and nobody would notice a cut."""
    last = tensors[-1]
    return (
        not torch.compiler.is_compiling()
        and last.numel() > block_size()
        and last.is_contiguous()
        and not quirks.watched(*tensors)
    )
