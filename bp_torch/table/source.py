"""A table that can be read batch by batch, wherever it comes from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

NUMBERS_PER_BATCH = 2**20
"""8 MiB in float64: large enough for whole columns to be handled at once, small beside memory."""

UNNAMED = "unnamed_"
"""Begins the name of a column that has none, before its place."""

MOST_COLUMNS = 65_536
"""A wider table is one that was read wrongly, or a matrix of pixels that is no table."""


@dataclass(frozen=True, eq=False)
class Source:
    """A table that can be read, more than once if need be."""

    name: str
    """Short, as a run's folder is called."""
    where: str
    """As messages call it."""
    types: "dict[str, pa.DataType]"
    """The type of each column, in the order of the table."""
    read: "Callable[[Sequence[str]], Iterator[pa.RecordBatch]]"
    """The batches of some columns, in the order asked for."""
    unnamed: tuple[str, ...] = ()
    """Columns without a name of their own, as the index that pandas writes; not learnt from unless
    asked for."""
    identity: Callable[[], Any] = lambda: None
    """What changes when the content does: names, sizes and times of files; None in memory."""

    def batches(self, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """The table's rows, some columns of them; raises ValueError if it changes meanwhile."""
        before = self.identity()
        rest = self.read(columns)
        with ThreadPoolExecutor(1) as ahead:  # the next batch is read while one is worked on
            coming = ahead.submit(next, rest, None)
            while (batch := coming.result()) is not None:
                coming = ahead.submit(next, rest, None)
                yield batch
        if self.identity() != before:
            raise ValueError(
                f"{self.where} has changed while it was read; start again when it is complete"
            )


def release_memory() -> None:
    """Give back what Arrow has kept for the next batch, once there is none."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def rows_per_batch(columns: int) -> int:
    """How many rows of so many columns are read at once."""
    return max(1, NUMBERS_PER_BATCH // max(1, columns))


def types_of(schema: "pa.Schema", where: str) -> "dict[str, pa.DataType]":
    """The type of each column by its name; raises ValueError where two share one."""
    require_no_repeats(schema.names, where)
    return dict(zip(schema.names, schema.types, strict=True))


def unnamed_among(names: Iterable[str]) -> tuple[str, ...]:
    """The columns that were given a name here, or that pandas calls its index."""
    return tuple(name for name in names if name.startswith((UNNAMED, "__index_level_")))


def require_no_repeats(names: Sequence[str], where: str) -> None:
    """Raise ValueError where two columns share a name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{where} has two columns called {name!r}; rename one of them")
        seen.add(name)
