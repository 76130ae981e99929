"""From a source to matrices: read once, hold out, measure, standardise.

The source is read once, into a pile of rows in float64 on disk; the pile is walked twice, for the
mean and deviation of the training part, and to write the matrices. Nothing is rounded before it has
been standardised, so that a feature far from 0 loses nothing: (x − μ)/s in float64, rounded once.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bp_torch.table.choice import Choice, choose_columns
from bp_torch.table.columns import CategoryReader, Column, Numbers, Value, expand, in_order
from bp_torch.table.moments import Moments
from bp_torch.table.rows import Readers, Rows
from bp_torch.table.source import Source, release_memory
from bp_torch.table.split import held_out
from bp_torch.table.storage import IN_MEMORY, Matrix
from bp_torch.table.table import Part, Table
from bp_torch.table.target import Target, decide

CHUNK = 64
"""Rows that stay together in the order of training: too few to matter, and some pages of a file."""

CHUNKS_OF_BLOCK = 128
"""From all over the table: some 8,000 rows, of which 1% is known to a percent."""

BLOCK_NUMBERS = 2**18
"""Of a block of rows that is measured or standardised: 2 MiB, which a cache holds."""

Flags = NDArray[np.bool_]


def read_table(
    source: Source,
    choice: Choice,
    *,
    test: Source | None = None,
    dtype: Any = np.float32,
    folder: Path,
) -> Table:
    """The table that the source holds.

    Args:
        choice: which columns are learnt from, and which is learnt.
        test: what is held out, in place of a share of the source.
        dtype: of the matrices, float32 or float64.
        folder: where rows are piled up, and where matrices are written that are larger than
            `storage.IN_MEMORY`.

    Raises:
        ValueError: the table does not hold what was asked for, or what cannot be learnt from: what
            was expected, what came and what to do.
        OSError: a file cannot be read, or a disk is full; its path is named.
    """
    readers = Readers(choose_columns(source, choice), choice, source)
    with closing(Rows(readers, folder)) as piled, closing(Rows(readers, folder)) as held:
        piled.read(source, choice)
        release_memory()
        rows, hashes = piled.arrays()
        target, codes = _target(readers, choice, source)
        if test is None:
            groups = codes.places(rows[:, -2]) if target.values else np.zeros(len(rows))
            out = held_out(hashes, groups.astype(np.int16), choice.test_size)
        else:
            held.read(test, choice)
            out = np.zeros(len(rows), bool)
        asked = choice if test is None else replace(choice, test_size=0)
        _require_parts(rows, out, source, asked, target)
        features, places, constant = _measure(readers, rows, out, choice)
        size = len(rows) * len(features.mean) * np.dtype(dtype).itemsize
        files = folder if size > IN_MEMORY else None
        writer = _Writer(features, places, target, codes, np.dtype(dtype), files)
        weighted = readers.weight is not None
        train, rest = writer.parts(rows, out, ("train", "test"), weighted)
        if test is not None:
            others, _ = held.arrays()
            rest, _ = writer.parts(others, np.zeros(len(others), bool), ("test", ""), weighted)
        return Table(
            name=source.name,
            train=train,
            test=rest,
            columns=features.columns,
            target=target,
            mean=features.mean,
            deviation=features.deviation,
            content=f"{int(np.add.reduce(hashes)):016x}",
            notes=tuple(_notes(piled, constant, source, readers)),
        )


@dataclass(frozen=True, eq=False)
class Features:
    """What becomes of the columns: features, and how they are standardised."""

    columns: tuple[Column, ...]
    mean: Numbers
    deviation: Numbers

    def standardised(self, raw: Numbers) -> Numbers:
        """(x − μ)/s, (n, D), from a number for each column."""
        return (expand(raw, self.columns) - self.mean) / self.deviation


class _Codes:
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


def _target(readers: Readers, choice: Choice, source: Source) -> tuple[Target, _Codes]:
    reader = readers.target
    values: list[Value] | None
    if isinstance(reader, CategoryReader):
        numbers, values = list(map(float, range(len(reader.categories)))), reader.categories
        span, ordered = (np.inf, -np.inf), reader.ordered
    else:
        known, ordered = readers.target_numbers, None
        numbers = sorted(known) if known is not None else []
        values, span = (None if known is None else list(numbers)), readers.target_span
    target = decide(
        reader.name,
        values,
        span,
        where=source.where,
        positive=choice.positive,
        ordered=ordered,
        is_boolean=str(source.types[reader.name]) == "bool",
        above=choice.above,
    )
    if not target.values or values is None:
        return target, _Codes([], [], source.where)
    return target, _Codes(numbers, [target.values.index(v) for v in values], source.where)


def _require_parts(
    rows: Numbers, out: Flags, source: Source, choice: Choice, target: Target
) -> None:
    """Raise ValueError where nothing is left to learn from, or to hold out, or to weigh."""
    if choice.test_size and not out.any():
        classes = f" for {len(target.classes)} classes" if target.classes else ""
        raise ValueError(
            f"{source.where} has {len(rows)} rows{classes}, too few to hold out "
            f"{choice.test_size:g} of each; choose a larger test-size, other data to test with "
            f"(--test), or another target than {target.name!r}"
        )
    if not rows[~out, -1].any():
        raise ValueError(f"every sample weight in {source.where} is 0; expected some above")


def _blocks(rows: int, width: int) -> Iterator[slice]:
    size = max(CHUNK, BLOCK_NUMBERS // width // CHUNK * CHUNK)
    for start in range(0, rows, size):
        yield slice(start, start + size)


def _walk(rows: Numbers, out: Flags, moments: Moments, counts: list[Numbers | None]) -> None:
    for block in _blocks(len(rows), rows.shape[1]):
        learnt = rows[block, : len(counts)][~out[block]]
        moments.add(learnt)
        for place, count in enumerate(counts):
            if count is not None:
                codes = learnt[:, place]
                count += np.bincount(codes[~np.isnan(codes)].astype(np.intp), minlength=len(count))


def _largest(rows: Numbers, features: int) -> Numbers:
    """The size of each feature's largest number."""
    found = np.zeros(features)
    for block in _blocks(len(rows), rows.shape[1]):
        found = np.fmax(found, np.fmax.reduce(np.abs(rows[block, :features])))
    return found


