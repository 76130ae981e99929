"""What a trained model says of new rows."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bp_torch.table.features import FeatureReader
from bp_torch.table.opening import open_source
from bp_torch.table.source import Source, rows_per_batch
from bp_torch.training.data import DATASETS
from bp_torch.training.torch_defaults import torch_defaults
from bp_torch.training.trained import TrainedModel

if TYPE_CHECKING:
    import pyarrow as pa


def source_of(dataset: Any, columns: tuple[str, ...] = ()) -> Source:
    """A bundled data set by its name, or any other table."""
    if isinstance(dataset, str) and dataset in DATASETS:
        source = open_source(DATASETS[dataset].read())
        return replace(source, name=dataset, where=dataset)
    return open_source(dataset, columns=columns or None)


@dataclass
class Predictions:
    """The rows of a source with what the model says of them, batch after batch.

    Of a row of which not all is known, and for which the model has nothing to fill in, it says
    nothing: it is kept, with nulls.

    Columns are matched by name; all of the source's are kept. Added are `probability`, of the class
    that is 1 (of more than two classes one column for each), and `class`; where such a name is
    taken already it gets "predicted_" in front.
    """

    model: TrainedModel
    source: Source

    def __post_init__(self) -> None:
        self._reader = FeatureReader(self.model.about.columns, self.source)
        self.rows = 0

    @property
    def missing(self) -> dict[str, int]:
        """How many rows of a column have no value, and none that stands for it."""
        return self._reader.missing

    @property
    def unknown(self) -> dict[str, int]:
        """How many rows of a column have a category that the model has not seen."""
        return self._reader.unknown

    def names(self) -> list[str]:
        """Of the columns that are added."""
        classes, outputs = self.model.classes, self.model.about.target.outputs
        names = [f"probability_{name}" for name in classes] if outputs else ["probability"]
        names += ["class"] if classes else []
        taken = self.source.types
        return [f"predicted_{name}" if name in taken else name for name in names]

    def batches(self) -> "Iterator[pa.RecordBatch]":
        """All rows, in their order."""
        import pyarrow as pa

        names = self.names()
        for batch in self._batches():
            added = self._columns(outputs_of(self.model, self._reader.read(batch)))
            self.rows += batch.num_rows
            columns = [_plain(column) for column in batch.columns] + added
            yield pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, *names])

    def _batches(self) -> "Iterator[pa.RecordBatch]":
        """As they are read, in pieces whose features are few enough."""
        most = rows_per_batch(len(self.model.feature_names))
        for batch in self.source.batches(list(self.source.types)):
            for start in range(0, max(1, batch.num_rows), most):
                yield batch.slice(start, most)

    def _columns(self, y_hat: Any) -> list[Any]:
        import pyarrow as pa

        classes = self.model.classes
        if y_hat.ndim == 2 and y_hat.shape[1] == 1:
            y_hat = y_hat[:, 0]
        columns = y_hat.T if y_hat.ndim == 2 else y_hat[None]
        places = y_hat.argmax(1) if y_hat.ndim == 2 else (y_hat > 0.5).astype(int)
        nothing = np.isnan(columns[0])
        found = [pa.array(np.ascontiguousarray(column), mask=nothing) for column in columns]
        if classes:
            names = np.array(classes, object)[places]
            found.append(pa.array(names, pa.string(), mask=nothing))
        return found


@torch_defaults()
@torch.no_grad()
def outputs_of(model: TrainedModel, features: Any) -> Any:
    """ŷ of raw features, in the model's dtype."""
    y_hat: Tensor = model(torch.from_numpy(np.ascontiguousarray(features)))
    return y_hat.numpy()


MOST_ROWS = 1000


def first_rows(model: TrainedModel, source: Source, most: int = MOST_ROWS) -> Tensor:
    """Raw features (n, D) of the first rows of which all is known."""
    reader, found, rows = FeatureReader(model.about.columns, source), [], 0
    names = dict.fromkeys(column.name for column in model.about.columns)
    for batch in source.batches(list(names)):
        features = reader.read(batch)
        found.append(features[~np.isnan(features).any(1)])
        rows += len(found[-1])
        if rows >= most:
            break
    return torch.from_numpy(np.concatenate(found)[:most])


def row_of(model: TrainedModel, number: int) -> tuple[Tensor, Tensor]:
    """One row of the data that the model learnt from: its raw features (1, D), and its target.

    Raises ValueError where the data are not there any more, or have no such row.
    """
    said = model.about.training.get("dataset")
    if not isinstance(said, str) or not (said in DATASETS or os.path.exists(said)):
        raise ValueError(f"the data that the model learnt from, {said!r}, are not here; use --x")
    source = source_of(said)
    target = model.about.target
    if target.name not in source.types:
        raise ValueError(f"{source.where} has no column {target.name!r}; use --x and --target")
    reader = FeatureReader(model.about.columns, source)
    names = dict.fromkeys([*(column.name for column in model.about.columns), target.name])
    seen = 0
    for batch in source.batches(list(names)):
        seen += batch.num_rows
        if not 1 <= number <= seen:
            continue
        row = batch.slice(number - 1 - (seen - batch.num_rows), 1)
        features = torch.from_numpy(reader.read(row))
        value = row.column(list(names).index(target.name)).to_pylist()[0]
        is_missing = value is None or value == ""
        if features.isnan().any() or is_missing:
            lacking = [*reader.missing, *([target.name] if is_missing else [])]
            raise ValueError(f"row {number} of {said} has no {' and no '.join(lacking)}")
        return features, torch.from_numpy(target.encode(np.array([target.place(value)])))
    raise ValueError(f"--row must be from 1 to {seen:,}, the rows of {said}; got {number}")


def _plain(column: Any) -> Any:
    """A column as it is written: texts as themselves."""
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
