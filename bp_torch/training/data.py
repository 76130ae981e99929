"""Real data to learn from: loaded, split, standardised."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bp_torch import checks
from bp_torch.neuron import Model

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


DATASETS: dict[str, tuple[str, Callable[[], Dataset]]] = {
    "breast-cancer": ("Wisconsin breast cancer, 569 × 30, two classes", _breast_cancer),
    "digits": ("handwritten digits, 1797 × 64, ten classes", _digits),
}
"""Each data set by name: what it is, and how it is read. Both come with scikit-learn."""


def load_dataset(name: str) -> Dataset:
    """The data set of that name in `DATASETS`."""
    return DATASETS[name][1]()


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


@dataclass(frozen=True, eq=False)
class Standardisation:
    """x ↦ (x − μ)/s, with the mean μ and deviation s of each feature in the training part.

    A feature that never varies has s = 1, so that it becomes 0.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Standardisation":
        """Measured on x, (N, D)."""
        deviation = x.std(0, correction=0)
        # A constant column's deviation may come out as rounding noise instead of 0.
        constant = deviation <= torch.finfo(x.dtype).eps * x.abs().amax(0)
        return cls(mean=x.mean(0), deviation=torch.where(constant, 1.0, deviation))

    def __call__(self, x: Tensor) -> Tensor:
        """(x − μ)/s, shape and dtype of x."""
        return (x - self.mean) / self.deviation

    @torch.no_grad()
    def fold_into(self, module: Model) -> Model:
        """A copy of the module that takes raw features and gives the same outputs.

            w·(x − μ)/s + b = (w/s)·x + (b − (w/s)·μ)

        Computed in float64 and kept in float32 or float64: a raw feature may exceed what the
        lower precisions can hold.
        """
        lowest = module.layers[0].weight.dtype
        folded = copy.deepcopy(module).to(
            device="cpu", dtype=torch.promote_types(lowest, torch.float32)
        )
        first = folded.layers[0]
        weight = first.weight.double() / self.deviation.cpu()
        first.bias.copy_(first.bias.double() - weight @ self.mean.cpu())
        first.weight.copy_(weight)
        return folded