def _counts(readers: Readers) -> list[Numbers | None]:
    """Of each code of each column of categories, 0 so far."""
    return [
        np.zeros(len(reader.categories)) if isinstance(reader, CategoryReader) else None
        for reader in readers.features
    ]


def _measure(
    readers: Readers, rows: Numbers, out: Flags, choice: Choice
) -> tuple[Features, list[Numbers | None], list[str]]:
    """The features; for each column of categories where each code goes; what never varies."""
    moments, counts = Moments(len(readers.features)), _counts(readers)
    _walk(rows, out, moments, counts)
    if not moments.sound:  # squares that leave what float64 holds
        moments, counts = moments.scaled(_largest(rows, len(counts))), _counts(readers)
        _walk(rows, out, moments, counts)
    columns: list[Column] = []
    places: list[Numbers | None] = []
    mean: list[float] = []
    deviation: list[float] = []
    fills = choice.missing == "mean"
    constant = [
        reader.name
        for reader, flat, count in zip(readers.features, moments.constant(), counts, strict=True)
        if (flat if count is None else np.count_nonzero(count) < 2)
    ]
    numbers = zip(moments.mean().tolist(), moments.deviation().tolist(), strict=True)
    for reader, count, (of_mean, of_deviation) in zip(
        readers.features, counts, numbers, strict=True
    ):
        if count is None or not isinstance(reader, CategoryReader):
            columns.append(Column(reader.name, None, (of_mean,) if fills else None))
            places.append(None)
            mean.append(of_mean)
            deviation.append(of_deviation)
            continue
        known = [value for value, n in zip(reader.categories, count, strict=True) if n]
        order = [v for v in reader.ordered or () if v in known]
        order = order if len(order) == len(known) else in_order(known)
        shares = [count[reader.categories.index(v)] / max(count.sum(), 1) for v in order]
        columns.append(Column(reader.name, tuple(order), tuple(shares) if fills else None))
        rank = {value: float(place) for place, value in enumerate(order)}
        places.append(np.array([rank.get(value, -1.0) for value in reader.categories] + [np.nan]))
        mean += [0.0] * len(order)
        deviation += [1.0] * len(order)
    return Features(tuple(columns), np.array(mean), np.array(deviation)), places, constant


class _Writer:
    """Writes rows, as they were piled up, into matrices to learn from."""

    def __init__(
        self,
        features: Features,
        places: list[Numbers | None],
        target: Target,
        codes: _Codes,
        dtype: "np.dtype[Any]",
        folder: Path | None,
    ) -> None:
        self._features, self._places, self._target, self._codes = features, places, target, codes
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
            for block, of_test in _interleaved(rows, out):
                values = self._values(block)
                for matrices, chosen in zip(both, (~of_test, of_test), strict=True):
                    whole = chosen.all()
                    for matrix, each in zip(matrices, values, strict=False):
                        matrix.add(each if whole else each[chosen])
            train, test = (Part(*(matrix.done() for matrix in matrices)) for matrices in both)
            return train, test

    def _values(self, block: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        raw = block[:, :-2]
        for place, lookup in enumerate(self._places):
            if lookup is not None:
                codes = raw[:, place]
                raw[:, place] = lookup[
                    np.where(np.isnan(codes), len(lookup) - 1, codes).astype(np.intp)
                ]
        y = self._target.encode(self._codes.places(block[:, -2]))
        return self._features.standardised(raw), y, block[:, -1]

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


def _interleaved(rows: Numbers, out: Flags) -> Iterator[tuple[Numbers, Flags]]:
    """All rows in blocks, each a cross-section of the table, of chunks at even distances: a table
    that is sorted by its target would otherwise be learnt one class after another."""
    width = rows.shape[1]
    whole = len(rows) // CHUNK
    per_block = max(1, min(CHUNKS_OF_BLOCK, BLOCK_NUMBERS // width // CHUNK))
    blocks = -(-whole // per_block)
    chunks = rows[: whole * CHUNK].reshape(whole, CHUNK, width)
    flags = out[: whole * CHUNK].reshape(whole, CHUNK)
    for start in range(blocks):
        # A copy, which the writer changes.
        yield chunks[start::blocks].reshape(-1, width).copy(), flags[start::blocks].reshape(-1)
    if len(rows) > whole * CHUNK:
        yield rows[whole * CHUNK :].copy(), out[whole * CHUNK :]


def _notes(piled: Rows, constant: Sequence[str], source: Source, readers: Readers) -> Iterator[str]:
    used = [reader.name for reader in readers.all]
    if left := [name for name in source.unnamed if name not in used]:
        yield f"has no name, and was left out: {', '.join(left)}"
    if piled.dropped:
        yield f"{piled.dropped:,} rows with missing values were dropped"
    if constant:
        more = " …" if len(constant) > 8 else ""
        yield f"never varies, so nothing is learnt from it: {', '.join(constant[:8])}{more}"
