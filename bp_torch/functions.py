"""The sigmoid as a custom autograd.Function: save, call a formula, return."""

from typing import Any

import torch
from torch import Tensor

from bp_torch import checks, formulas

DERIVATIVES = ("textbook",)
"""The forms of σ′ that `sigmoid` knows."""


class SigmoidFunction(torch.autograd.Function):
    """ŷ = σ(z) with its derivative written out: ∂C/∂z = g (1 − ŷ) ŷ.

    `backward` is made of differentiable operations on the saved *output*, which autograd links
    back to z: so second and higher derivatives are right as well.
    """

    # backward is elementwise, so torch may derive its batched version (vmap) from it.
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return formulas.sigmoid(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (y_hat,) = ctx.saved_tensors
        return formulas.sigmoid_backward(upstream, y_hat)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        # σ′ is diagonal, so pushing a tangent forward is the same product as pulling g back.
        (y_hat,) = ctx.saved_tensors
        return formulas.sigmoid_backward(tangent, y_hat)


def sigmoid(z: Tensor, derivative: str = "textbook") -> Tensor:
    """Logistic sigmoid with its derivative by hand.

        ŷ = σ(z) = 1/(1 + e^{−z}),   ∂ŷ/∂z = ŷ (1 − ŷ)

    Args:
        z: pre-activation, any shape, floating point.
        derivative: the form of ∂ŷ/∂z. "textbook": ŷ(1 − ŷ) from the saved ŷ; in float32 and
            float64 bit for bit the gradient of torch.sigmoid.

    Returns:
        ŷ, shape and dtype of z, differentiable (reverse, forward and vmap).

    Raises:
        TypeError: z is not a floating-point tensor.
        ValueError: an unknown form.

    Source: Rumelhart, Hinton & Williams (1986), Nature 323, eqs. 2 and 5.
    """
    checks.require_floating("z", z)
    require_derivative(derivative)
    y_hat: Tensor = SigmoidFunction.apply(z)  # type: ignore[no-untyped-call]
    return y_hat


def require_derivative(derivative: str) -> None:
    """Raise ValueError unless `derivative` names a form of σ′ in `DERIVATIVES`."""
    if derivative not in DERIVATIVES:
        raise ValueError(f"derivative must be one of {', '.join(DERIVATIVES)}; got {derivative!r}")
