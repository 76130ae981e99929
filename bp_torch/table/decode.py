"""From a source to matrices: read once, hold out, measure, standardise.

The source is read once, into a pile of rows in float64 on disk; the pile is walked twice, for the
mean and deviation of the training part, and to write the matrices. Nothing is rounded before it has
been standardised, so that a feature far from 0 loses nothing: (x − μ)/s in float64, rounded once.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bp_torch.table.choice import Choice, choose_columns
from bp_torch.table.columns import CategoryReader, Numbers, Value
from bp_torch.table.measuring import Flags, measure
from bp_torch.table.rows import Readers, Rows
from bp_torch.table.source import Source, release_memory
from bp_torch.table.split import held_out
from bp_torch.table.storage import IN_MEMORY
from bp_torch.table.table import Table
from bp_torch.table.target import Target, decide
from bp_torch.table.writing import Codes, Writer


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
        features = measure(readers, rows, out, choice)
        size = len(rows) * len(features.mean) * np.dtype(dtype).itemsize
        files = folder if size > IN_MEMORY else None
        writer = Writer(features, target, codes, np.dtype(dtype), files)
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
            fingerprint=_fingerprint(hashes, held),
            notes=tuple(_notes(piled, features.constant, source, readers)),
        )


def _target(readers: Readers, choice: Choice, source: Source) -> tuple[Target, Codes]:
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
        return target, Codes([], [], source.where)
    return target, Codes(numbers, [target.values.index(v) for v in values], source.where)


def _fingerprint(hashes: NDArray[np.uint64], held: Rows) -> str:
    found = hashlib.blake2b(np.ascontiguousarray(hashes).data, digest_size=16)
    if held.rows:
        found.update(np.ascontiguousarray(held.arrays()[1]).data)
    return found.hexdigest()


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


def _notes(piled: Rows, constant: Sequence[str], source: Source, readers: Readers) -> Iterator[str]:
    used = [reader.name for reader in readers.all]
    if left := [name for name in source.unnamed if name not in used]:
        yield f"has no name, and was left out: {', '.join(left)}"
    if piled.dropped:
        yield f"{piled.dropped:,} rows with missing values were dropped"
    if constant:
        more = " …" if len(constant) > 8 else ""
        yield f"never varies, so nothing is learnt from it: {', '.join(constant[:8])}{more}"
