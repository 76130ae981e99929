"""What a function is called with and what it gives: tensors by their paths, and back.

Arguments may be nested as people nest them, in lists, tuples, dictionaries and dataclasses; what is
no tensor is passed on as it is. A complex tensor counts as a real one with a last axis of two.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bp_torch.judge.own_forward import class_of, takes_ctx
from bp_torch.judge.passes import Tensors

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


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


def arguments_of(inputs: Any, functions: Sequence[Any]) -> Arguments:
    """The arguments of one call: one tensor, a sequence of arguments, or a mapping of named ones.

    A mapping that no signature takes by its keys is one argument, as of fn(params).
    """
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    if isinstance(inputs, Mapping):
        if _takes_keys(inputs, functions):
            return _checked(Arguments({}, dict(inputs)))
        inputs = (inputs,)
    if not isinstance(inputs, list | tuple):
        raise TypeError(
            f"inputs must be a tensor, a sequence of arguments or a mapping of named ones, got "
            f"{type(inputs).__name__}"
        )
    names = _names(functions, len(inputs))
    return _checked(Arguments(dict(zip(names, inputs, strict=True)), {}))


def _checked(arguments: Arguments) -> Arguments:
    for name, value in (*arguments.args.items(), *arguments.kwargs.items()):
        if type(value).__module__ == "numpy":
            raise TypeError(
                f"inputs must be tensors, got a numpy {type(value).__name__} as {name}; "
                f"torch.as_tensor makes one of it"
            )
    for name, tensor in arguments.tensors().items():
        if tensor.layout is not torch.strided:
            raise TypeError(
                f"inputs must be dense tensors, got {tensor.layout} as {name}; compare "
                f"lambda values: fn(torch.sparse_coo_tensor(indices, values, size))"
            )
    return arguments


def _takes_keys(inputs: Mapping[Any, Any], functions: Sequence[Any]) -> bool:
    for signature in _signatures(functions):
        try:
            signature.bind(**inputs)
            return True
        except TypeError:
            continue
    return False


def _names(functions: Sequence[Any], count: int) -> list[str]:
    """What the first of these functions that tells calls its arguments; else "input 0", …"""
    for signature in _signatures(functions):
        parameters = list(signature.parameters.values())[:count]
        if len(parameters) == count and all(p.kind in POSITIONAL for p in parameters):
            return [parameter.name for parameter in parameters]
    return ["input"] if count == 1 else [f"input {number}" for number in range(count)]


def _signatures(functions: Sequence[Any]) -> list[inspect.Signature]:
    """Of each that has one; of an autograd.Function that of its forward, without ctx."""
    found = []
    for one in functions:
        function = class_of(one)
        call = one.forward if isinstance(one, nn.Module) else one
        try:
            signature = inspect.signature(function.forward if function else call)
        except (TypeError, ValueError):  # None, or a builtin
            continue
        if function and takes_ctx(function):
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        found.append(signature)
    return found


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
