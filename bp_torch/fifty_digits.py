"""The truth to fifty digits, by mpmath: what every other way to a gradient is held against."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

DIGITS = 50

Cost = Callable[[list[Any]], Any]
"""A function of numbers, in mpmath's."""


def sigma(z: Any) -> Any:
    """σ(z) = 1/(1 + e^{−z}), of an mpmath number."""
    import mpmath

    return 1 / (1 + mpmath.exp(-z))


def quadratic(y_hat: Any, y: float) -> Any:
    """½(ŷ − y)², of one output of one sample."""
    return (y_hat - y) ** 2 / 2


def cross_entropy(y_hat: Any, y: float) -> Any:
    """−[y ln ŷ + (1 − y) ln(1 − ŷ)], of one output of one sample."""
    import mpmath

    return -(y * mpmath.log(y_hat) + (1 - y) * mpmath.log(1 - y_hat))


COSTS_OF_ONE: dict[str, Callable[[Any, float], Any]] = {
    "quadratic": quadratic,
    "cross-entropy": cross_entropy,
}


def model_cost(x: Tensor, y: Tensor, parameters: Sequence[Tensor], cost: str = "quadratic") -> Cost:
    """The cost of a neuron or network on a batch, as a function of all its numbers.

    Args:
        x, y: samples (N, D) and targets (N,) or (N, K).
        parameters: weight and bias of each layer in turn; the numbers are theirs, flattened.
    """
    of_one = COSTS_OF_ONE[cost]

    def of(numbers: list[Any]) -> Any:
        left = iter(numbers)
        values = [[next(left) for _ in range(t.numel())] for t in parameters]
        total = 0
        for features, target in zip(x.tolist(), y.reshape(len(x), -1).tolist(), strict=True):
            a = features
            for weight, bias in zip(values[::2], values[1::2], strict=True):
                rows = [weight[k * len(a) : (k + 1) * len(a)] for k in range(len(bias))]
                a = [
                    sigma(sum(w * v for w, v in zip(row, a, strict=True)) + b)
                    for row, b in zip(rows, bias, strict=True)
                ]
            total += sum(of_one(out, t) for out, t in zip(a, target, strict=True))
        return total / len(x)

    return of


def derivatives(
    cost: Cost, numbers: Sequence[float], places: Sequence[int], digits: int = DIGITS
) -> list[float]:
    """∂C/∂θ for the numbers θ at these places, differentiated by mpmath and rounded once.

    Args:
        digits: that mpmath works with; 1 − σ(z) takes z/ln 10 of them, see `digits_for`.
    """
    import mpmath

    with mpmath.workdps(digits):
        values = [mpmath.mpf(number) for number in numbers]

        def along(place: int) -> float:
            def moved(value: Any) -> Any:
                return cost([value if p == place else v for p, v in enumerate(values)])

            return float(mpmath.diff(moved, values[place]))

        return [along(place) for place in places]


def digits_for(z: Tensor) -> int:
    """Digits that leave fifty of σ′ at these pre-activations: twice as many as e^{−|z|} has zeros,
    up to where σ′ is 0 in float64."""
    largest = min(float(z.abs().max()), 750.0) if z.numel() else 0.0
    return DIGITS + math.ceil(2 * largest / math.log(10))


def gradients(cost: Cost, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The whole gradient, in the tensors' shapes and in float64."""
    numbers = [number for tensor in tensors for number in tensor.reshape(-1).tolist()]
    flat = torch.tensor(derivatives(cost, numbers, range(len(numbers))), dtype=torch.float64)
    pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
    return [piece.reshape(t.shape) for piece, t in zip(pieces, tensors, strict=True)]
