"""A neuron, and layers of neurons: ŷ = σ(wᵀx + b), as nn.Modules."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn

from bp_torch import checks, functions


class SigmoidUnits(nn.Module):
    """Sigmoid units that share their input, each with weights of its own and a bias.

    The shape of the weight says which: (D,) is one neuron, (K, D) a layer of K neurons. Weights
    start from a normal distribution with mean 0 and variance 1/D, biases at 0: for standardised
    inputs the pre-activation z then has variance 1, where σ′ is near its maximum of ¼ and learning
    does not start saturated (LeCun, Bottou, Orr & Müller 1998, "Efficient BackProp", §4.6).
    """

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(
        self,
        *shape: int,
        derivative: str,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        if not all(isinstance(size, int) and size >= 1 for size in shape):
            raise ValueError(f"the number of features must be a whole number ≥ 1, got {shape}")
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f"dtype must be a floating-point type, got {dtype}")
        functions.require_derivative(derivative)
        self.derivative = derivative
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(shape[:-1], device=device, dtype=dtype))
        self.reset_parameters(generator=generator)

    @property
    def in_features(self) -> int:
        """D, the number of features."""
        return self.weight.shape[-1]

    @torch.no_grad()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew; reproducibly with a generator (on the parameters' device)."""
        self.weight.normal_(std=self.in_features**-0.5, generator=generator)
        self.bias.zero_()

    def pre_activation(self, x: Tensor) -> Tensor:
        """z, from x of shape (…, D); raises TypeError or ValueError where x does not fit."""
        raise NotImplementedError("a kind of units says what its pre-activation is")

    def require_input(self, x: Tensor) -> None:
        """Raise TypeError or ValueError unless x has D columns of the weight's dtype."""
        checks.require_floating("x", x)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"x must have shape (…, {self.in_features}), one column per feature, "
                f"got {tuple(x.shape)}"
            )
        # Autocast brings both to one type by itself.
        if x.dtype != self.weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"x must be {self.weight.dtype} as the weight is, got {x.dtype}; "
                f"convert one of them, for instance x.to({self.weight.dtype})"
            )

    def forward(self, x: Tensor) -> Tensor:
        """ŷ = σ(z)."""
        return functions.sigmoid(self.pre_activation(x), self.derivative)


class Neuron(SigmoidUnits):
    """A single sigmoid neuron.

        ŷ = σ(z),   z = wᵀx + b;   x: (…, D) → ŷ: (…)

    Args:
        in_features: D, the number of features.
        derivative: the form of σ′ in its backward pass; see `bp_torch.sigmoid`.
        device, dtype: of weight (D,) and bias ().
        generator: makes the initial weights reproducible; on the device given.

    Raises:
        ValueError: in_features < 1 or an unknown derivative; in use, a shape that does not fit.
        TypeError: a dtype that is not floating point; in use, one that is not the weight's.

    Initialisation: w ~ N(0, 1/D), b = 0; `SigmoidUnits` says why.
    """

    def __init__(
        self,
        in_features: int,
        derivative: str = "textbook",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            in_features, derivative=derivative, device=device, dtype=dtype, generator=generator
        )

    def pre_activation(self, x: Tensor) -> Tensor:
        """z = wᵀx + b, (…, D) → (…); raises TypeError or ValueError where x does not fit."""
        self.require_input(x)
        return x @ self.weight + self.bias

    @property
    def layers(self) -> Sequence[SigmoidUnits]:
        """The neuron as a network of one layer, so that the chain rule is written once."""
        return (self,)

    def extra_repr(self) -> str:
        return f"{self.in_features}, derivative={self.derivative!r}"


class Layer(SigmoidUnits):
    """K sigmoid neurons that share their input.

        ŷ = σ(z),   z = Wx + b;   x: (…, D) → ŷ: (…, K);   weight (K, D), bias (K,)

    Args:
        in_features: D.
        out_features: K.
        derivative, device, dtype, generator, errors and initialisation: as for `Neuron`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        derivative: str = "textbook",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            out_features,
            in_features,
            derivative=derivative,
            device=device,
            dtype=dtype,
            generator=generator,
        )

    def pre_activation(self, x: Tensor) -> Tensor:
        """z = Wx + b, (…, D) → (…, K); raises TypeError or ValueError where x does not fit."""
        self.require_input(x)
        return nn.functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}, derivative={self.derivative!r}"


class Network(nn.Module):
    """Layers of sigmoid neurons, each fed with the outputs of the one before.

        aˡ = σ(Wˡ aˡ⁻¹ + bˡ),   a⁰ = x,   ŷ = aᴸ

    Args:
        sizes: the number of features, then of neurons per layer; [2, 2, 2] has two layers.
        derivative, device, dtype, generator, errors and initialisation: as for `Neuron`.
    """

    layers: Sequence[Layer]
    """An nn.ModuleList, typed by what it holds."""

    def __init__(
        self,
        sizes: Sequence[int],
        derivative: str = "textbook",
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(
                f"sizes must name the features and at least one layer, as [30, 1]; got {sizes}"
            )
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            Layer(inputs, outputs, derivative, device=device, dtype=dtype, generator=generator)
            for inputs, outputs in pairwise(sizes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """ŷ, shape (…, sizes[0]) → (…, sizes[-1])."""
        for layer in self.layers:
            x = layer(x)
        return x


Model: TypeAlias = Neuron | Network
"""What can be trained: both have `layers`, and a Neuron is its own only one."""
