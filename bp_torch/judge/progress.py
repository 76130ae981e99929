"""A line on the terminal for what takes longer than a user expects to wait in silence."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SILENT_SECONDS = 2.0


@contextmanager
def progress_line(tell: Callable[[str], None] | None) -> Iterator[Callable[[str], None]]:
    """Something to tell progress to: `tell` itself, or a line on standard error.

    The line appears after two seconds and on a terminal only, and is wiped at the end.
    """
    if tell is not None:
        yield tell
        return
    started, shown = time.monotonic(), False

    def line(text: str) -> None:
        nonlocal shown
        if sys.stderr.isatty() and time.monotonic() - started > SILENT_SECONDS:
            print(f"\r\033[Kcomparing: {text}"[:79], end="", file=sys.stderr, flush=True)
            shown = True

    try:
        yield line
    finally:
        if shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
