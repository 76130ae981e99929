"""The costs and their derivatives by the outputs: (ŷ, y) → C, and → ∂C/∂ŷ in the shape of ŷ.

Outputs ŷ and targets y are floating-point tensors of one shape, (N, …) or () for one sample; else
TypeError or ValueError. N counts samples; over further axes (outputs) a cost sums. That the values
lie in [0, 1] is not looked at, for its price; a float16 sum ends at 65,504.
Source: Nielsen (2015), "Neural Networks and Deep Learning", eqs. 6 and 57.
"""

from torch import Tensor

from bp_torch.checks import require_samples
from bp_torch.precise.probabilities import probabilities


def quadratic_cost(y_hat: Tensor, y: Tensor) -> Tensor:
    """C = 1/(2N) Σᵢ (ŷᵢ − yᵢ)², i = 1 … N; from i = 0 the sum would have N + 1 terms."""
    n = require_samples(y_hat, y)
    return ((y_hat - y) ** 2).sum() / (2 * n)


def quadratic_cost_prime(y_hat: Tensor, y: Tensor) -> Tensor:
    """∂C/∂ŷᵢ = (ŷᵢ − yᵢ)/N.

    The 1/N of the cost stays: ŷ − y alone would be the derivative of N times the cost.
    """
    n = require_samples(y_hat, y)
    return (y_hat - y) / n


def cross_entropy_cost(y_hat: Tensor, y: Tensor) -> Tensor:
    """C = −1/N Σᵢ [yᵢ ln ŷᵢ + (1 − yᵢ) ln(1 − ŷᵢ)], i = 1 … N.

    For ŷ in [0, 1] it stays finite: ŷ and 1 − ŷ are kept from 0 (precise/probabilities.py).
    """
    n = require_samples(y_hat, y)
    p, q = probabilities(y_hat)
    return -(y * p.log() + (1 - y) * q.log()).sum() / n


def cross_entropy_cost_prime(y_hat: Tensor, y: Tensor) -> Tensor:
    """∂C/∂ŷᵢ = 1/N [(1 − yᵢ)/(1 − ŷᵢ) − yᵢ/ŷᵢ] = 1/N (ŷᵢ − yᵢ)/(ŷᵢ(1 − ŷᵢ)).

    So σ′ = ŷ(1 − ŷ) cancels in ∂C/∂z = (ŷ − y)/N.
    """
    n = require_samples(y_hat, y)
    p, q = probabilities(y_hat)
    return ((1 - y) / q - y / p) / n


COSTS = {
    "quadratic": (quadratic_cost, quadratic_cost_prime),
    "cross-entropy": (cross_entropy_cost, cross_entropy_cost_prime),
}
