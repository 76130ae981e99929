"""Machine code by Numba, kept on disk, for every process would else wait seconds for it."""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import config
from numba.core.caching import FunctionCache

_HERE = Path(__file__).parent
_COMPILED = sorted([*_HERE.glob("cpu_*.py"), *_HERE.glob("simd/*.py")])
SOURCES = sha256(b"".join(path.read_bytes() for path in _COMPILED)).hexdigest()[:16]
"""A digest of all that is compiled. Numba itself looks at the file of the kernel alone."""


def kept_on_disk(
    compiler: Any, signature: Any, function: Callable[..., Any], *dtypes: str, **options: Any
) -> Any:
    """The function, compiled at once, or as it was compiled before from the same sources.

    Numba names its files after the function. So each pair of dtypes has files of its own, and no
    two processes that compile different ones at the same time can take each other's for theirs.

    Args:
        compiler: numba.njit or numba.cfunc.
        dtypes: what the function refers to by closure.
    """
    function.__qualname__ = "_".join((function.__name__, *dtypes, SOURCES))
    compiled = compiler(signature, cache=True, **options)
    try:
        return compiled(function)
    except Exception:  # what is kept is a pickle: a damaged one raises anything
        with suppress(Exception):
            FunctionCache(function).flush()
            return compiled(function)
    return compiler(signature, **options)(function)  # there is nowhere to write


def require_compiler() -> None:
    """Raise RuntimeError where Numba has been told not to compile."""
    if config.DISABLE_JIT:
        raise RuntimeError(
            "fused steps are compiled by Numba, and NUMBA_DISABLE_JIT is set; unset it"
        )
