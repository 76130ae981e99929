"""What a command line names: functions as package.module:function, inputs as shapes."""

import importlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bp_torch import checks
from bp_torch.dtypes import DTYPES
from bp_torch.judge.domains import Domain
from bp_torch.judge.drawing import takes_a_size
from bp_torch.training.device import resolve_device

SPREAD = 3.0
"""Deviation of the inputs made from a shape: wide enough to reach where a sigmoid saturates."""

MISSING = object()

BYTES_PER_ELEMENT = 400
"""Of the inputs of a comparison, at the peak: what two million elements more took, measured."""


@contextmanager
def foreign_code(failure: str) -> Iterator[None]:
    """Code of the user's runs inside.

    What it prints goes to standard error, and what it raises becomes a ValueError in one line that
    begins with `failure`; also where it would end the program, whose status would be its own.
    """
    with redirect_stdout(sys.stderr):
        try:
            yield
        except SystemExit as error:
            raise ValueError(f"{failure}: it calls sys.exit({error.code!r:.60})") from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # such as pytest.skip's
            first = (str(error).strip().splitlines() or [""])[0]
            where = "; ".join(getattr(error, "__notes__", []))
            raise ValueError(
                f"{failure}: {type(error).__name__}: {first}" + (f" ({where})" if where else "")
            ) from error


def find(target: str) -> Callable[..., Any]:
    """The callable that package.module:function names; an nn.Module class is instantiated.

    Modules of the working directory are found as well. Raises ValueError, in one line.
    """
    module_name, _, path = target.partition(":")
    names = [*module_name.split("."), *path.split(".")]
    if not all(map(str.isidentifier, names)) or module_name.endswith(".py"):
        raise ValueError(
            f"expected package.module:function, as torch:sigmoid, or mine:f for the f of mine.py; "
            f"got {target!r}"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with foreign_code(f"cannot import {module_name!r}"):
        found: Any = importlib.import_module(module_name)
    for name in path.split("."):
        with foreign_code(f"cannot look up {target!r}"):  # an attribute may be a function's work
            found = getattr(found, name, MISSING)
        if found is MISSING:
            raise ValueError(f"{module_name!r} has no {path!r}; is it spelt as in the module?")
    if isinstance(found, type) and issubclass(found, nn.Module):
        with foreign_code(
            f"{target} must be made first, as layer = {found.__name__}(…) in mine.py, and named "
            f"as mine:layer"
        ):
            found = found()
    if not callable(found):
        raise ValueError(f"{target!r} must be callable, got {type(found).__name__}")
    result: Callable[..., Any] = found
    return result


def dtypes(text: str) -> list[torch.dtype]:
    """ "float32,bfloat16" as dtypes; raises ValueError for one that we do not know."""
    names = _names(text)
    for name in names:
        if name not in DTYPES:
            raise ValueError(f"dtype must be any of {', '.join(DTYPES)}; got {name!r}")
    return [DTYPES[name] for name in names]


def devices(text: str) -> list[torch.device]:
    """ "cpu,cuda" as devices; raises ValueError for one that is not here."""
    return [resolve_device(name) for name in _names(text)]


def shapes(text: str) -> list[tuple[int, ...]]:
    """ "64x3,3,scalar" as [(64, 3), (3,), ()], one shape for each input; raises ValueError."""
    try:
        found = [
            () if one.strip() == "scalar" else tuple(int(size) for size in one.split("x"))
            for one in text.replace("×", "x").split(",")
        ]
    except ValueError:
        found = [(0,)]
    if any(size < 1 for shape in found for size in shape):
        raise ValueError(
            f"shape must be sizes of at least 1 joined by x, one for each input, as 64x3 or "
            f"64x3,3,scalar; got {text!r}"
        )
    return found


Interval = tuple[float, float]


def intervals(text: str) -> list[Interval | None]:
    """ "0:1,:,0:" as [(0, 1), None, (0, inf)], an open interval for each input; raises
    ValueError."""
    found: list[Interval | None] = []
    for one in text.split(","):
        try:
            low, high = (
                float(end) if end.strip() else side * math.inf
                for end, side in zip(one.split(":"), (-1, 1), strict=True)
            )
        except ValueError:
            low = high = math.nan
        if not low < high:
            raise ValueError(
                f"domain must be an interval for each input, two ends with : between them, as 0:1 "
                f"or 0:,-1:1; got {text!r}"
            )
        found.append((low, high) if math.isfinite(low) or math.isfinite(high) else None)
    return found


def random_inputs(
    text: str, seed: int, domain: Sequence[Interval | None] | None = None
) -> tuple[Tensor, ...]:
    """Normal numbers of deviation 3 in float64, one tensor for each shape; in an interval, on its
    own scale. Raises ValueError, in one line."""
    sizes = shapes(text)
    within = [None] * len(sizes) if domain is None else domain
    if len(within) != len(sizes):
        raise ValueError(
            f"domain must have an interval for each of the {len(sizes)} inputs of shape {text}, as "
            f"{','.join(['0:1'] * len(sizes))}; got {len(within)}"
        )
    checks.require_memory(
        f"a comparison of shape {text}",
        BYTES_PER_ELEMENT * sum(map(math.prod, sizes)),
        torch.device("cpu"),
        "choose a smaller one",
    )
    generator = torch.Generator().manual_seed(seed)
    drawn = [SPREAD * torch.randn(s, generator=generator, dtype=torch.float64) for s in sizes]
    return tuple(
        tensor if ends is None else Domain(*ends).over(tensor, tensor)
        for tensor, ends in zip(drawn, within, strict=True)
    )


def drawn_by(target: str, seed: int) -> Callable[..., tuple[Tensor, ...]]:
    """The function that a target names, once it has been seen to make inputs of a generator, or of
    a generator and a size.

    Raises ValueError, in one line, for a function that makes something else than tensors.
    """
    make = find(target)

    def tensors(made: Any) -> tuple[Tensor, ...]:
        inputs = (made,) if isinstance(made, Tensor) else made
        if not (isinstance(inputs, tuple | list) and all(isinstance(t, Tensor) for t in inputs)):
            raise TypeError(f"expected a tensor or a tuple of tensors, got {made!r:.60}")
        return tuple(inputs)

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        return tensors(make(generator))

    def draw_so_many(generator: torch.Generator, size: int) -> tuple[Tensor, ...]:
        return tensors(make(generator, size))

    generator = torch.Generator().manual_seed(seed)
    with foreign_code(f"{target} made no inputs"):
        if takes_a_size(make):
            draw_so_many(generator, 1)
            return draw_so_many
        draw(generator)
    return draw


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",")))
