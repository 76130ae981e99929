"""The sigmoid as a custom autograd.Function: save, call a formula, return.

Each form of the derivative comes as two classes, since torch.compile refuses a Function that has a
`jvp` and forward mode needs one: the first is what torch.compile takes, the second adds the `jvp`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch.overrides import handle_torch_function, has_torch_function_unary

from bp_torch import accurate, checks, formulas
from bp_torch.blocks import in_blocks, plain


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
        return in_blocks(formulas.sigmoid_backward, upstream, y_hat)


class SigmoidFunctionWithJvp(SigmoidFunction):
    """`SigmoidFunction` for forward mode as well."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        # σ′ is diagonal, so pushing a tangent forward is the same product as pulling g back.
        (y_hat,) = ctx.saved_tensors
        return in_blocks(formulas.sigmoid_backward, tangent, y_hat)


class AccurateSigmoidFunction(torch.autograd.Function):
    """ŷ = σ(z) with its derivative from the saved *input*: ∂C/∂z = g e/(1 + e)², e = e^{−|z|}."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return accurate.sigmoid(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return _accurate_backward(upstream, z)


class AccurateSigmoidFunctionWithJvp(AccurateSigmoidFunction):
    """`AccurateSigmoidFunction` for forward mode as well."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return _accurate_backward(tangent, z)


class AccurateBackwardFunction(torch.autograd.Function):
    """g σ′(z) as a function of g and z, so that it can be differentiated again, and its derivative
    again:

        ∂/∂g = σ′(z) ,   ∂/∂z = g σ″(z) ,   σ″(z) = −σ′(z) tanh(z/2)
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(upstream: Tensor, z: Tensor) -> Tensor:
        return accurate.sigmoid_backward(upstream, z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None]:
        g, z = ctx.saved_tensors
        by_g = _accurate_backward(upstream, z) if ctx.needs_input_grad[0] else None
        by_z = _times_second(upstream, g, z) if ctx.needs_input_grad[1] else None
        return by_g, by_z

    @staticmethod
    def jvp(ctx: Any, g_tangent: Tensor, z_tangent: Tensor) -> Tensor:
        g, z = ctx.saved_tensors
        return _accurate_backward(g_tangent, z) + _times_second(z_tangent, g, z)


def _accurate_backward(upstream: Tensor, z: Tensor) -> Tensor:
    # Compiled code differentiates once, and may hold no Function inside another.
    if torch.compiler.is_compiling() or plain(upstream, z):
        return accurate.sigmoid_backward(upstream, z)
    result: Tensor = AccurateBackwardFunction.apply(upstream, z)  # type: ignore[no-untyped-call]
    return result


def _times_second(upstream: Tensor, g: Tensor, z: Tensor) -> Tensor:
    """upstream · g σ″(z), in float64 and rounded once."""
    wide_upstream, wide_g, wide_z = (t.to(accurate.WIDE) for t in (upstream, g, z))
    slope = _accurate_backward(wide_upstream * wide_g, wide_z)
    return (-slope * torch.tanh(wide_z / 2)).to(z.dtype)


@dataclass(frozen=True)
class _Form:
    """One form of the derivative, in what each of torch's ways to differentiate can take."""

    operations: Callable[[Tensor], Tensor]  # differentiated by torch itself
    reverse: type[torch.autograd.Function]
    reverse_and_forward: type[torch.autograd.Function]

    def apply(self, z: Tensor) -> Tensor:
        compiling = torch.compiler.is_compiling()
        reverse, forward = _torch_func_levels()
        # Nested forward mode takes a custom jvp for a constant (pytorch issue 197867), and
        # torch.compile(torch.func.grad(…)) drops a custom rule or fails at it.
        if forward > 1 or (compiling and reverse + forward > 0):
            return self.operations(z)
        function = self.reverse if compiling else self.reverse_and_forward
        return function.apply(z)  # type: ignore[no-any-return]


def _torch_func_levels() -> tuple[int, int]:
    """How many torch.func transforms are at work around this call, in reverse and forward mode."""
    levels = [level.key() for level in _functorch.get_interpreter_stack() or ()]
    kinds = _functorch.TransformType
    return levels.count(kinds.Grad), levels.count(kinds.Jvp)


# The compiler is to ask once and not to look inside; it guards against a change by itself. This is
# torch.compiler.assume_constant_result, without its import of the whole compiler.
_torch_func_levels._dynamo_marked_constant = True  # type: ignore[attr-defined]


DERIVATIVES = {
    "textbook": _Form(formulas.sigmoid, SigmoidFunction, SigmoidFunctionWithJvp),
    "accurate": _Form(accurate.sigmoid, AccurateSigmoidFunction, AccurateSigmoidFunctionWithJvp),
}
"""The forms of σ′ that `sigmoid` knows, by name."""


def sigmoid(z: Tensor, derivative: str = "textbook") -> Tensor:
    """Logistic sigmoid with its derivative by hand.

        ŷ = σ(z) = 1/(1 + e^{−z}),   ∂ŷ/∂z = ŷ (1 − ŷ)

    Args:
        z: pre-activation, any shape, floating point; a subclass or __torch_function__ is asked.
        derivative: the form of ∂ŷ/∂z.
            "textbook": ŷ(1 − ŷ) from the saved ŷ; in float32 and float64 bit for bit the gradient
            of torch.sigmoid, and so 0 where ŷ rounds to 1 (z > 16.6 in float32).
            "accurate": from the saved z, right to the last bit there as well, as ŷ is; it takes
            about twice the time and no more memory.

    Returns:
        ŷ, shape and dtype of z. It can be differentiated any number of times, in reverse and
        forward mode and under torch's transforms. Where those are compiled, as in
        torch.compile(torch.func.grad(…)), and in nested forward mode, torch does not run a custom
        derivative: it differentiates the formula for ŷ, with the same result up to rounding.

    Raises:
        TypeError: z is not a floating-point tensor.
        ValueError: an unknown form.

    Source: Rumelhart, Hinton & Williams (1986), Nature 323, eqs. 2 and 5.
    """
    if has_torch_function_unary(z):  # a subclass, or an object that stands for a tensor
        result: Tensor = handle_torch_function(sigmoid, (z,), z, derivative=derivative)
        return result
    checks.require_floating("z", z)
    require_derivative(derivative)
    return DERIVATIVES[derivative].apply(z)


def require_derivative(derivative: str) -> None:
    """Raise ValueError unless `derivative` names a form of σ′ in `DERIVATIVES`."""
    if derivative not in DERIVATIVES:
        raise ValueError(f"derivative must be one of {', '.join(DERIVATIVES)}; got {derivative!r}")
