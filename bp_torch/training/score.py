"""How well a module does on one part of the data."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bp_torch.costs import COSTS
from bp_torch.neuron import Model
from bp_torch.training.data import Samples
from bp_torch.training.gradients import weighted

NUMBERS_AT_ONCE = 2**22
"""Of features that are evaluated together, so that memory stays flat."""

OUTPUTS_AT_ONCE = 2**14
"""Of which a mean is taken: torch shares out the sums of 2¹⁵ and more among its threads, and they
would not be the same for another number of them."""

MOST_SCORED = 100_000
"""Samples of which what needs them sorted or counted is known; of more, some at even distances."""


@dataclass(frozen=True)
class Score:
    """How well a module does on one part of the data."""

    cost: float
    accuracy: float
    """Share of samples whose class is right, from 0 to 1."""
    samples: int


@dataclass(frozen=True)
class Metrics:
    """What is asked of a classifier besides; by scikit-learn, over `samples` of a part."""

    log_loss: float
    brier: float
    """The mean of the squared differences to the truth (Brier 1950); of K classes their sum."""
    auc: float | None
    """The area under the ROC curve, the chance that a sample of class 1 gets a higher output than
    one of class 0; of K classes the mean of one against the rest. None where a class is missing."""
    confusion: tuple[tuple[int, ...], ...] | None
    """Samples by true class, in rows, and predicted class; None where targets are no classes."""
    samples: int


def evaluate(module: Model, samples: Samples, cost: str) -> Score:
    """Cost and accuracy of the module on one part of the data, by the samples' weights."""
    total, right, n = 0.0, 0.0, 0.0
    for block, y_hat in outputs(module, samples):
        if block.weight is None:
            count, value = float(len(block)), COSTS[cost][0](y_hat, block.y)
        elif not (count := block.weight.double().sum().item()):
            continue
        else:
            value, _ = weighted(module, block.x, block.y, cost, block.weight)
        total += value.item() * count
        right += accuracy(y_hat, block.y, block.weight) * count
        n += count
    return Score(cost=total / n, accuracy=right / n, samples=len(samples))


@torch.no_grad()
def outputs(module: Model, samples: Samples) -> Iterator[tuple[Samples, Tensor]]:
    """Block after block, with the module's outputs."""
    of_each = max(1, samples.y[:1].numel())
    rows = max(1, min(NUMBERS_AT_ONCE // samples.x.shape[1], OUTPUTS_AT_ONCE // of_each))
    for start in range(0, len(samples), rows):
        chosen = slice(start, start + rows)
        weight = None if samples.weight is None else samples.weight[chosen]
        block = Samples(samples.x[chosen], samples.y[chosen], weight)
        yield block, module(block.x)


def accuracy(y_hat: Tensor, y: Tensor, weight: Tensor | None = None) -> float:
    """Share of samples on the right side of ½, or with their largest output in the right place."""
    if y.ndim == 2 and y.shape[1] > 1:
        right = y_hat.argmax(1) == y.argmax(1)
    else:
        right = (y_hat > 0.5) == (y > 0.5)
    if weight is None:
        return right.double().mean().item()
    return ((right.reshape(-1) * weight.double()).sum() / weight.double().sum()).item()


def metrics(module: Model, samples: Samples) -> Metrics:
    """What scikit-learn says of the module's outputs."""
    from sklearn import metrics as of

    part = samples.spread(MOST_SCORED)
    pairs = [(block.y, y_hat) for block, y_hat in outputs(module, part)]
    y, p = (torch.cat(each).double().cpu().numpy() for each in zip(*pairs, strict=True))
    if y.ndim == 2 and y.shape[1] > 1:
        labels = np.arange(y.shape[1])
        true, shares = y.argmax(1), p / np.maximum(p.sum(1, keepdims=True), 1e-300)
        every = len(np.unique(true)) == len(labels)
        return Metrics(
            log_loss=float(of.log_loss(true, shares, labels=labels)),
            brier=float(np.square(p - y).sum(1).mean()),
            auc=float(of.roc_auc_score(true, shares, multi_class="ovr")) if every else None,
            confusion=_rows(of.confusion_matrix(true, p.argmax(1), labels=labels)),
            samples=len(y),
        )
    y, p = y.reshape(-1), p.reshape(-1)
    weight = None if part.weight is None else part.weight.double().cpu().numpy()
    if not np.isin(y, (0, 1)).all():  # shares: the cross-entropy, not a class's
        q = p.clip(1e-300, 1 - 2**-53)
        return Metrics(
            log_loss=float(np.average(-y * np.log(q) - (1 - y) * np.log1p(-q), weights=weight)),
            brier=float(np.average(np.square(p - y), weights=weight)),
            auc=None,
            confusion=None,
            samples=len(y),
        )
    both = 0 < y.mean() < 1
    return Metrics(
        log_loss=float(of.log_loss(y, p, labels=[0, 1], sample_weight=weight)),
        brier=float(of.brier_score_loss(y, p, pos_label=1, sample_weight=weight)),
        auc=float(of.roc_auc_score(y, p, sample_weight=weight)) if both else None,
        confusion=_rows(of.confusion_matrix(y, p > 0.5, labels=[0, 1])),
        samples=len(y),
    )


def _rows(matrix: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, row)) for row in matrix)
