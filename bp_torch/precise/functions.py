"""The accurate sigmoid for autograd: save, call a formula, return."""

from typing import Any

import torch
from torch import Tensor

from bp_torch import quirks
from bp_torch.precise import formulas


class AccurateSigmoidFunction(torch.autograd.Function):
    """ŷ = σ(z) with its derivative from the saved *input*: ∂C/∂z = g e/(1 + e)², e = e^{−|z|}."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return formulas.sigmoid(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return _backward(upstream, z)

    jvp = backward  # σ′ is diagonal


class AccurateBackwardFunction(torch.autograd.Function):
    """g σ′(z) as a function of g and z, so that it can be differentiated again, and its derivative
    again:

        ∂/∂g = σ′(z) ,   ∂/∂z = g σ″(z) ,   σ″(z) = −σ′(z) tanh(z/2)
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(upstream: Tensor, z: Tensor) -> Tensor:
        return formulas.sigmoid_backward(upstream, z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        g, z = ctx.saved_tensors
        by_g = _backward(upstream, z) if ctx.needs_input_grad[0] else None
        by_z = _times_second(upstream, g, z) if ctx.needs_input_grad[1] else None
        return by_g, by_z

    @staticmethod
    def jvp(ctx: Any, g_tangent: Tensor, z_tangent: Tensor) -> Tensor:
        g, z = ctx.saved_tensors
        return _backward(g_tangent, z) + _times_second(z_tangent, g, z)


def _backward(upstream: Tensor, z: Tensor) -> Tensor:
    # Compiled code differentiates once, and may hold no Function inside another.
    if torch.compiler.is_compiling() or not quirks.watched(upstream, z):
        return formulas.sigmoid_backward(upstream, z)
    result: Tensor = AccurateBackwardFunction.apply(upstream, z)  # type: ignore[no-untyped-call]
    return result


def _times_second(upstream: Tensor, g: Tensor, z: Tensor) -> Tensor:
    """upstream · g σ″(z), in float64 and rounded once."""
    wide_upstream, wide_g, wide_z = (t.to(formulas.WIDE) for t in (upstream, g, z))
    slope = _backward(wide_upstream * wide_g, wide_z)
    return (-slope * torch.tanh(wide_z / 2)).to(z.dtype)
