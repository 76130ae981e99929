"""What a run learns from: a table of the user's, or one of the data sets that come along."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bp_torch.neuron import Model
from bp_torch.table.table import Part, Table

if TYPE_CHECKING:
    import pyarrow as pa

DatasetName = Literal["breast-cancer", "digits"]

NUMBERS_LOOKED_AT = 2**19
"""Features of the samples that a look reads; of larger data it reads some, at even distances."""

BUNDLED_TARGET = "class"
"""The column that is learnt of the data sets that come along."""


def _breast_cancer() -> "pa.Table":
    from sklearn.datasets import load_breast_cancer

    return _from_scikit_learn(load_breast_cancer())


def _digits() -> "pa.Table":
    from sklearn.datasets import load_digits

    return _from_scikit_learn(load_digits())


def _from_scikit_learn(bunch: Any) -> "pa.Table":
    import pyarrow as pa

    names = [str(name) for name in bunch.feature_names]
    classes = [str(name) for name in bunch.target_names]
    # Ordered: which class is 1 is the data set's to say.
    target = pa.DictionaryArray.from_arrays(
        pa.array(bunch.target, pa.int32()), classes, ordered=True
    )
    columns = [pa.array(np.ascontiguousarray(column)) for column in bunch.data.T]
    return pa.table([*columns, target], names=[*names, BUNDLED_TARGET])


class Bundled(NamedTuple):
    """A data set that comes along."""

    description: str
    read: Callable[[], "pa.Table"]


DATASETS: dict[DatasetName, Bundled] = {
    "breast-cancer": Bundled("Wisconsin breast cancer, 569 × 30, two classes", _breast_cancer),
    "digits": Bundled("handwritten digits, 1797 × 64, ten classes", _digits),
}
"""Each data set by its name; both come with scikit-learn."""


def name_of(dataset: Any) -> str:
    """What a run calls its data: a bundled set's name, a path, or what kind of table it is."""
    if isinstance(dataset, str | os.PathLike):
        return os.fspath(dataset)
    return type(dataset).__name__


Rows = Tensor | slice
"""Indices of samples, or samples that lie one after another."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Features, targets and weights as the module takes them: in its dtype, on its device."""

    x: Tensor
    """(N, D)."""
    y: Tensor
    """(N,) for one neuron, (N, K) for a network of K outputs."""
    weight: Tensor | None = None
    """(N,); None: all alike."""

    @classmethod
    def of(cls, part: Part, module: Model) -> "Samples":
        """The part for that module; what fits as it is stays where it is, on disk or in memory."""
        output = module.layers[-1].bias

        def tensor(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.asarray(array)).to(output)

        y = tensor(part.y).reshape(len(part.y), *output.shape)
        return cls(tensor(part.x), y, None if part.weight is None else tensor(part.weight))

    def __len__(self) -> int:
        return len(self.x)

    def at(self, rows: Rows) -> "Samples":
        """Those rows, as a batch; as a view where they lie one after another."""
        if isinstance(rows, Tensor):
            rows = rows.to(self.x.device)
        weight = None if self.weight is None else self.weight[rows]
        return Samples(self.x[rows], self.y[rows], weight)

    def spread(self, rows: int) -> "Samples":
        """Not more than so many of them, at even distances: neighbours may be alike."""
        if len(self) <= rows:
            return self
        step = -(-len(self) // rows)
        weight = None if self.weight is None else self.weight[::step]
        return Samples(self.x[::step].contiguous(), self.y[::step].contiguous(), weight)


@dataclass(frozen=True, eq=False)
class Data:
    """The samples to learn from, and those held out."""

    train: Samples
    test: Samples

    def __iter__(self) -> Iterator[Samples]:
        return iter((self.train, self.test))

    @classmethod
    def of(cls, table: Table, module: Model) -> "Data":
        """Both parts of the table for that module."""
        return cls(Samples.of(table.train, module), Samples.of(table.test, module))


def balanced(y: Tensor, weight: Tensor | None) -> Tensor:
    """Weights that give both classes the same sum, N/2, on top of those that there are."""
    weight = torch.ones_like(y) if weight is None else weight
    total = weight.double().sum()
    of_one = (weight.double() * (y > 0.5)).sum()
    factors = torch.stack([total / (2 * (total - of_one)), total / (2 * of_one)]).to(weight)
    return weight * factors[(y > 0.5).long()]
