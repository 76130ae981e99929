"""The chain rule by hand: every factor of a gradient by its name, and no autograd.

For one neuron and N samples the gradient is a product of three factors,

    ∂C/∂w = Σᵢ  ∂C/∂ŷᵢ · ∂ŷᵢ/∂zᵢ · ∂zᵢ/∂w ,   ∂ŷ/∂z = ŷ(1 − ŷ) ,   ∂z/∂w = x

and in a network the first factor of a hidden layer comes from the layer above it,

    δˡ = ∂C/∂zˡ = ∂C/∂ŷˡ ⊙ σ′(zˡ) ,   ∂C/∂ŷˡ = Wˡ⁺¹ᵀ δˡ⁺¹

(Rumelhart, Hinton & Williams 1986; Nielsen 2015, ch. 2, BP1 to BP4).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch import accurate, checks, formulas
from bp_torch.modules import Model


@dataclass(frozen=True, eq=False)
class LayerChain:
    """One layer's link of the chain; K is absent from every shape where the layer is a neuron."""

    z: Tensor
    """Pre-activation Wa + b, (N, K)."""
    y_hat: Tensor
    """Output σ(z), (N, K)."""
    dC_dy_hat: Tensor
    """How the cost answers to this layer's output: of the cost itself for the last layer, Wᵀδ of
    the next layer for the others; (N, K)."""
    dy_hat_dz: Tensor
    """σ′(z) = ŷ(1 − ŷ), (N, K); from z where the module's derivative is "accurate"."""
    dz_dw: Tensor
    """What the weights are multiplied with: the layer's input, (N, D). ∂z/∂b is 1."""
    delta: Tensor
    """δ = ∂C/∂z = ∂C/∂ŷ ⊙ ∂ŷ/∂z, (N, K)."""
    dC_dw: Tensor
    """Σᵢ δᵢ xᵢ over the samples, shape of the weight."""
    dC_db: Tensor
    """Σᵢ δᵢ over the samples, shape of the bias."""


@dataclass(frozen=True, eq=False)
class Chain:
    """The chain rule worked through once. The factors named here are the output layer's, which for
    a neuron is the only one; `layers` has those of every layer, from first to last."""

    cost: Tensor
    """C, a scalar."""
    layers: tuple[LayerChain, ...]
    gradients: dict[str, Tensor]
    """∂C/∂θ for every parameter θ, under the module's own names for them."""

    @property
    def z(self) -> Tensor:
        """Pre-activation of the output layer."""
        return self.layers[-1].z

    @property
    def y_hat(self) -> Tensor:
        """Output ŷ = σ(z)."""
        return self.layers[-1].y_hat

    @property
    def dC_dy_hat(self) -> Tensor:
        """∂C/∂ŷ, the cost's own derivative."""
        return self.layers[-1].dC_dy_hat

    @property
    def dy_hat_dz(self) -> Tensor:
        """∂ŷ/∂z = σ′(z) = ŷ(1 − ŷ)."""
        return self.layers[-1].dy_hat_dz

    @property
    def dz_dw(self) -> Tensor:
        """∂z/∂w: the output layer's input, for a neuron x."""
        return self.layers[-1].dz_dw

    @property
    def delta(self) -> Tensor:
        """δ = ∂C/∂z = ∂C/∂ŷ ⊙ ∂ŷ/∂z."""
        return self.layers[-1].delta


@torch.no_grad()
def backprop(module: Model, x: Tensor, y: Tensor, *, cost: str = "quadratic") -> Chain:
    """Cost and gradients of one batch by the chain rule, written out.

    Args:
        module: a `Neuron`, or a `Network` of any depth.
        x: samples, (N, D), finite, in the dtype of the module.
        y: targets in [0, 1], (N,) for a neuron, (N, K) for a network.
        cost: "quadratic" or "cross-entropy".

    Returns:
        `Chain`: the cost, every factor by name, and the gradients.

    Raises:
        TypeError: module is neither; x or y is not floating point, or not in the module's dtype.
        ValueError: shapes that do not fit, NaN or infinity, targets outside [0, 1], unknown cost.

    Source: Nielsen (2015), "Neural Networks and Deep Learning", ch. 2, BP1 to BP4.
    """
    _require_batch(module, x, y)
    cost_of, cost_prime = formulas.cost_and_prime(cost)

    # Forward: each layer's input is the output of the one before.
    inputs, z, y_hat = [], [], []
    a = x
    for layer in module.layers:
        inputs.append(a)
        z.append(layer.pre_activation(a))
        a = _sigmoid(layer.derivative, z[-1])
        y_hat.append(a)

    # Backward: from the cost's derivative down to the first layer.
    links: list[LayerChain] = []
    dC_dy_hat = cost_prime(y_hat[-1], y)  # ∂C/∂ŷ
    for index in reversed(range(len(module.layers))):
        layer = module.layers[index]
        dy_hat_dz = _sigmoid_prime(layer.derivative, z[index], y_hat[index])  # ∂ŷ/∂z
        dz_dw = inputs[index]  # ∂z/∂w
        delta = dC_dy_hat * dy_hat_dz  # δ = ∂C/∂z
        links.append(
            LayerChain(
                z=z[index],
                y_hat=y_hat[index],
                dC_dy_hat=dC_dy_hat,
                dy_hat_dz=dy_hat_dz,
                dz_dw=dz_dw,
                delta=delta,
                dC_dw=delta.t() @ dz_dw,  # Σᵢ δᵢ xᵢ
                dC_db=delta.sum(0),  # Σᵢ δᵢ · 1
            )
        )
        if index > 0:
            # The weights of this step, not updated ones: Wᵀδ for every sample (a row of δ).
            dC_dy_hat = delta @ layer.weight
    links.reverse()

    by_parameter = [gradient for link in links for gradient in (link.dC_dw, link.dC_db)]
    names = [name for name, _ in module.named_parameters()]
    return Chain(
        cost=cost_of(y_hat[-1], y),
        layers=tuple(links),
        gradients=dict(zip(names, by_parameter, strict=True)),
    )


def _sigmoid(derivative: str, z: Tensor) -> Tensor:
    return accurate.sigmoid(z) if derivative == "accurate" else formulas.sigmoid(z)


def _sigmoid_prime(derivative: str, z: Tensor, y_hat: Tensor) -> Tensor:
    """σ′ as the module's own backward has it: from z, or from ŷ as the textbook does."""
    return accurate.sigmoid_prime(z) if derivative == "accurate" else formulas.sigmoid_prime(y_hat)


def _require_batch(module: Model, x: Tensor, y: Tensor) -> None:
    """Raise one clear line unless x and y are a batch that the module can learn from."""
    if not isinstance(module, Model):
        raise TypeError(
            f"module must be a bp_torch.Neuron or Network, got {type(module).__name__}; "
            f"for other code differentiate with autograd"
        )
    checks.require_floating("x", x)
    checks.require_floating("y", y)
    if x.ndim != 2:
        raise ValueError(
            f"x must have shape (N, D), one row per sample, got {tuple(x.shape)}; "
            f"a single sample is x[None, :] with y[None]"
        )
    bias = module.layers[-1].bias
    expected = (x.shape[0], *bias.shape)
    if y.shape != expected:
        raise ValueError(f"y must have shape {expected}, one row per sample, got {tuple(y.shape)}")
    checks.require_finite("x", x)
    checks.require_unit_interval("y", y)
