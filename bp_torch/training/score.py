"""How well a module does on one part of the data."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.costs import COSTS
from bp_torch.neuron import Model


@dataclass(frozen=True)
class Score:
    """How well a module does on one part of the data."""

    cost: float
    accuracy: float
    """Share of samples whose class is right, from 0 to 1."""
    samples: int


def evaluate(module: Model, x: Tensor, y: Tensor, cost: str) -> Score:
    """Cost and accuracy of the module on one part of the data."""
    with torch.no_grad():
        y_hat = module(x)
        value = COSTS[cost][0](y_hat, y)
    return Score(cost=value.item(), accuracy=accuracy(y_hat, y), samples=len(y))


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    """Share of samples on the right side of ½, or with their largest output in the right place."""
    if y.ndim == 2 and y.shape[1] > 1:
        right = y_hat.argmax(1) == y.argmax(1)
    else:
        right = (y_hat > 0.5) == (y > 0.5)
    return right.double().mean().item()
