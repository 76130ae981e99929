"""The sigmoid and its derivative, written out. Start reading here.

    ŷ = σ(z) = 1/(1 + e^{−z}) ,   ∂ŷ/∂z = σ′(z) = ŷ(1 − ŷ)

Greek stands in the text and ASCII in the code: z pre-activation, ŷ `y_hat` output, C cost.
Source: Rumelhart, Hinton & Williams (1986), Nature 323, eqs. 2 and 5.
"""

from typing import Any

import torch
from torch import Tensor


def sigmoid(z: Tensor) -> Tensor:
    """ŷ = σ(z) = 1/(1 + e^{−z}) in [0, 1]; any shape, floating point.

    The minus sign matters: 1/(1 + e^{z}) is 1 − σ(z), whose derivative differs in sign alone, so
    that every gradient has the right size and the wrong direction.
    """
    return torch.sigmoid(z)


def sigmoid_prime(y_hat: Tensor) -> Tensor:
    """σ′(z) = ∂ŷ/∂z = ŷ(1 − ŷ) in [0, ¼], from ŷ = σ(z); shape and dtype of ŷ.

    This is ∂ŷ/∂z and not yet ∂ŷ/∂w: by the chain rule ∂ŷ/∂w = ŷ(1 − ŷ) · x. Where ŷ rounds to 1
    (z > 16.6 in float32) it is 0, every digit lost; from z nothing is, see precise/formulas.py.
    """
    return (1 - y_hat) * y_hat


class SigmoidFunction(torch.autograd.Function):
    """ŷ = σ(z) for autograd, its derivative by hand: ∂C/∂z = ∂C/∂ŷ · ∂ŷ/∂z = g (1 − ŷ) ŷ.

    g = ∂C/∂ŷ is the upstream gradient. In this order of factors it is torch.sigmoid's own gradient,
    in float32 and float64 to the bit. What is saved is the *output*, which leads autograd back to
    z, so that higher derivatives are right as well.
    """

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return sigmoid(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        y_hat: Tensor = ctx.saved_tensors[0]
        return upstream * (1 - y_hat) * y_hat

    jvp = backward  # σ′ is diagonal: forward mode pushes a tangent through the same product
    generate_vmap_rule = True  # of operations on single elements torch can derive the batched rule
