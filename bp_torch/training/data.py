"""Real data to learn from, and the part of them that is held out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from bp_torch import checks

DatasetName = Literal["breast-cancer", "digits"]

HELD_OUT_SHARE = 0.2
SPLIT_SEED = 0


@dataclass(frozen=True, eq=False)
class Dataset:
    """Features and targets as they stand in the source, in float64."""

    features: Tensor
    """(N, D), finite, in the source's own units."""
    targets: Tensor
    """In [0, 1]: (N,) for two classes, (N, K) one-hot for K > 2."""
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        checks.require_finite("features", self.features)
        checks.require_unit_interval("targets", self.targets)


@dataclass(frozen=True, eq=False)
class Split:
    """One part to learn from and one that is held out."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


def _breast_cancer() -> Dataset:
    from sklearn.datasets import load_breast_cancer

    return _from_scikit_learn(load_breast_cancer())


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    return _from_scikit_learn(load_digits())


def _from_scikit_learn(bunch: Any) -> Dataset:
    labels = torch.from_numpy(bunch.target).long()
    classes = tuple(str(name) for name in bunch.target_names)
    one_hot = torch.nn.functional.one_hot(labels, len(classes))
    return Dataset(
        features=torch.from_numpy(bunch.data).double(),
        targets=(labels if len(classes) == 2 else one_hot).double(),
        feature_names=tuple(str(name) for name in bunch.feature_names),
        class_names=classes,
    )


class Source(NamedTuple):
    """Where a data set comes from."""

    description: str
    read: Callable[[], Dataset]


DATASETS: dict[DatasetName, Source] = {
    "breast-cancer": Source("Wisconsin breast cancer, 569 × 30, two classes", _breast_cancer),
    "digits": Source("handwritten digits, 1797 × 64, ten classes", _digits),
}
"""Each data set by its name; both come with scikit-learn."""


def split(dataset: Dataset) -> Split:
    """Hold out a fifth of every class, always the same one."""
    from sklearn.model_selection import train_test_split

    one_hot = dataset.targets.ndim == 2
    train, test = train_test_split(
        range(len(dataset.features)),
        test_size=HELD_OUT_SHARE,
        random_state=SPLIT_SEED,
        stratify=dataset.targets.argmax(1) if one_hot else dataset.targets,
    )
    return Split(
        x_train=dataset.features[train],
        y_train=dataset.targets[train],
        x_test=dataset.features[test],
        y_test=dataset.targets[test],
    )
