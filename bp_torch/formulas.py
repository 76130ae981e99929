"""σ, σ′, the costs and their derivatives: tensors in, tensors out.

Nothing here is a custom autograd rule; `functions.py` and `backprop.py` call these formulas.
Greek is used in the text and ASCII in the code: z pre-activation, ŷ `y_hat` output, y target,
C cost, N number of samples.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bp_torch import checks


def sigmoid(z: Tensor) -> Tensor:
    """Logistic sigmoid.

        σ(z) = 1/(1 + e^{−z})

    The minus sign matters: 1/(1 + e^{z}) is 1 − σ(z), whose derivative differs in sign alone, so
    that every gradient has the right size and the wrong direction.

    Args:
        z: pre-activation, any shape, floating point.

    Returns:
        ŷ = σ(z) in [0, 1], shape and dtype of z, dimensionless.

    Source: Rumelhart, Hinton & Williams (1986), Nature 323, eq. 2.
    """
    return torch.sigmoid(z)


def sigmoid_prime(y_hat: Tensor) -> Tensor:
    """Derivative of the logistic sigmoid, from its output.

        σ′(z) = ∂ŷ/∂z = ŷ (1 − ŷ),   ŷ = σ(z)

    This is ∂ŷ/∂z and not yet ∂ŷ/∂w: by the chain rule ∂ŷ/∂w = ŷ(1 − ŷ) · x.

    Args:
        y_hat: σ(z), any shape, floating point.

    Returns:
        σ′(z) in [0, ¼], shape and dtype of y_hat, dimensionless.

    Accuracy: loses every digit once ŷ rounds to 1 (z > 16.6 in float32), where it returns 0; from z
        nothing is lost, see accurate.py.
    Source: Rumelhart, Hinton & Williams (1986), Nature 323, eq. 5.
    """
    return (1 - y_hat) * y_hat


def sigmoid_backward(upstream: Tensor, y_hat: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The sigmoid's step of the chain rule.

        ∂C/∂z = ∂C/∂ŷ · ∂ŷ/∂z = g · (1 − ŷ) · ŷ,   g = ∂C/∂ŷ

    The order of the factors, (g · (1 − ŷ)) · ŷ, is torch.sigmoid's own: in float32 and float64 the
    result is the same to the bit.

    Args:
        upstream: g = ∂C/∂ŷ, shape of y_hat.
        y_hat: σ(z), any shape, floating point.
        out: where to write the result; None: a new tensor.

    Returns:
        ∂C/∂z, shape and dtype of y_hat.
    """
    return torch.mul(upstream * (1 - y_hat), y_hat, out=out)


def quadratic_cost(y_hat: Tensor, y: Tensor) -> Tensor:
    """Quadratic cost.

        C = 1/(2N) Σᵢ (ŷᵢ − yᵢ)²,   i = 1 … N

    N counts samples, along the first axis; over further axes (a network's outputs) the cost sums.
    The sum has N terms: from i = 0 to N it would have N + 1.

    Args:
        y_hat: outputs, shape (N, …), or () for one sample.
        y: targets in [0, 1], same shape.

    Returns:
        C, a scalar, differentiable by autograd.

    Raises:
        TypeError: a tensor is not floating point.
        ValueError: the shapes differ, or there is no sample.

    Source: Nielsen (2015), "Neural Networks and Deep Learning", ch. 1, eq. 6.
    """
    n = _samples(y_hat, y)
    return ((y_hat - y) ** 2).sum() / (2 * n)


def quadratic_cost_prime(y_hat: Tensor, y: Tensor) -> Tensor:
    """Derivative of the quadratic cost by the outputs.

        ∂C/∂ŷᵢ = (ŷᵢ − yᵢ) / N

    The 1/N of the cost stays: ŷ − y alone would be the derivative of N times the cost.
    Arguments and errors as for `quadratic_cost`.

    Returns:
        ∂C/∂ŷ, shape and dtype of y_hat.
    """
    n = _samples(y_hat, y)
    return (y_hat - y) / n


def cross_entropy_cost(y_hat: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy cost.

        C = −1/N Σᵢ [yᵢ ln ŷᵢ + (1 − yᵢ) ln(1 − ŷᵢ)],   i = 1 … N

    A ŷ that rounded to 0 or to 1 stands for a number that it cannot express. Under the logarithm
    ŷ is therefore at least the smallest normal number, and 1 − ŷ at least half the distance from 1
    to its neighbour below (2⁻²⁵ in float32): the cost stays finite.
    Arguments and errors as for `quadratic_cost`.

    Returns:
        C, a scalar, differentiable by autograd.

    Source: Nielsen (2015), "Neural Networks and Deep Learning", ch. 3, eq. 57.
    """
    n = _samples(y_hat, y)
    p, q = _probabilities(y_hat)
    return -(y * p.log() + (1 - y) * q.log()).sum() / n


def cross_entropy_cost_prime(y_hat: Tensor, y: Tensor) -> Tensor:
    """Derivative of the cross-entropy cost by the outputs.

        ∂C/∂ŷᵢ = 1/N [(1 − yᵢ)/(1 − ŷᵢ) − yᵢ/ŷᵢ] = 1/N (ŷᵢ − yᵢ) / (ŷᵢ (1 − ŷᵢ))

    so that σ′ cancels in ∂C/∂z = (ŷ − y)/N. ŷ and 1 − ŷ are bounded as in `cross_entropy_cost`.
    Arguments and errors as for `quadratic_cost`.

    Returns:
        ∂C/∂ŷ, shape and dtype of y_hat.
    """
    n = _samples(y_hat, y)
    p, q = _probabilities(y_hat)
    return ((1 - y) / q - y / p) / n


def _samples(y_hat: Tensor, y: Tensor) -> int:
    """N, the number of samples, once both tensors have been found to fit each other."""
    checks.require_floating("y_hat", y_hat)
    checks.require_floating("y", y)
    checks.require_same_shape("y_hat", y_hat, "y", y)
    if y_hat.numel() == 0:
        raise ValueError(
            f"the cost of no samples is undefined, got {checks.describe('y_hat', y_hat)}; "
            f"pass at least one sample"
        )
    return y_hat.shape[0] if y_hat.ndim else 1


def _probabilities(y_hat: Tensor) -> tuple[Tensor, Tensor]:
    """ŷ and 1 − ŷ, kept from 0; the bounds' reasons stand in `cross_entropy_cost`."""
    limits = torch.finfo(y_hat.dtype)
    return _at_least(y_hat, limits.tiny), _at_least(1 - y_hat, limits.eps / 4)


def _at_least(p: Tensor, bound: float) -> Tensor:
    """p, or the bound, with the derivative 1 either way: torch.clamp's would be 0 below the bound,
    where a neuron is most wrong, and learning would end there."""
    return p + (p.clamp(min=bound) - p).detach()


Formula = Callable[[Tensor, Tensor], Tensor]

COSTS: dict[str, tuple[Formula, Formula]] = {
    "quadratic": (quadratic_cost, quadratic_cost_prime),
    "cross-entropy": (cross_entropy_cost, cross_entropy_cost_prime),
}
"""Each cost by name, with its derivative by the outputs."""


def cost_and_prime(name: str) -> tuple[Formula, Formula]:
    """The cost of that name and its derivative; raises ValueError for a name not in `COSTS`."""
    if name not in COSTS:
        raise ValueError(f"cost must be one of {', '.join(COSTS)}; got {name!r}")
    return COSTS[name]
