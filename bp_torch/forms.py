"""The forms of σ′ by name, and the public sigmoid that picks one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from bp_torch import checks
from bp_torch import derivative as textbook
from bp_torch.precise import formulas as accurate
from bp_torch.precise.blocks import blockwise
from bp_torch.precise.functions import AccurateSigmoidFunction
from bp_torch.quirks import everywhere

Derivative = Literal["textbook", "accurate"]


@dataclass(frozen=True)
class Form:
    """One form of the derivative: its formulas, and both together for autograd."""

    sigmoid: Callable[[Tensor], Tensor]
    """ŷ = σ(z)."""
    prime: Callable[[Tensor, Tensor], Tensor]
    """σ′, from z and ŷ."""
    apply: Callable[[Tensor], Tensor]
    """ŷ = σ(z), to be differentiated."""


FORMS: dict[Derivative, Form] = {
    "textbook": Form(
        sigmoid=textbook.sigmoid,
        prime=lambda z, y_hat: textbook.sigmoid_prime(y_hat),
        apply=everywhere(
            textbook.SigmoidFunction, textbook.sigmoid, eager=blockwise(textbook.SigmoidFunction)
        ),
    ),
    "accurate": Form(
        sigmoid=accurate.sigmoid,
        prime=lambda z, y_hat: accurate.sigmoid_prime(z),
        apply=everywhere(AccurateSigmoidFunction, accurate.sigmoid),
    ),
}


def sigmoid(z: Tensor, derivative: Derivative = "textbook") -> Tensor:
    """Logistic sigmoid with its derivative by hand.

        ŷ = σ(z) = 1/(1 + e^{−z}),   ∂ŷ/∂z = ŷ (1 − ŷ)

    Args:
        z: pre-activation, any shape, floating point; a subclass of Tensor that has a
            __torch_function__ decides itself what becomes of it.
        derivative: the form of ∂ŷ/∂z.
            "textbook": ŷ(1 − ŷ) from the saved ŷ; in float32 and float64 bit for bit the gradient
            of torch.sigmoid, and so 0 where ŷ rounds to 1 (z > 16.6 in float32).
            "accurate": from the saved z, as ŷ itself in float64 and rounded once, which loses
            nothing there either; it takes about twice the time, and keeps z besides the ŷ that the
            next layer keeps.

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
    return checks.require_one_of("derivative", derivative, FORMS).apply(z)
