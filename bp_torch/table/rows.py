"""The rows of a source as numbers, each column in a reader's hands; read once, and piled up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bp_torch.table.choice import Choice, Roles
from bp_torch.table.columns import CategoryReader, NumberReader, Numbers, kind_of
from bp_torch.table.source import Source
from bp_torch.table.split import hash_rows
from bp_torch.table.storage import Pile
from bp_torch.table.target import MOST_CLASSES

ROWS_AT_ONCE = 2048


class Readers:
    """A reader for each feature, for the target and for the weight; they learn what values come."""

    def __init__(self, roles: Roles, choice: Choice, source: Source) -> None:
        kinds = {name: kind_of(kind) for name, kind in source.types.items()}
        self.features = [
            CategoryReader(name, source.where)
            if kinds[name] == "text" or name in choice.one_hot
            else NumberReader(name)
            for name in roles.features
        ]
        self.target = (
            CategoryReader(roles.target, source.where, MOST_CLASSES)
            if kinds[roles.target] == "text"
            else NumberReader(roles.target)
        )
        self.weight = NumberReader(roles.weight) if roles.weight else None
        self.target_numbers: set[float] | None = set()
        """The different numbers that the target has; None: too many to be classes."""
        self.target_span = (np.inf, -np.inf)

    @property
    def all(self) -> list[NumberReader | CategoryReader]:
        """In the order of a row's numbers."""
        return [*self.features, self.target, *([self.weight] if self.weight else [])]

    def see_targets(self, values: Numbers) -> None:
        """Take note of some of the target's numbers."""
        if isinstance(self.target, CategoryReader) or not len(values):
            return
        low, high = self.target_span
        self.target_span = (min(low, float(values.min())), max(high, float(values.max())))
        if self.target_numbers is not None:
            self.target_numbers.update(np.unique(values).tolist())
            if len(self.target_numbers) > MOST_CLASSES:
                self.target_numbers = None


class Rows:
    """All rows of a source as numbers in float64: the features' columns, the target, the weight."""

    def __init__(self, readers: Readers, scratch: Path) -> None:
        self._readers = readers
        self._width = len(readers.features) + 2
        self._rows = Pile(self._width, np.float64, scratch)
        self._hashes = Pile(1, np.uint64, scratch)
        self.dropped = 0
        """Rows that were left out since a value is missing."""

    def read(self, source: Source, choice: Choice) -> None:
        """Read the source to its end; raises ValueError for what cannot be learnt from."""
        readers = self._readers.all
        names = [reader.name for reader in readers]
        if lacking := [name for name in names if name not in source.types]:
            raise ValueError(f"{source.where} has no column {lacking[0]!r}; it must be there")
        seen, missing = 0, np.zeros(len(names), np.int64)
        for batch in source.batches(names):
            columns = [
                reader.read(column) for reader, column in zip(readers, batch.columns, strict=True)
            ]
            rows = _side_by_side(columns, self._width)
            bits = (reader.bits(values) for reader, values in zip(readers, columns, strict=True))
            hashes = hash_rows(bits, len(rows))
            kept = _kept(rows, names, source.where, seen, choice)
            if kept is not None:
                missing += np.isnan(rows[:, : len(names)]).sum(0)
                self.dropped += len(rows) - int(kept.sum())
                rows, hashes = rows[kept], hashes[kept]
            if self._readers.weight and (rows[:, -1] < 0).any():
                raise ValueError(
                    f"{source.where}: the sample weight {self._readers.weight.name!r} is "
                    f"{rows[:, -1].min():g} somewhere; expected numbers of at least 0"
                )
            if choice.above is not None:
                rows[:, -2] = rows[:, -2] > choice.above
            self._readers.see_targets(rows[:, -2])
            self._rows.add(rows)
            self._hashes.add(hashes)
            seen += batch.num_rows
        for reader in self._readers.features:
            if isinstance(reader, CategoryReader) and reader.name not in choice.one_hot:
                reader.require_one_kind()
        if not self._rows.rows:
            where = f"{source.where} has no rows"
            if not seen:
                raise ValueError(f"{where}; expected a table to learn from")
            worst = int(missing.argmax())
            raise ValueError(
                f"{where} once those with missing values are dropped; the column {names[worst]!r} "
                f"has none in {missing[worst]:,} of {seen:,}, so leave it out (--drop)"
            )

    @property
    def rows(self) -> int:
        """How many there are."""
        return self._rows.rows

    def arrays(self) -> tuple[Numbers, NDArray[np.uint64]]:
        """The rows (N, columns + 2), and their hashes (N,)."""
        return self._rows.array(), self._hashes.array()[:, 0]

    def close(self) -> None:
        """Give the disk back."""
        self._rows.close()
        self._hashes.close()


def _side_by_side(columns: Sequence[Numbers], width: int) -> Numbers:
    """Columns as rows of that width, with ones on the right; in pieces that a cache holds."""
    rows = np.ones((len(columns[0]), width))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        piece = slice(start, start + ROWS_AT_ONCE)
        for place, values in enumerate(columns):
            rows[piece, place] = values[piece]
    return rows


def _kept(
    rows: Numbers, names: Sequence[str], where: str, seen: int, choice: Choice
) -> NDArray[np.bool_] | None:
    """Which rows are kept; None: all. Raises ValueError for an infinity, and for a missing value
    of which nothing was said."""
    if np.isfinite(rows).all():
        return None
    missing: NDArray[Any] = np.isnan(rows)
    for wrong, is_wrong in ((np.isinf(rows), True), (missing, choice.missing is None)):
        if is_wrong and wrong.any():
            row, place = (int(where_[0]) for where_ in np.nonzero(wrong))
            if wrong is missing:
                raise ValueError(
                    f"{where}: the column {names[place]!r} has no value in row {seen + row + 1:,}; "
                    f"say what becomes of such rows with missing (--missing): drop or mean"
                )
            raise ValueError(
                f"{where}: the column {names[place]!r} is {rows[row, place]} in row "
                f"{seen + row + 1:,}; expected a finite number, so mend it or drop the column"
            )
    if choice.missing == "mean":  # which neither a target nor a weight can be given
        missing = missing[:, -2:]
    return np.asarray(~missing.any(1))
