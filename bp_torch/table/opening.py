"""The one way in: whatever holds a table."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bp_torch.table.files import open_files
from bp_torch.table.memory import in_memory
from bp_torch.table.source import MOST_COLUMNS, Source


def open_source(data: Any, *, columns: Sequence[str] | None = None) -> Source:
    """The source that `data` is.

    Args:
        data: a path, of a CSV or Parquet file, a folder of them, or a pattern as "part-*.csv"; a
            pandas or polars frame; an Arrow table; a NumPy array or a tensor of shape (N, D), whose
            columns are called x1 … xD.
        columns: the names of a CSV file's columns, where it has no line of names.

    Raises:
        ValueError, FileNotFoundError, PermissionError: one line that says what was expected.
    """
    if isinstance(data, str | os.PathLike):
        source = open_files(Path(data), columns)
    else:
        source = in_memory(data)
    if len(source.types) > MOST_COLUMNS:
        raise ValueError(
            f"{source.where} has {len(source.types):,} columns, and at most {MOST_COLUMNS:,} are "
            f"read; keep the ones to learn from"
        )
    return source
