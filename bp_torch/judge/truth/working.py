"""The dtype that a function works in, which may be wider than that of its inputs: kernels for
bfloat16 compute in float32 inside, solvers in float64."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bp_torch.judge.passes import Point, Refused


def working_dtype(point: Point, dtype: torch.dtype) -> torch.dtype:
    """The coarsest dtype in which the function rounds anything but its inputs and its results.

    `dtype` is that of its inputs; so it is also where no operation of torch is seen, or one is
    refused.
    """
    with Recording() as recording:
        try:
            done = point.run()
        except Refused:
            return dtype
    results = {_at(t) for t in (*done.outputs, *done.gradients.values())}
    met = [t for t, cast in recording.computed if not (cast and _at(t) in results)]
    return max((t.dtype for t in met), key=lambda d: torch.finfo(d).eps, default=dtype)


class Recording(TorchDispatchMode):
    """Under this mode the results of operations are noted, but for views, and casts to more
    digits."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.computed: list[tuple[Tensor, bool]] = []
        """Each, kept so that no other takes its place in memory, and whether it is a mere cast."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation, and note what it gives."""
        result = func(*args, **(kwargs or {}))
        cast = func is torch.ops.aten._to_copy.default
        if func.is_view or (cast and _widens(args[0], result)):
            return result
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self.computed.append((tensor, cast))
        return result


def _widens(before: Tensor, after: Tensor) -> bool:
    if not before.is_floating_point() or not after.is_floating_point():
        return True
    return torch.finfo(after.dtype).eps <= torch.finfo(before.dtype).eps


def _at(tensor: Tensor) -> int:
    return 0 if tensor._is_zerotensor() else tensor.data_ptr()
