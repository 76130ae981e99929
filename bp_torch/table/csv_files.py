"""Tables as text: what separates the fields, which columns hold numbers, and what is wrong."""

import csv
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bp_torch.table.source import MOST_COLUMNS, UNNAMED, require_no_repeats

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_LINE = 2**22
"""Bytes of a row: a longer one is no row of numbers and short texts."""

BLOCK = 2**20
"""Bytes that are parsed at once, several blocks at a time; more where rows are long."""

SEPARATORS = ",;\t|"

NO_VALUE = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A", "n/a", "?"]
"""How a number is written that is not there; in a column of text only an empty field is none."""


@dataclass(frozen=True)
class CsvFile:
    """One CSV file, packed or not."""

    path: Path
    separator: str
    decimal_point: str
    names: list[str]
    before: int
    """Lines before the first row: blank ones, and that of the names."""
    is_wide: bool
    types: "dict[str, pa.DataType]" = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, columns: Sequence[str] | None) -> "CsvFile":
        """The file, once its first block has been looked at."""
        blank, first, second = _first_lines(path)
        separator = max(SEPARATORS, key=lambda each: _unquoted(first).count(each))
        names = [name.strip() for name in next(csv.reader([first], delimiter=separator))]
        if len(names) > MOST_COLUMNS:
            raise ValueError(
                f"{path} has {len(names):,} columns, and at most {MOST_COLUMNS:,} are read; keep "
                f"the ones to learn from"
            )
        if columns is not None and len(columns) != len(names):
            raise ValueError(f"{path} has {len(names)} columns, and {len(columns)} names came")
        if columns is None and _looks_like_data(names):
            raise ValueError(
                f"the first line of {path} looks like data ({', '.join(names[:3])} …); expected "
                f"the names of the columns there, or in --columns"
            )
        if columns is None and not second:
            raise ValueError(f"{path} has names and no rows; expected a table")
        # What pandas writes as its index has no name.
        found = [name or f"{UNNAMED}{place}" for place, name in enumerate(names, start=1)]
        found = found if columns is None else list(columns)
        require_no_repeats(found, os.fspath(path))
        decimal_comma = separator == ";" and re.search(r"(^|;)\s*-?\d+,\d+\s*(;|$)", second)
        point = "," if decimal_comma else "."
        is_wide = max(len(first), len(second)) > BLOCK // 16
        before = blank + (columns is None)
        file = cls(path, separator, point, found, before, is_wide)
        with file._reader({}) as reader:
            types = dict(zip(reader.schema.names, reader.schema.types, strict=True))
        return replace(file, types=_as_read(types, path))

    def read(
        self, names: Sequence[str], types: "dict[str, pa.DataType]"
    ) -> "Iterator[pa.RecordBatch]":
        """Batches of these columns, of the types that the table's first file has."""
        wanted = {name: types[name] for name in names}
        try:
            with self._reader(wanted) as reader:
                yield from reader
        except _unreadable() as error:
            raise self._explained(error, wanted) from None

    @property
    def _block(self) -> int:
        """Bytes that are parsed at once."""
        return LONGEST_LINE if self.is_wide else BLOCK

    def _reader(self, wanted: "dict[str, pa.DataType]", *, threads: bool = True) -> Any:
        from pyarrow import csv as arrow

        try:
            return arrow.open_csv(
                _unpacked(self.path),
                arrow.ReadOptions(
                    block_size=self._block,
                    use_threads=threads,
                    column_names=self.names,
                    skip_rows=self.before,
                ),
                arrow.ParseOptions(delimiter=self.separator, newlines_in_values=False),
                arrow.ConvertOptions(
                    column_types=wanted,
                    include_columns=list(wanted),
                    null_values=NO_VALUE,
                    strings_can_be_null=False,
                    decimal_point=self.decimal_point,
                ),
            )
        except _unreadable() as error:
            raise self._explained(error, wanted) from None

    def _explained(self, error: Exception, wanted: "dict[str, pa.DataType]") -> Exception:
        """The error in the user's words, with the row's number."""
        import pyarrow as pa

        if isinstance(error, OSError) and error.errno is not None:
            return error
        said = str(error)
        if "Row #" not in said and ("CSV conversion" in said or "Expected" in said):
            try:  # once more in one thread, which counts the rows
                with self._reader(wanted, threads=False) as reader:
                    for _ in reader:
                        pass
            except pa.ArrowException as again:
                said = str(again)
            except ValueError as explained:
                return explained
        row = (found := re.search(r"Row #(\d+)", said)) and f"in line {int(found[1]):,}"
        if found := re.search(r"Expected (\d+) columns, got (\d+)", said):
            return ValueError(
                f"{self.path}: expected {found[1]} fields in every line, got {found[2]} "
                f"{row or 'in one'}; mend that line"
            )
        if found := re.search(r"column #(\d+): .*invalid value '(.*)'", said, re.DOTALL):
            # Arrow counts the columns that are asked for, or those that there are.
            names = list(wanted) if "include" in said else self.names
            name = names[int(found[1])] if int(found[1]) < len(names) else f"#{found[1]}"
            return ValueError(
                f"{self.path}: the column {name!r} holds numbers, and {found[2][:60]!r} "
                f"{row or 'in one row'}; mend it, or leave the column out with --drop"
            )
        if "straddl" in said or "too large" in said:
            return _too_long(self.path, self._block)
        if "UTF8" in said or "utf-8" in said:
            return ValueError(f"{self.path} is not in UTF-8; save it in that encoding")
        if "Empty CSV" in said:
            return ValueError(f"{self.path} has no rows; expected a table")
        if isinstance(error, OSError | EOFError | zipfile.BadZipFile | zlib.error) or any(
            word in said for word in ("zlib", "ZSTD", "CRC")
        ):
            return ValueError(f"{self.path} cannot be unpacked: {said}; write it again")
        return ValueError(f"{self.path} is not a table as CSV: {said}")


