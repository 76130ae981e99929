"""Rows as they are learnt from: standardised, apart from those held out, in a mixed order."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from bp_torch.table.columns import Numbers
from bp_torch.table.measuring import BLOCK_NUMBERS, Features, Flags
from bp_torch.table.storage import Matrix
from bp_torch.table.table import Part
from bp_torch.table.target import Target

CHUNK = 64
"""Rows that stay together in the order of training: too few to matter, and some pages of a file."""

CHUNKS_OF_BLOCK = 128
"""From all over the table: some 8,000 rows, of which 1% is known to a percent."""


class Codes:
    """The place of each of the target's values among its classes."""

    def __init__(self, numbers: Sequence[float], places: Sequence[int], where: str) -> None:
        order = np.argsort(numbers)
        self._numbers = np.asarray(numbers, float)[order]
        self._places = np.asarray(places, float)[order]
        self._where = where

    def places(self, raw: Numbers) -> Numbers:
        """Of each row's target; as it is where it is no class."""
        if not len(self._numbers):
            return raw
        if len(self._numbers) == 2:
            is_first, is_second = (raw == number for number in self._numbers)
            if (is_first | is_second).all():
                return np.asarray(np.where(is_first, self._places[0], self._places[1]))
        found = np.searchsorted(self._numbers, raw).clip(max=len(self._numbers) - 1)
        if (strange := self._numbers[found] != raw).any():
            raise ValueError(
                f"the target of what is held out has a value in row "
                f"{int(strange.argmax()) + 1:,} that {self._where} does not have"
            )
        places: Numbers = self._places[found]
        return places


class Writer:
    """Writes rows, as they were piled up, into matrices to learn from."""

    def __init__(
        self,
        features: Features,
        target: Target,
        codes: Codes,
        dtype: "np.dtype[Any]",
        folder: Path | None,
    ) -> None:
        self._features, self._target, self._codes = features, target, codes
        self._dtype, self._folder = dtype, folder

    def parts(
        self, rows: Numbers, out: Flags, names: tuple[str, str], weighted: bool
    ) -> tuple[Part, Part]:
        """The rows that are learnt from and those held out, interleaved."""
        held = int(out.sum())
        with ExitStack() as files:
            both = [
                self._matrices(name, size, weighted, files)
                for name, size in zip(names, (len(rows) - held, held), strict=True)
            ]
            for block, of_test in _interleaved(rows, out, len(self._features.mean)):
                values = self._values(block)
                for matrices, chosen in zip(both, (~of_test, of_test), strict=True):
                    whole = chosen.all()
                    for matrix, each in zip(matrices, values, strict=False):
                        matrix.add(each if whole else each[chosen])
            train, test = (Part(*(matrix.done() for matrix in matrices)) for matrices in both)
            return train, test

    def _values(self, block: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        y = self._target.encode(self._codes.places(block[:, -2]))
        return self._features.standardised(block[:, :-2]), y, block[:, -1]

    def _matrices(self, name: str, rows: int, weighted: bool, files: ExitStack) -> list[Matrix]:
        shapes = {
            "x": (rows, len(self._features.mean)),
            "y": (rows,) if self._target.outputs is None else (rows, self._target.outputs),
        }
        if weighted:
            shapes["weight"] = (rows,)
        folder = self._folder if name else None
        return [
            files.enter_context(
                closing(Matrix(shape, self._dtype, folder and folder / f"{name}_{what}.npy"))
            )
            for what, shape in shapes.items()
        ]


def _interleaved(rows: Numbers, out: Flags, features: int) -> Iterator[tuple[Numbers, Flags]]:
    """All rows in blocks, each a cross-section of the table, of chunks at even distances: a table
    that is sorted by its target would otherwise be learnt one class after another."""
    width = rows.shape[1]
    whole = len(rows) // CHUNK
    per_block = max(1, min(CHUNKS_OF_BLOCK, BLOCK_NUMBERS // max(width, features) // CHUNK))
    blocks = -(-whole // per_block)
    chunks = rows[: whole * CHUNK].reshape(whole, CHUNK, width)
    flags = out[: whole * CHUNK].reshape(whole, CHUNK)
    for start in range(blocks):
        # A copy, which the writer changes.
        yield chunks[start::blocks].reshape(-1, width).copy(), flags[start::blocks].reshape(-1)
    if len(rows) > whole * CHUNK:
        yield rows[whole * CHUNK :].copy(), out[whole * CHUNK :]
