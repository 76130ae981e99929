"""What a function is called with and what it gives: tensors by their paths, and back.

Arguments may be nested as people nest them, in lists, tuples, dictionaries and dataclasses; what is
no tensor is passed on as it is. A complex tensor counts as a real one with a last axis of two.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bp_torch.judge.passes import Tensors


@dataclass(frozen=True, eq=False)
class Arguments:
    """The arguments of one call."""

    args: dict[str, Any]
    """The positional ones, by the names of the parameters."""
    kwargs: dict[str, Any]

    def tensors(self) -> Tensors:
        """Every tensor among them, by its path, such as x, params["w"] or layers[0].bias."""
        return {path: _real(tensor) for path, tensor in self._leaves()}

    def numbers(self) -> dict[str, float]:
        """Plain numbers among the arguments that could be factors."""
        named = (*self.args.items(), *self.kwargs.items())
        return {
            n: float(v) for n, v in named if isinstance(v, float | int) and abs(v) not in (0, 1)
        }

    def filled(self, tensors: Sequence[Tensor]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments with these tensors in the place of their own, in their order."""
        given = dict(zip(self._paths, tensors, strict=True))

        def other(path: str, own: Tensor) -> Tensor:
            tensor = given[path]
            return torch.view_as_complex(tensor.contiguous()) if own.is_complex() else tensor

        args = [_mapped(value, name, other) for name, value in self.args.items()]
        return args, {name: _mapped(value, name, other) for name, value in self.kwargs.items()}

    @cached_property
    def _paths(self) -> tuple[str, ...]:
        return tuple(path for path, _ in self._leaves())

    def _leaves(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in (*self.args.items(), *self.kwargs.items()):
            yield from _leaves(value, name)


def floating(result: Any) -> list[Tensor]:
    """The floating-point tensors in what a function gave, dense and real."""
    found = [_real(_dense(tensor)) for _, tensor in _leaves(result, "")]
    return [tensor for tensor in found if tensor.is_floating_point()]


def _leaves(value: Any, name: str) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []

    def note(path: str, tensor: Tensor) -> Tensor:
        found.append((path, tensor))
        return tensor

    _mapped(value, name, note)
    return found


def _mapped(value: Any, path: str, change: Callable[[str, Tensor], Tensor]) -> Any:
    """The same structure with each tensor changed."""
    if isinstance(value, Tensor):
        return change(path, value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        named = zip(value._fields, value, strict=True)
        return type(value)(*(_mapped(each, f"{path}.{n}", change) for n, each in named))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        parts = {n: _mapped(getattr(value, n), f"{path}.{n}", change) for n in names}
        return dataclasses.replace(value, **parts)
    if isinstance(value, Mapping):
        parts = {k: _mapped(each, f"{path}[{_key(k)}]", change) for k, each in value.items()}
        return parts if type(value) is dict else type(value)(parts)  # type: ignore[call-arg]
    if isinstance(value, list | tuple):
        return type(value)(_mapped(each, f"{path}[{k}]", change) for k, each in enumerate(value))
    return value


def _key(key: object) -> str:
    return f'"{key}"' if isinstance(key, str) else repr(key)


def _dense(tensor: Tensor) -> Tensor:
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
