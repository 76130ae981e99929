"""What a command line names: functions as package.module:function, inputs as shapes."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bp_torch.dtypes import DTYPES

SPREAD = 3.0
"""Deviation of the inputs made from a shape: wide enough to reach where a sigmoid saturates."""


def find(target: str) -> Callable[..., Any]:
    """The callable that package.module:function names; an nn.Module class is instantiated.

    Modules of the working directory are found as well. Raises ValueError, in one line.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise ValueError(f"expected package.module:function, as torch:sigmoid; got {target!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"cannot import {module_name!r}: {error}") from None
    for name in path.split("."):
        if not hasattr(found, name):
            raise ValueError(f"{module_name!r} has no {path!r}; is it spelt as in the module?")
        found = getattr(found, name)
    if isinstance(found, type) and issubclass(found, nn.Module):
        found = found()
    if isinstance(found, type) and issubclass(found, torch.autograd.Function):
        found = found.apply
    if not callable(found):
        raise ValueError(f"{target!r} must be callable, got {type(found).__name__}")
    result: Callable[..., Any] = found
    return result


def shapes(text: str) -> list[tuple[int, ...]]:
    """ "64x3,3,scalar" as [(64, 3), (3,), ()], one shape for each input; raises ValueError."""
    try:
        return [
            () if one.strip() == "scalar" else tuple(int(size) for size in one.split("x"))
            for one in text.split(",")
        ]
    except ValueError:
        raise ValueError(
            f"shape must be sizes joined by x, one for each input, as 64x3 or 64x3,3,scalar; "
            f"got {text!r}"
        ) from None


def dtypes(text: str) -> list[torch.dtype]:
    """ "float32,bfloat16" as dtypes; raises ValueError for one that we do not know."""
    for name in text.split(","):
        if name not in DTYPES:
            raise ValueError(f"dtype must be any of {', '.join(DTYPES)}; got {name!r}")
    return [DTYPES[name] for name in text.split(",")]


def random_inputs(sizes: list[tuple[int, ...]], seed: int) -> tuple[Tensor, ...]:
    """Normal numbers of deviation 3 in float64, one tensor for each shape."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        SPREAD * torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes
    )