def _as_read(types: "dict[str, pa.DataType]", path: Path) -> "dict[str, pa.DataType]":
    """The types to read with: whole numbers may have fractions further down."""
    import pyarrow as pa

    as_read = {}
    for name, kind in types.items():
        if pa.types.is_binary(kind):
            raise ValueError(f"{path} is not in UTF-8; save it in that encoding")
        if pa.types.is_integer(kind) or pa.types.is_null(kind):
            kind = pa.float64()
        elif pa.types.is_string(kind):
            kind = pa.dictionary(pa.int32(), pa.string())
        as_read[name] = kind
    return as_read


def _unreadable() -> tuple[type[Exception], ...]:
    """What a file that is no table, or a damaged one, can end in."""
    import pyarrow as pa

    damaged = (EOFError, zipfile.BadZipFile, zlib.error)
    return (pa.ArrowException, UnicodeDecodeError, OSError, *damaged)


def _unpacked(path: Path) -> Any:
    """The file's bytes, unpacked if its name ends so."""
    import pyarrow as pa

    ending = path.suffix.lower()
    if ending != ".zip":
        packed = ending in (".gz", ".zst", ".bz2")
        return pa.input_stream(os.fspath(path), compression="detect" if packed else None)
    archive = zipfile.ZipFile(path)
    members = [each for each in archive.namelist() if not each.endswith("/")]
    if len(members) != 1:
        archive.close()
        raise ValueError(f"{path} holds {len(members)} files, expected one; unpack it")
    return pa.PythonFile(archive.open(members[0]), mode="r")


def _first_lines(path: Path) -> tuple[int, str, str]:
    """How many blank lines there are, and the two lines after them, unpacked."""
    try:
        with _unpacked(path) as stream:
            start = stream.read(LONGEST_LINE)
    except _unreadable() as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"{path} cannot be unpacked: {error}; write it again") from None
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start[:4096]:
        raise ValueError(f"{path} is not text in UTF-8; save the table as CSV in that encoding")
    if len(start) == LONGEST_LINE and b"\n" not in start and b"\r" not in start:
        raise _too_long(path, LONGEST_LINE)
    try:
        text = start.decode("utf-8-sig", errors="strict" if len(start) < LONGEST_LINE else "ignore")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not in UTF-8; save it in that encoding") from None
    whole = text.splitlines()
    lines = [line for line in whole if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty; expected a table")
    return whole.index(lines[0]), lines[0], lines[1] if len(lines) > 1 else ""


def _too_long(path: Path, most: int) -> ValueError:
    return ValueError(
        f"{path} has a line longer than {most / 2**20:.0f} MiB; expected rows of numbers and short "
        f"texts"
    )


def _unquoted(line: str) -> str:
    return re.sub(r'"[^"]*"', "", line)


def _looks_like_data(names: Sequence[str]) -> bool:
    """Whether there are numbers among the names, other than their own places, as pandas calls
    columns without names; where the first is empty they stand beside names of rows."""
    if not names[0]:
        return False
    numbers = [(place, name) for place, name in enumerate(names) if _is_number(name)]
    return any(name not in (str(place - 1), str(place), str(place + 1)) for place, name in numbers)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.lower() not in ("nan", "inf", "infinity")
