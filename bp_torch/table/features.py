"""New rows as the features that a model knows: its columns by name, its categories by value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bp_torch.table.columns import (
    UNKNOWN,
    CategoryReader,
    Column,
    NumberReader,
    Numbers,
    expand,
    kind_of,
)
from bp_torch.table.source import Source

if TYPE_CHECKING:
    import pyarrow as pa


class FeatureReader:
    """Reads raw features, as they stand in the data, from the rows of a source.

    Raises ValueError, in one line, for a column that is not there or holds texts for numbers.
    """

    def __init__(self, columns: Sequence[Column], source: Source) -> None:
        self._columns, self._where = columns, source.where
        if lacking := [column.name for column in columns if column.name not in source.types]:
            shown = ", ".join(map(repr, lacking[:8])) + (" …" if len(lacking) > 8 else "")
            raise ValueError(f"{source.where} lacks {shown}, which the model reads")
        for column in columns:
            kind = kind_of(source.types[column.name])
            if kind is None or (kind == "text" and column.categories is None):
                raise ValueError(
                    f"the column {column.name!r} of {source.where} is {source.types[column.name]}; "
                    f"the model was trained on numbers there"
                )
        self._readers = [
            NumberReader(column.name)
            if column.categories is None
            else CategoryReader(column.name, source.where, most=2**31)
            for column in columns
        ]
        self.unknown: dict[str, int] = {}
        """How many rows of a column have a category that the model has not seen."""
        self.missing: dict[str, int] = {}
        """How many rows of a column have no value, or an infinite one, and nothing to stand for it.
        """

    def read(self, batch: "pa.RecordBatch") -> Numbers:
        """Features (n, D) of a batch; NaN in rows of which not all is known."""
        raw = np.empty((batch.num_rows, len(self._columns)))
        for place, (column, reader) in enumerate(zip(self._columns, self._readers, strict=True)):
            values = reader.read(batch.column(batch.schema.get_field_index(column.name)))
            if isinstance(reader, CategoryReader) and column.categories is not None:
                values = self._places(column, reader, values)
            raw[:, place] = values
        for column, values in zip(self._columns, raw.T, strict=True):
            wrong = np.isinf(values) | (np.isnan(values) & (column.fill is None))
            if rows := int(wrong.sum()):
                self.missing[column.name] = self.missing.get(column.name, 0) + rows
                values[wrong] = np.nan
        return expand(raw, self._columns)

    def _places(self, column: Column, reader: CategoryReader, codes: Numbers) -> Numbers:
        """The places of the model's categories for the codes of this reader's."""
        known = {value: float(place) for place, value in enumerate(column.categories or ())}
        places = np.array([known.get(value, UNKNOWN) for value in reader.categories] + [np.nan])
        found: Numbers = places[np.where(np.isnan(codes), len(places) - 1, codes).astype(np.intp)]
        if strange := int((found == UNKNOWN).sum()):
            self.unknown[column.name] = self.unknown.get(column.name, 0) + strange
        return found
