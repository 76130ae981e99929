"""What the training part says of its columns: which categories there are, mean and deviation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bp_torch.table.choice import Choice
from bp_torch.table.columns import UNKNOWN, CategoryReader, Column, Numbers, expand, in_order
from bp_torch.table.moments import Moments
from bp_torch.table.rows import Readers

BLOCK_NUMBERS = 2**18
"""Of a block of rows that is measured or standardised: 2 MiB, which a cache holds."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Features:
    """What becomes of the columns: features, and how they are standardised."""

    columns: tuple[Column, ...]
    mean: Numbers
    deviation: Numbers
    places: tuple[Numbers | None, ...]
    """Of each column of categories: where each code goes, and NaN at the end."""
    constant: tuple[str, ...]
    """The columns that never vary."""

    def standardised(self, raw: Numbers) -> Numbers:
        """(x − μ)/s, (n, D), from a number or a code for each column, which is changed."""
        for place, lookup in enumerate(self.places):
            if lookup is not None:
                codes = raw[:, place]
                known = np.where(np.isnan(codes), len(lookup) - 1, codes).astype(np.intp)
                raw[:, place] = lookup[known]
        return (expand(raw, self.columns) - self.mean) / self.deviation


def measure(readers: Readers, rows: Numbers, out: Flags, choice: Choice) -> Features:
    """The features of rows, from those that are not held out."""
    moments, counts = Moments(len(readers.features)), _counts(readers)
    _walk(rows, out, moments, counts)
    if not moments.sound:  # squares that leave what float64 holds
        moments, counts = moments.scaled(_largest(rows, len(counts))), _counts(readers)
        _walk(rows, out, moments, counts)
    means, deviations = moments.mean(), moments.deviation()
    fills = choice.missing == "mean"
    columns: list[Column] = []
    places: list[Numbers | None] = []
    mean: list[float] = []
    deviation: list[float] = []
    for place, (reader, count) in enumerate(zip(readers.features, counts, strict=True)):
        if count is None or not isinstance(reader, CategoryReader):
            fill = (float(means[place]),) if fills else None
            columns.append(Column(reader.name, None, fill))
            places.append(None)
            mean.append(float(means[place]))
            deviation.append(float(deviations[place]))
        else:
            column, lookup = _categories(reader, count, fills)
            columns.append(column)
            places.append(lookup)
            mean += [0.0] * column.width
            deviation += [1.0] * column.width
    constant = [
        reader.name
        for reader, flat, count in zip(readers.features, moments.constant(), counts, strict=True)
        if (flat if count is None else np.count_nonzero(count) < 2)
    ]
    return Features(
        tuple(columns), np.array(mean), np.array(deviation), tuple(places), tuple(constant)
    )


def _categories(reader: CategoryReader, counts: Numbers, fills: bool) -> tuple[Column, Numbers]:
    """A column of those categories that the training part has, and where each code goes."""
    shares = dict(zip(reader.categories, counts / max(counts.sum(), 1), strict=True))
    known = [value for value, share in shares.items() if share]
    order = [value for value in reader.ordered or () if value in known]
    order = order if len(order) == len(known) else in_order(known)
    rank = {value: float(place) for place, value in enumerate(order)}
    lookup = np.array([rank.get(value, UNKNOWN) for value in shares] + [np.nan])
    fill = tuple(float(shares[value]) for value in order) if fills else None
    return Column(reader.name, tuple(order), fill), lookup


def _blocks(rows: int, width: int) -> Iterator[slice]:
    size = max(1, BLOCK_NUMBERS // width)
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
