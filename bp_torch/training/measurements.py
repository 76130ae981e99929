"""The numbers of a step that a run keeps: sizes of factors, of the update, and saturation."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.chain_rule import Chain
from bp_torch.neuron import Model
from bp_torch.training.gradients import NamedGradients

SATURATED_BELOW = 0.01
"""A unit with σ′ under this, 4% of its maximum, hardly learns."""


@dataclass(frozen=True)
class Factors:
    """Root mean squares at the output layer: the factors of the chain rule, and δ."""

    dC_dy_hat: float
    dy_hat_dz: float
    dz_dw: float
    delta: float

    @classmethod
    def of(cls, chain: Chain) -> "Factors":
        """Measured on a batch."""
        return cls(*map(rms, (chain.dC_dy_hat, chain.dy_hat_dz, chain.dz_dw, chain.delta)))

    def scalars(self) -> dict[str, float]:
        """By tag."""
        return {f"chain/{i}_{name}": v for i, (name, v) in enumerate(vars(self).items(), 1)}

    def shares_of(self, start: "Factors") -> dict[str, float]:
        """log₁₀ of each one's share of the start, by tag; where both are positive."""
        pairs = zip(vars(self).items(), vars(start).values(), strict=True)
        return {
            f"shares/{i}_{name}": math.log10(now / then)
            for i, ((name, now), then) in enumerate(pairs, 1)
            if 0 < now < math.inf and 0 < then < math.inf
        }


def saturation(chain: Chain, y: Tensor) -> dict[str, float]:
    """Shares of outputs, right and wrong, and of hidden units where hardly anything is learnt."""
    flat = chain.dy_hat_dz < SATURATED_BELOW
    wrong = (chain.y_hat - y).abs() > 0.5
    hidden = [link.dy_hat_dz.flatten() for link in chain.layers[:-1]]
    shares = {
        "saturation/wrong": _share(flat & wrong),
        "saturation/right": _share(flat & ~wrong),
    }
    if hidden:
        shares["saturation/hidden"] = _share(torch.cat(hidden) < SATURATED_BELOW)
    return shares


def update_size(module: Model, gradients: NamedGradients, learning_rate: float) -> dict[str, float]:
    """‖∂C/∂θ‖ over all parameters θ, and the coming update relative to them, ν‖∂C/∂θ‖/‖θ‖."""
    gradient = _norm(list(gradients.values()))
    parameters = _norm([parameter.detach() for parameter in module.parameters()])
    return {
        "gradient/norm": gradient,
        "update/relative_size": learning_rate * gradient / parameters if parameters else 0.0,
    }


def rms(factor: Tensor) -> float:
    """√(mean of the squares)."""
    return factor.double().square().mean().sqrt().item()


def _share(which: Tensor) -> float:
    return which.double().mean().item()


def _norm(tensors: list[Tensor]) -> float:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    return flat.double().square().sum().sqrt().item()
