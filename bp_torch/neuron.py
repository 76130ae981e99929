"""A neuron, and layers of neurons, as nn.Modules: ŷ = σ(z), z = wᵀx + b.

Weights start from N(0, 1/D), biases at 0: for standardised features z then has variance 1, where σ′
is near its maximum of ¼ and learning does not start saturated (LeCun, Bottou, Orr & Müller 1998,
"Efficient BackProp", §4.6). `derivative` is the form of σ′, see `bp_torch.sigmoid`; a generator, on
the device given, makes the weights reproducible. What does not fit raises TypeError or ValueError.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from bp_torch import checks
from bp_torch.forms import FORMS, Derivative, sigmoid


class Layer(nn.Module):
    """K sigmoid neurons that share their input: ŷ = σ(Wx + b), x (…, D) → ŷ (…, K)."""

    __call__: Callable[..., Tensor]  # torch says Any

    def __init__(
        self,
        in_features: int,
        out_features: int | None,  # None: one neuron, and K absent from the shapes
        derivative: Derivative = "textbook",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        shape = checks.require_layer(in_features, out_features, dtype)
        checks.require_one_of("derivative", derivative, FORMS)
        self.derivative = derivative
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(shape[:-1], device=device, dtype=dtype))
        nn.init.normal_(self.weight, std=shape[-1] ** -0.5, generator=generator)

    def pre_activation(self, x: Tensor) -> Tensor:
        """z = Wx + b."""
        checks.require_features(x, self.weight)
        return x @ self.weight.t() + self.bias

    def forward(self, x: Tensor) -> Tensor:
        return sigmoid(self.pre_activation(x), self.derivative)

    def extra_repr(self) -> str:
        return ", ".join(map(str, [*self.weight.shape[::-1], f"derivative={self.derivative!r}"]))


class Neuron(Layer):
    """A single sigmoid neuron: ŷ = σ(wᵀx + b), x (…, D) → ŷ (…); weight (D,), bias ()."""

    def __init__(
        self,
        in_features: int,
        derivative: Derivative = "textbook",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            in_features, None, derivative, device=device, dtype=dtype, generator=generator
        )

    @property
    def layers(self) -> Sequence[Layer]:
        """The neuron as a network of one layer, so that the chain rule is written once."""
        return (self,)


class Network(nn.Module):
    """Layers of sigmoid neurons: aˡ = σ(Wˡ aˡ⁻¹ + bˡ), a⁰ = x, ŷ = aᴸ.

    sizes are the number of features, then of neurons per layer; [2, 2, 2] has two layers.
    """

    __call__: Callable[..., Tensor]
    layers: Sequence[Layer]  # an nn.ModuleList, typed by what it holds

    def __init__(
        self,
        sizes: Sequence[int],
        derivative: Derivative = "textbook",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            Layer(inputs, outputs, derivative, device=device, dtype=dtype, generator=generator)
            for inputs, outputs in pairwise(checks.require_layers(sizes))
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


Model = Neuron | Network
