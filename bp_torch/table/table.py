"""A table as it is learnt from: matrices, and what their columns mean."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bp_torch.table.columns import Column, Numbers
from bp_torch.table.target import Target


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a table, in memory or in a file that is mapped there."""

    x: NDArray[np.floating[Any]]
    """(N, D), standardised."""
    y: NDArray[np.floating[Any]]
    """(N,), or (N, K) one-hot."""
    weight: NDArray[np.floating[Any]] | None = None
    """How much each sample counts, (N,); None: all alike."""


@dataclass(frozen=True, eq=False)
class Table:
    """What a table holds, to learn from and held out, and what its columns mean."""

    name: str
    train: Part
    """Its rows stand in an order that makes every stretch of them a cross-section of the table."""
    test: Part
    columns: tuple[Column, ...]
    target: Target
    mean: Numbers
    """Of each feature in the training part, in its own units; 0 for a category."""
    deviation: Numbers
    """Likewise; 1 for a category, and for a feature that never varies."""
    content: str
    """A hash of all rows, in whatever order and file format they came."""
    fingerprint: str
    """A hash of all rows in their order, those held out by `test` too: of the same fingerprint, and
    with the same choice, the matrices are the same."""
    notes: tuple[str, ...] = ()
    """What the reader of the table should know: columns and rows that were left out."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the D features."""
        return tuple(name for column in self.columns for name in column.features)
