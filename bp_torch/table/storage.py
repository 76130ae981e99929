"""Rows on disk, written once and then mapped, so that memory holds only what is looked at."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

IN_MEMORY = 2**26
"""Bytes of a matrix that is kept in memory: below it a file would only be in the way."""


class Pile:
    """Rows of one width and dtype, piled up in a file without a name that goes with the process."""

    def __init__(self, width: int, dtype: Any, folder: Path) -> None:
        self._width, self._dtype, self._folder = width, np.dtype(dtype), folder
        self.rows = 0
        with naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def add(self, rows: NDArray[Any]) -> None:
        """Put rows on top, (n, width) or (n,)."""
        with naming(self._folder):
            self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self.rows += len(rows)

    def array(self) -> NDArray[Any]:
        """All rows, (N, width), mapped."""
        with naming(self._folder):
            self._file.flush()
        shape = (self.rows, self._width)
        if not self.rows:
            return np.empty(shape, self._dtype)
        # As a plain array: a memmap's own bookkeeping costs as much as reading a block.
        return np.asarray(np.memmap(self._file, self._dtype, "r", shape=shape))

    def close(self) -> None:
        """Give the disk back."""
        self._file.close()


class Matrix:
    """A matrix that is written row by row: in memory, or in an .npy file."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, path: Path | None) -> None:
        self._path, self._at = path, 0
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._file: IO[bytes] | None = None
        if path is None:
            self._array = np.empty(shape, self.dtype)
        else:
            with naming(path):
                self._file = open(path, "xb")  # noqa: SIM115
                header = {
                    "descr": np.lib.format.dtype_to_descr(self.dtype),
                    "fortran_order": False,
                    "shape": shape,
                }
                np.lib.format.write_array_header_1_0(self._file, header)

    def add(self, rows: NDArray[Any]) -> None:
        """The next rows."""
        if self._path is None or self._file is None:
            self._array[self._at : self._at + len(rows)] = rows
        else:
            with naming(self._path):
                self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        self._at += len(rows)

    def done(self) -> NDArray[Any]:
        """The whole matrix."""
        assert self._at == self.shape[0]
        if self._path is None:
            return self._array
        self.close()
        return mapped(self._path)

    def close(self) -> None:
        """Write what is left, and let go of the file."""
        if self._path and self._file:
            with naming(self._path):
                self._file.close()


def mapped(path: Path) -> NDArray[Any]:
    """An .npy file's matrix; the file is not changed by what is done to it."""
    array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    return array


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let a disk that is full, or closed to us, say where it is."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from None
        raise
