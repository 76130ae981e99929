"""The chain rule by hand: every factor of a gradient by its name, and no autograd.

    ∂C/∂w = Σᵢ ∂C/∂ŷᵢ · ∂ŷᵢ/∂zᵢ · ∂zᵢ/∂w ,   ∂ŷ/∂z = σ′(z) = ŷ(1 − ŷ) ,   ∂z/∂w = x

and in a network the first factor of a hidden layer comes from the layer above it,

    δˡ = ∂C/∂zˡ = ∂C/∂ŷˡ ⊙ σ′(zˡ) ,   ∂C/∂ŷˡ = Wˡ⁺¹ᵀ δˡ⁺¹

Source: Rumelhart, Hinton & Williams (1986); Nielsen (2015), ch. 2, BP1 to BP4.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch import checks
from bp_torch.costs import COSTS
from bp_torch.forms import FORMS
from bp_torch.neuron import Model


@dataclass(frozen=True, eq=False)
class LayerChain:
    """One layer's link of the chain; where the layer is a neuron, K is absent from every shape."""

    z: Tensor  # pre-activation Wx + b, (N, K)
    y_hat: Tensor  # output σ(z), (N, K)
    dC_dy_hat: Tensor  # of the cost itself in the last layer, else Wᵀδ of the next one, (N, K)
    dy_hat_dz: Tensor  # σ′(z) as the module's backward has it, (N, K)
    dz_dw: Tensor  # what the weights are multiplied with: the layer's input, (N, D); ∂z/∂b is 1
    delta: Tensor  # δ = ∂C/∂z = ∂C/∂ŷ ⊙ ∂ŷ/∂z, (N, K)
    dC_dw: Tensor  # Σᵢ δᵢ xᵢ over the samples, shape of the weight
    dC_db: Tensor  # Σᵢ δᵢ over the samples, shape of the bias


@dataclass(frozen=True, eq=False)
class Chain(LayerChain):
    """The chain rule worked through once: the link of the output layer, and besides it:"""

    cost: Tensor  # C, a scalar
    layers: tuple[LayerChain, ...]  # the links from the first layer to the last
    gradients: dict[str, Tensor]  # ∂C/∂θ of every parameter θ, by the module's own name for it


@torch.no_grad()
def backprop(module: Model, x: Tensor, y: Tensor, *, cost: str = "quadratic") -> Chain:
    """Cost and gradients of one batch by the chain rule, written out.

    Args:
        module: a `Neuron`, or a `Network` of any depth.
        x: samples, (N, D), finite, in the module's dtype; else TypeError or ValueError.
        y: targets in [0, 1], (N,) for a neuron, (N, K) for a network; in that dtype, likewise.
        cost: "quadratic" or "cross-entropy".
    """
    names = checks.require_model(module, Model)
    checks.require_batch(x, y, module.layers[-1].bias)
    cost_of, cost_prime = checks.require_one_of("cost", cost, COSTS)

    # Forward: each layer's input is the output of the one before.
    steps, a = [], x
    for layer in module.layers:
        z = layer.pre_activation(a)
        y_hat = FORMS[layer.derivative].sigmoid(z)
        steps.append((layer, a, z, y_hat))
        a = y_hat

    # Backward: from the cost's derivative down to the first layer.
    links: list[LayerChain] = []
    dC_dy_hat = cost_prime(a, y)  # ∂C/∂ŷ
    for layer, dz_dw, z, y_hat in reversed(steps):
        dy_hat_dz = FORMS[layer.derivative].prime(z, y_hat)  # ∂ŷ/∂z
        delta = dC_dy_hat * dy_hat_dz  # δ = ∂C/∂z
        dC_dw = delta.t() @ dz_dw  # Σᵢ δᵢ xᵢ
        dC_db = delta.sum(0)  # Σᵢ δᵢ · 1
        links.insert(0, LayerChain(z, y_hat, dC_dy_hat, dy_hat_dz, dz_dw, delta, dC_dw, dC_db))
        if layer is not module.layers[0]:
            # The weights of this step, not updated ones: Wᵀδ for every sample (a row of δ).
            dC_dy_hat = delta @ layer.weight

    by_hand = [gradient for link in links for gradient in (link.dC_dw, link.dC_db)]
    gradients = dict(zip(names, by_hand, strict=True))
    return Chain(**vars(links[-1]), cost=cost_of(a, y), layers=tuple(links), gradients=gradients)
