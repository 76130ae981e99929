"""Tables in memory: frames, Arrow tables, arrays and tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bp_torch.table.source import (
    Source,
    require_no_repeats,
    rows_per_batch,
    types_of,
    unnamed_among,
)

if TYPE_CHECKING:
    import pyarrow as pa


def in_memory(data: Any) -> Source:
    """The table that a frame, an Arrow table, an array or a tensor holds."""
    import numpy as np
    import pyarrow as pa
    from torch import Tensor

    if isinstance(data, Tensor):
        data = data.detach().cpu()
        data = data.float().numpy() if data.element_size() < 4 else data.numpy()
    if isinstance(data, np.ndarray):
        return _array(data)
    kind = type(data).__module__.partition(".")[0]
    try:
        if kind == "pandas":
            require_no_repeats([str(name) for name in data.columns], "the frame")
            table = pa.Table.from_pandas(data, preserve_index=False)
        elif isinstance(data, pa.Table | pa.RecordBatch) or hasattr(data, "__arrow_c_stream__"):
            table = pa.table(data)
        else:
            raise ValueError(
                f"data must be a path, a pandas or polars frame, an Arrow table, an array or a "
                f"tensor, got {type(data).__name__}"
            )
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(f"the frame cannot be read as a table: {error}") from None
    where = "the frame" if kind in ("pandas", "polars") else "the table"

    def read(columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        yield from table.select(list(columns)).to_batches(rows_per_batch(len(columns)))

    types = types_of(table.schema, where)
    return Source("table", where, types, read, unnamed_among(types))


def _array(array: Any) -> Source:
    import pyarrow as pa

    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise ValueError(
            f"an array of features must hold numbers and have the shape (N, D), got {array.dtype} "
            f"of shape {array.shape}"
        )
    names = [f"x{place}" for place in range(1, array.shape[1] + 1)]
    types = dict.fromkeys(names, pa.from_numpy_dtype(array.dtype))

    def read(columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        places = [int(name[1:]) - 1 for name in columns]
        size = rows_per_batch(len(columns))
        for start in range(0, len(array), size):
            rows = array[start : start + size]
            yield pa.RecordBatch.from_arrays(
                [pa.array(rows[:, place]) for place in places], names=list(columns)
            )

    return Source("array", "the array", types, read)


def with_target(source: Source, target: Any) -> tuple[Source, str]:
    """The source with a column more, of targets that were given as an array; and its name."""
    import pyarrow as pa

    name = "y"
    while name in source.types:
        name += "_"
    try:
        flat = target.detach().cpu().double().numpy() if hasattr(target, "detach") else target
        if getattr(flat, "ndim", 1) == 2 and flat.shape[1] == 1:
            flat = flat.reshape(-1)  # a column
        values = pa.array(flat)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ValueError(f"target must be a column's name, or one value per row: {error}") from None

    def read(columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        start = 0
        others = [column for column in columns if column != name]
        for batch in source.read(others):
            part = values.slice(start, batch.num_rows)
            start += batch.num_rows
            if start > len(values):
                raise ValueError(f"target must have a value per row, got {len(values)} for more")
            by_name = dict(zip(others, batch.columns, strict=True)) | {name: part}
            yield pa.RecordBatch.from_arrays(
                [by_name[column] for column in columns], names=list(columns)
            )
        if start != len(values):
            raise ValueError(f"target must have a value per row, got {len(values)} for {start}")

    types = source.types | {name: values.type}
    return replace(source, types=types, read=read), name
