"""Everything that a function touches in float64: its inputs, the constants that it closes over, and
the dtypes that it casts to on its way."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

NARROW = frozenset((torch.float16, torch.bfloat16, torch.float32))

CASTS = frozenset((Tensor.float, Tensor.half, Tensor.bfloat16))
"""Casts that say in their name where to."""


class InFloat64(TorchFunctionMode):
    """Under this mode each floating tensor and each floating dtype that reaches torch is float64.

    A tensor from outside is widened once, so that what is written into it is found there again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.widened: dict[int, tuple[Tensor, Tensor]] = {}
        """By the narrow tensor's id, which holds for as long as the tensor is kept beside it."""
        self.default = torch.get_default_dtype()

    def __enter__(self) -> Any:
        """From here on, numbers that become tensors are float64 as well."""
        self.default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: object) -> None:
        """Back to the dtype that was the default before."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        torch.set_default_dtype(self.default)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call with what is wide, and hand on what is wide."""
        if getattr(func, "__name__", "") in ("__get__", "__set__"):  # x.shape, x.dtype, x.T
            return func(*args, **(kwargs or {}))
        if func in CASTS:
            func = Tensor.double
        wide_args, wide_kwargs = tree_map(self._wide, (tuple(args), dict(kwargs or {})))
        return tree_map(self._wide, func(*wide_args, **wide_kwargs))

    def _wide(self, value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return torch.float64 if value in NARROW else value
        if not isinstance(value, Tensor) or value.dtype not in NARROW:
            return value
        _, wide = self.widened.get(id(value), (None, None))
        if wide is None:
            wide = value.double()
            self.widened[id(value)] = value, wide
        return wide
