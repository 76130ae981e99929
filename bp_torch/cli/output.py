"""Whatever is at the other end: a terminal without Greek letters, or a reader that leaves early."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from bp_torch.symbols import ERRORS


def one_line(text: str) -> str:
    """The text in one line and without control characters, which a terminal would obey."""
    shown = (c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))
    return "".join(shown)


class _Stream(io.TextIOBase):
    """A standard stream that replaces what its encoding lacks, and outlives its reader.

    When the reader of a pipe has seen enough, as `head` has, the rest goes nowhere, and the command
    comes to its own end: its status says what was found, and not who read it. The bytes beneath are
    not offered: typer would take ASCII for a mistake, and write UTF-8 there.
    """

    encoding = ""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self.encoding = stream.encoding
        self._stream = stream
        self._errors = stream.errors
        stream.reconfigure(errors=ERRORS)

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._to_the_end():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._to_the_end():
            self._stream.flush()

    def give_back(self) -> None:
        """The stream beneath as it was, with nothing left to write."""
        with suppress(OSError):
            self.flush()
        self._stream.reconfigure(errors=self._errors)

    @contextmanager
    def _to_the_end(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is left goes nowhere: Python would try again when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if not isinstance(error, BrokenPipeError):
                raise


@contextmanager
def any_terminal() -> Iterator[None]:
    """Standard output and error as streams that take every text, and every end of their reader."""
    before = sys.stdout, sys.stderr
    streams = [_tolerant(stream) for stream in before]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in streams:
            if isinstance(stream, _Stream):
                stream.give_back()


def _tolerant(stream: TextIO | None) -> Any:
    if stream is None:  # closed by the shell, as with 2>&-
        return open(os.devnull, "w")
    # A notebook's stream is of another kind, and takes every text.
    return _Stream(stream) if isinstance(stream, io.TextIOWrapper) else stream
