"""ŷ and 1 − ŷ as they stand under a logarithm, where an output has rounded to 0 or to 1."""

import torch
from torch import Tensor


def probabilities(y_hat: Tensor) -> tuple[Tensor, Tensor]:
    """ŷ and 1 − ŷ, kept from 0, with the derivatives 1 and −1 everywhere.

    A ŷ that rounded to 0 or to 1 stands for a number that it cannot express. So ŷ is taken to be at
    least the smallest normal number, and 1 − ŷ at least half the distance from 1 to its neighbour
    below: 2⁻²⁵ in float32.
    """
    limits = torch.finfo(y_hat.dtype)
    return _at_least(y_hat, limits.tiny), _at_least(1 - y_hat, limits.eps / 4)


def _at_least(p: Tensor, bound: float) -> Tensor:
    """p, or the bound, with the derivative 1 either way: torch.clamp's would be 0 below the bound,
    where a neuron is most wrong, and learning would end there."""
    return p + (p.clamp(min=bound) - p).detach()
