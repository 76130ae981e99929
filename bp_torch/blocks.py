"""Large tensors block by block, so that what a formula computes on the way stays in the cache.

Torch writes every intermediate result to memory, and for large tensors that, not the arithmetic, is
what a formula of several operations costs.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd import forward_ad

BLOCK = 2**16
"""Elements per block and thread: half a MiB in float64, so that two or three intermediate results
fit into a core's second-level cache. Smaller blocks wait for the threads to start and stop."""


def in_blocks(formula: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """formula(*tensors), block by block where that saves time and makes no difference.

    Args:
        formula: pointwise; takes `out=`, a tensor to write to.
        tensors: of one shape; the result has the last one's shape and dtype.
    """
    if not worth_cutting(*tensors):
        return formula(*tensors)
    result = torch.empty_like(tensors[-1])
    for piece, *arguments in cut(result, *tensors):
        formula(*arguments, out=piece)
    return result


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
        and plain(*tensors)
    )


def plain(*tensors: Tensor) -> bool:
    """Whether these are numbers on the CPU and nothing else: no graph, tangent, vmap, trace or
    subclass follows them. Not for compiled code."""
    return (
        forward_ad._current_level < 0
        and torch._C._len_torch_dispatch_stack() == 0
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
        and all(_keys(t) | _PLAIN == _PLAIN for t in tensors)
    )


def _keys(tensor: Tensor) -> int:
    """What torch dispatches on (device, autograd, vmap, subclass, …), a bit for each."""
    return torch._C._dispatch_keys(tensor).raw_repr()


_PLAIN = _keys(torch.empty(0, device="cpu"))
