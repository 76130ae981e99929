"""The samples: whatever a module takes, cut along its first axis."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bp_torch.checks import describe


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples and their targets."""

    x: Any
    """A tensor; or a tuple or list of them, the module's arguments; or a dict, by their names."""
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def part(self, indices: Sequence[int]) -> "Batch":
        """The samples at these places, in this order; those that stand there twice come twice."""
        at = torch.tensor(indices, dtype=torch.long, device=self.y.device)
        return self.each(lambda tensor: tensor.index_select(0, at.to(tensor.device)))

    def each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with each tensor changed."""
        return Batch(_each(self.x, change), change(self.y))

    def wide(self) -> "Batch":
        """The same numbers in float64; integers stay."""
        return self.each(lambda t: t.double() if t.is_floating_point() else t)

    def output_of(self, module: nn.Module) -> Any:
        """What the module makes of the samples."""
        if isinstance(self.x, Mapping):
            return module(**self.x)
        return module(*self.x) if isinstance(self.x, list | tuple) else module(self.x)


def batch_of(x: Any, y: Any) -> Batch:
    """The batch; raises TypeError or ValueError for what cannot be cut into samples."""
    if not isinstance(y, Tensor):
        raise TypeError(f"y must be a tensor, one row per sample, got {type(y).__name__}")
    leaves = _leaves(x)
    for name, tensor in (*leaves.items(), ("y", y)):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"x must be a tensor, or a tuple, list or dict of them, got {type(tensor).__name__}"
                f"{f' as {name}' if name != 'x' else ''}; torch.as_tensor makes one"
            )
        if tensor.is_complex():
            raise TypeError(
                f"complex samples are not supported, got {describe(name, tensor)}; "
                f"pass torch.view_as_real({name})"
            )
        if tensor.is_meta or tensor.layout is not torch.strided:
            raise TypeError(
                f"{name} must be a dense tensor that holds numbers, got "
                f"{'one on the meta device' if tensor.is_meta else f'layout {tensor.layout}'}"
            )
        if tensor.ndim == 0 or (y.ndim and len(tensor) != len(y)):
            raise ValueError(
                f"x and y must have one row per sample, got {describe(name, tensor)}, and y of "
                f"shape {tuple(y.shape)}"
            )
    if len(y) < 2:
        raise ValueError(f"at least 2 samples are needed to split a batch, got {len(y)}")
    return Batch(x, y).each(Tensor.detach)


def _leaves(x: Any) -> dict[str, Any]:
    if isinstance(x, Mapping):
        found = {f"x[{key!r}]": value for key, value in x.items()}
    elif isinstance(x, list | tuple):
        found = {f"x[{place}]": value for place, value in enumerate(x)}
    else:
        return {"x": x}
    if not found:
        raise ValueError("x must hold at least one tensor, got none")
    return found


def _each(x: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(x, Mapping):
        return {key: change(value) for key, value in x.items()}
    return tuple(map(change, x)) if isinstance(x, list | tuple) else change(x)
