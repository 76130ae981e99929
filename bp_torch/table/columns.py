"""Columns of a table as numbers: numbers as they are, texts as a 0 or 1 for each category."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Numbers = NDArray[np.float64]
Value = str | float

MOST_CATEGORIES = 256
"""Of one column; one with more is a name or a key, from which nothing can be learnt."""

UNKNOWN = -1.0
"""The code of a category that no training sample has; it has none of the ones."""


@dataclass(frozen=True)
class Column:
    """One column that a model reads, and what becomes of it."""

    name: str
    categories: tuple[Value, ...] | None = None
    """None: a number. Otherwise a feature for each, which is 1 for its own rows and 0 for others.
    """
    fill: tuple[float, ...] | None = None
    """What stands for a missing value, for each feature; None: none may be missing."""

    @property
    def width(self) -> int:
        """How many features it has."""
        return 1 if self.categories is None else len(self.categories)

    @property
    def features(self) -> list[str]:
        """The names of its features: its own, or "colour=red" for each category."""
        if self.categories is None:
            return [self.name]
        return [f"{self.name}={plain(value)}" for value in self.categories]


def expand(raw: Numbers, columns: Sequence[Column]) -> Numbers:
    """The features (n, D) of n rows, given a number for each column, (n, columns): the value, or
    the place of its category. NaN stands for a missing value, and is filled where it may be."""
    if all(column.categories is None and column.fill is None for column in columns):
        return raw
    x = np.zeros((len(raw), sum(column.width for column in columns)))
    start = 0
    for values, column in zip(raw.T, columns, strict=True):
        if column.categories is None:
            x[:, start] = values
        else:
            known = np.flatnonzero(values >= 0)
            x[known, start + values[known].astype(np.intp)] = 1
        missing = np.isnan(values)
        if missing.any():
            place = slice(start, start + column.width)
            x[missing, place] = np.nan if column.fill is None else column.fill
        start += column.width
    return x


def plain(value: Value) -> str:
    """A category as it is shown: "red", or "3" for 3.0."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)


def kind_of(data_type: "pa.DataType") -> str | None:
    """ "number", "text", or None for what is neither."""
    import pyarrow as pa

    is_ = pa.types
    if is_.is_dictionary(data_type):
        return kind_of(data_type.value_type)
    if is_.is_string(data_type) or is_.is_large_string(data_type) or is_.is_string_view(data_type):
        return "text"
    numbers = (is_.is_boolean, is_.is_integer, is_.is_floating, is_.is_decimal, is_.is_null)
    return "number" if any(test(data_type) for test in numbers) else None


class NumberReader:
    """Reads the numbers of one column."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self, array: "pa.Array") -> Numbers:
        """In float64; NaN where there is none."""
        import pyarrow as pa

        kind = array.type
        if pa.types.is_dictionary(kind):
            array = array.dictionary_decode()
            kind = array.type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            array = array.cast(pa.float64())
        numbers: Numbers = array.to_numpy(zero_copy_only=False)
        return numbers.astype(np.float64, copy=False)

    def bits(self, numbers: Numbers) -> NDArray[np.uint64]:
        """What goes into a row's hash: the same for 0 and −0."""
        return (numbers + 0.0).view(np.uint64)


class CategoryReader:
    """Reads one column as codes of its categories, in the order in which they come up."""

    def __init__(self, name: str, where: str, most: int = MOST_CATEGORIES) -> None:
        self.name, self._where, self._most = name, where, most
        self._codes: dict[Value, int] = {}
        self._hashes = np.zeros(0, np.uint64)
        self.ordered: tuple[Value, ...] | None = None

    @property
    def categories(self) -> list[Value]:
        """By code."""
        return list(self._codes)

    @property
    def stray(self) -> str | None:
        """A text among more numbers; such a one is seldom meant."""
        texts = [value for value in self._codes if isinstance(value, str)]
        strays = [text for text in texts if not _is_number(text)]
        return strays[0] if 0 < len(strays) <= len(texts) / 2 else None

    def require_one_kind(self) -> None:
        """Raise ValueError for texts among numbers."""
        if (stray := self.stray) is not None:
            raise ValueError(
                f"{self._where}: the column {self.name!r} holds numbers, and {stray[:60]!r}; mend "
                f"it, leave it out (--drop), or say that it names categories (--one-hot)"
            )

    def read(self, array: "pa.Array") -> Numbers:
        """Codes; NaN for a missing one. An empty text is none."""
        import pyarrow as pa

        kind = array.type
        if pa.types.is_dictionary(kind) and kind.ordered:
            self.ordered = tuple(array.dictionary.to_pylist())
        if pa.types.is_dictionary(kind) and kind_of(kind.value_type) == "number":
            array, kind = array.dictionary_decode(), kind.value_type
        if not pa.types.is_dictionary(kind):
            if pa.types.is_string_view(kind):
                array = array.cast(pa.large_string())
            array = array.dictionary_encode()
        codes = np.array([self._code(v) for v in array.dictionary.to_pylist()] + [np.nan])
        places = array.indices
        if places.null_count:
            places = places.fill_null(len(codes) - 1)
        found: Numbers = codes[places.to_numpy(zero_copy_only=False)]
        return found

    def bits(self, codes: Numbers) -> NDArray[np.uint64]:
        """What goes into a row's hash: of the category itself, not of its code."""
        if len(self._hashes) < len(self._codes):
            self._hashes = np.array([_hash(value) for value in self._codes], np.uint64)
        hashes = np.append(self._hashes, np.uint64(0))
        return hashes[np.where(np.isnan(codes), len(hashes) - 1, codes).astype(np.intp)]

    def _code(self, value: Any) -> float:
        if value is None or value != value:
            return np.nan
        if isinstance(value, str):
            value = value.strip()
            if not value:
                return np.nan
        else:
            value = float(value)
        code = self._codes.setdefault(value, len(self._codes))
        if code >= self._most:
            self.require_one_kind()
            raise ValueError(
                f"the column {self.name!r} of {self._where} has more than {self._most} different "
                f"values ({', '.join(repr(plain(v)) for v in list(self._codes)[:3])} …); leave it "
                f"out with drop (--drop)"
            )
        return code


def in_order(values: Iterable[Value]) -> list[Value]:
    """Numbers by size, then texts by their letters."""
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _hash(value: Value) -> int:
    text = value if isinstance(value, str) else repr(value)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
