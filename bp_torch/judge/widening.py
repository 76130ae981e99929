"""Everything that a function touches in float64: its inputs, the constants that it closes over, and
the dtypes that it casts to on its way."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}

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
        wide_kwargs = {name: self._wide(value) for name, value in (kwargs or {}).items()}
        return self._wide(func(*map(self._wide, args), **wide_kwargs))

    def _wide(self, value: Any) -> Any:
        if type(value) in (tuple, list):
            return type(value)(map(self._wide, value))
        if isinstance(value, tuple):  # one of torch's results by name
            return tree_map(self._wide, value)
        if isinstance(value, torch.dtype):
            return WIDE.get(value, value)
        if not isinstance(value, Tensor) or value.dtype not in WIDE:
            return value
        _, wide = self.widened.get(id(value), (None, None))
        if wide is None:
            wide = value.to(WIDE[value.dtype])
            self.widened[id(value)] = value, wide
        return wide
