"""The tensors that a function closes over, by the names that they have in its source."""

import functools
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from bp_torch.judge.passes import Tensors

DEPTH = 4
"""Functions within functions and attributes of objects, so far down."""

MANY = 256
"""Of a longer list, such as one of data, the first parts are looked into."""

DEEP = 8
"""The same for code, which is passed from function to function."""

RULES = ("forward", "setup_context", "backward", "vjp", "jvp")
"""What an autograd.Function is written in."""


def constants_of(*functions: Any) -> Tensors:
    """The floating-point tensors that these functions use besides their arguments.

    Looked for in closures, defaults, globals that the code names, bound objects, modules, and the
    lists and dictionaries among them.
    """
    found: Tensors = {}
    seen: set[int] = set()
    for function in functions:
        _look_into(function, "", found, seen, DEPTH)
    return found


def numbers_of(*functions: Any) -> dict[str, float]:
    """The plain numbers that these functions close over, those that could be factors."""
    return {
        name: float(value)
        for function in functions_within(*functions)
        for name, value in _variables(function)
        if isinstance(value, float | int) and abs(value) not in (0, 1)
    }


def functions_within(*sources: Any) -> list[types.FunctionType]:
    """The plain functions that these are made of, those of torch left out."""
    found: dict[types.FunctionType, None] = {}
    waiting, depth = list(sources), DEEP
    seen: set[int] = set()
    while waiting and depth:
        waiting = [
            each for each in waiting if id(each) not in seen and not isinstance(each, Tensor)
        ]
        seen.update(map(id, waiting))
        for each in waiting:
            if isinstance(each, types.FunctionType) and _ours(each):
                found[each] = None
        waiting = [inner for each in waiting if _ours(each) for _, inner in _parts(each)]
        depth -= 1
    return list(found)


def _ours(value: Any) -> bool:
    owner = getattr(value, "__self__", value)  # of F.apply, F
    return not str(getattr(owner, "__module__", "")).startswith("torch.")


def _look_into(value: Any, name: str, found: Tensors, seen: set[int], depth: int) -> None:
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        if value.is_floating_point() and name:
            found.setdefault(name, value)
        return
    if isinstance(value, types.FunctionType):
        name = ""  # a variable is called as the source of its own function calls it
    for label, inner in _parts(value):
        _look_into(inner, ".".join(filter(None, (name, label))), found, seen, depth - 1)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value is made of, with the name of each part; "" for what has none of its own."""
    if isinstance(value, types.FunctionType):
        yield from _variables(value)
    elif isinstance(value, types.MethodType):
        yield "", value.__self__
        yield "", value.__func__
    elif isinstance(value, functools.partial):
        yield "", value.func
        yield from ((f"argument {k}", each) for k, each in enumerate(value.args))
        yield from value.keywords.items()
    elif isinstance(value, nn.Module):
        yield from value.named_parameters()
        yield from value.named_buffers()
    elif isinstance(value, Mapping):
        yield from ((str(key), each) for key, each in islice(value.items(), MANY))
    elif isinstance(value, list | tuple):
        yield from ((str(k), each) for k, each in enumerate(value[:MANY]))
    elif isinstance(value, type) and issubclass(value, torch.autograd.Function):
        yield from (("", getattr(value, rule)) for rule in RULES if rule in vars(value))
    elif not isinstance(value, type | types.ModuleType) and hasattr(value, "__dict__"):
        yield from vars(value).items()


def _variables(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """Closure, defaults and globals of a function, and of those that it defines within."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not bound yet
            continue
    arguments = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    yield from zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()
    for name in _global_names(code):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _global_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _global_names(inner)


@contextmanager
def cast(constants: Tensors, given: torch.dtype, dtype: torch.dtype) -> Iterator[None]:
    """Inside, the constants that are in the dtype given are in this one; afterwards as before.

    The tensors stay the same objects, so that whoever holds them sees it.
    """
    before = [(t, t.data) for t in constants.values() if t.dtype == given != dtype and t.is_leaf]
    try:
        for tensor, data in before:
            tensor.data = data.to(dtype)
        yield
    finally:
        for tensor, data in before:
            tensor.data = data
