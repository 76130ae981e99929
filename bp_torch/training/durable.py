"""Files that are whole or not there, whatever happens: a crash, a full disk, a cut of power."""

import os
from pathlib import Path

UNFINISHED = ".unfinished"
"""Ends the name under which a file is written until it is whole."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place, and move it there when the disk has all of it.

    What stood there before stands there until then. Raises OSError, which names the path.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        try:
            with open(unfinished, "wb") as file:
                file.write(content)
                flush_to_disk(file.fileno())
            os.replace(unfinished, path)
            _flush_folder(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), os.fspath(path)) from None


def flush_to_disk(descriptor: int) -> None:
    """Return when the disk has what was written to that file."""
    os.fsync(descriptor)


def _flush_folder(folder: Path) -> None:
    """The file's new name is in its folder, which is a file too, but for Windows."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flush_to_disk(descriptor)
    finally:
        os.close(descriptor)
