"""Tables in files: which ones are meant, and what Parquet files hold."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bp_torch.table.csv_files import CsvFile
from bp_torch.table.source import Source, rows_per_batch, types_of, unnamed_among

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET = (".parquet", ".pq")
CSV = (".csv", ".tsv", ".tab", ".txt", ".data", ".test")
PACKED = (".gz", ".zst", ".bz2", ".zip")


def open_files(path: Path, columns: Sequence[str] | None) -> Source:
    """One file, those of a folder, or those that a pattern names, sorted by name, as one table."""
    path = path.expanduser()
    paths = _paths(path)
    kinds = {_is_parquet(each) for each in paths}
    if len(kinds) > 1:
        raise ValueError(f"{path} holds both Parquet and CSV files; name one kind, as *.parquet")
    files = [
        ParquetFile(each) if kinds == {True} else CsvFile.open(each, columns) for each in paths
    ]
    first = files[0]
    for other in files[1:]:
        _require_same_columns(first, other)

    def read(names: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        for file in files:
            yield from file.read(names, first.types)

    def identity() -> list[tuple[str, int, int]]:
        found = [(os.fspath(each.resolve()), each.stat()) for each in paths]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]

    name = _stem(paths[0] if len(paths) == 1 else path if path.is_dir() else path.parent)
    unnamed = unnamed_among(first.types)
    return Source(name, os.fspath(path), first.types, read, unnamed, identity)


class ParquetFile:
    """One Parquet file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self.types = types_of(file.schema_arrow, os.fspath(path))

    def read(
        self, names: Sequence[str], types: "dict[str, pa.DataType]"
    ) -> "Iterator[pa.RecordBatch]":
        """Batches of these columns; a row group is not held as a whole."""
        import pyarrow as pa

        with self._open() as file:
            batches = file.iter_batches(rows_per_batch(len(names)), columns=list(names))
            try:
                for batch in batches:
                    yield batch.select(list(names))
            except (pa.ArrowException, OSError) as error:
                raise self._damaged(error) from None

    def _open(self) -> Any:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            # Without pre_buffer, which would hold whole row groups in memory.
            return parquet.ParquetFile(self.path, memory_map=True, pre_buffer=False)
        except pa.ArrowException as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> ValueError:
        return ValueError(
            f"{self.path} is not a whole Parquet file: {_first_sentence(error)}; write it again"
        )


def _paths(path: Path) -> list[Path]:
    if path.is_dir():
        known = PARQUET + CSV
        found = sorted(
            each
            for each in path.rglob("*")
            if each.is_file()
            and not any(part.startswith((".", "_")) for part in each.relative_to(path).parts)
            and _plain_suffix(each) in known
        )
        if not found:
            raise ValueError(
                f"the folder {path} holds no table; expected files that end in "
                f"{', '.join(PARQUET + CSV[:3])}"
            )
    elif path.exists():
        found = [path]
    else:
        found = [Path(each) for each in sorted(glob.glob(os.fspath(path), recursive=True))]
        if not found:
            raise FileNotFoundError(f"there is no file {path}")
    for each in found:
        if not os.access(each, os.R_OK):
            raise PermissionError(f"{each} cannot be read: permission denied")
        if each.is_file() and each.stat().st_size == 0:
            raise ValueError(f"{each} is empty; expected a table")
    return found


def _is_parquet(path: Path) -> bool:
    if _plain_suffix(path) in PARQUET:
        return True
    if not path.is_file():  # a pipe, which can be read only once
        raise ValueError(f"{path} is not a file; save the table as one")
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _require_same_columns(first: Any, other: Any) -> None:
    """Raise ValueError unless both files hold the same columns, numbers or text alike."""
    for name in sorted(first.types.keys() ^ other.types.keys()):
        lacks = other if name in first.types else first
        raise ValueError(
            f"{first.path} and {other.path} do not hold the same columns: {lacks.path} has no "
            f"{name!r}"
        )
    for name, kind in first.types.items():
        if _is_text(kind) != _is_text(other.types[name]):
            raise ValueError(
                f"the column {name!r} is {kind} in {first.path} and {other.types[name]} in "
                f"{other.path}; write both alike"
            )


def _is_text(kind: "pa.DataType") -> bool:
    return "string" in str(kind)


def _plain_suffix(path: Path) -> str:
    """ ".csv" of table.csv.gz."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _stem(path: Path) -> str:
    name = path.name
    while Path(name).suffix.lower() in PARQUET + CSV + PACKED:
        name = Path(name).stem
    return name or "table"


def _first_sentence(error: Exception) -> str:
    return str(error).partition(". ")[0].partition("\n")[0].rstrip(".")
