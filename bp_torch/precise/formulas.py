"""σ and its derivatives without loss: from z, in float64, rounded once.

The textbook's σ′ = ŷ(1 − ŷ) loses its digits where ŷ rounds to 1, and no arithmetic on ŷ brings
them back: what distinguishes z = 20 from z = 30 has been rounded away. Computed from z,

    σ(z) = 1/(1 + e^{−z}) ,   σ′(z) = e/(1 + e)² ,   σ″(z) = −σ′(z) tanh(z/2) ,   e = e^{−|z|}

subtract nothing that is nearly equal, so each operation costs half a rounding unit of float64 and
nothing is lost (Higham 2002, "Accuracy and Stability of Numerical Algorithms", §1.7). float16 and
bfloat16 go through float64 as well: in float32 e^{−z} overflows where bfloat16's σ is not yet 0,
and float16's error would be 0.50012 ULP.

An element's bits depend on its z alone. torch.exp and IEEE arithmetic give it the same ones
whatever the batch, the strides and the threads, which torch.sigmoid does not; another device's exp
may differ in float64's last place, which shows only where the truth is all but midway between two
numbers: in float32 for σ of some hundreds of z, nearly all of them next to 0.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bp_torch.precise import blocks

WIDE = torch.float64


def sigmoid(z: Tensor) -> Tensor:
    """Logistic sigmoid, computed in float64 and rounded once.

        σ(z) = 1/(1 + e^{−z})

    Made of operations that torch can differentiate any number of times, and whose derivatives lose
    nothing either: so it serves where torch drops a custom derivative and differentiates this.

    Args:
        z: pre-activation, any shape, floating point.

    Returns:
        σ(z) in [0, 1], shape and dtype of z, dimensionless; NaN where z is NaN.

    Accuracy: 0.5001 ULP in float16, bfloat16 and float32, subnormal numbers included; 2.5 ULP in
        float64 for |z| ≤ 708 (scripts/benchmarks accuracy).
    """
    if z.dtype == WIDE:
        # No wider type: e^{−z} would overflow below −709. With the halves of z, n/(n + p) is
        # e^z/(e^z + 1) on the left and 1/(1 + e^{−z}) on the right. torch gives minimum and
        # maximum half a slope each where they meet, at z = 0, and so the right derivatives there.
        zero = z.new_zeros(())
        n, p = torch.exp(torch.minimum(z, zero)), torch.exp(-torch.maximum(z, zero))
        return n / (n + p)
    return _rounded_once(_sigmoid, _sigmoid_, z)


def sigmoid_backward(upstream: Tensor, z: Tensor) -> Tensor:
    """The sigmoid's step of the chain rule, computed in float64 and rounded once.

        ∂C/∂z = g σ′(z) = g e/(1 + e)²,   g = ∂C/∂ŷ,   e = e^{−|z|}

    Even in z, to the bit. Not to be differentiated by autograd, which takes |z| for flat at 0.

    Args:
        upstream: g = ∂C/∂ŷ, shape and dtype of z.
        z: pre-activation, any shape, floating point.

    Returns:
        ∂C/∂z, shape and dtype of z.

    Accuracy: 0.5001 ULP in float16, bfloat16 and float32, subnormal numbers included; 4 ULP in
        float64 for |z| ≤ 708 (scripts/benchmarks accuracy).
    """
    return _rounded_once(_sigmoid_backward, _sigmoid_backward_, upstream, z)


def sigmoid_prime(z: Tensor) -> Tensor:
    """Derivative of the logistic sigmoid, from its input.

        σ′(z) = e/(1 + e)²,   e = e^{−|z|}

    Args, returns and accuracy as for `sigmoid_backward` with g = 1.
    """
    return sigmoid_backward(z.new_ones(()).expand_as(z), z)


def _sigmoid(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


def _sigmoid_backward(upstream: Tensor, z: Tensor) -> Tensor:
    e = torch.exp(-z.abs())
    return upstream * e / (1 + e * (2 + e))  # (1 + e)² would round the same error twice


# The same operations in the same order, but in place, as torch's trailing underscore says, and with
# room for one intermediate result.


def _sigmoid_(z: Tensor, spare: Tensor) -> Tensor:
    return z.neg_().exp_().add_(1).reciprocal_()


def _sigmoid_backward_(upstream: Tensor, z: Tensor, spare: Tensor) -> Tensor:
    e = z.abs_().neg_().exp_()
    torch.add(e, 2, out=spare).mul_(e).add_(1)
    return upstream.mul_(e).div_(spare)


def _rounded_once(
    formula: Callable[..., Tensor], in_place: Callable[..., Tensor], *tensors: Tensor
) -> Tensor:
    """formula(*tensors) in float64, rounded to the dtype of the last one.

    Large tensors go block by block through buffers that stay in the cache, so that float64 costs
    next to no memory; `in_place` is the formula for them.
    """
    last = tensors[-1]
    if not blocks.worth_cutting(*tensors):
        return formula(*(t.to(WIDE) for t in tensors)).to(last.dtype)
    result = torch.empty_like(last)
    buffers = [torch.empty(blocks.block_size(), dtype=WIDE) for _ in (*tensors, "spare")]
    for piece, *arguments in blocks.cut(result, *tensors):
        *wide, spare = (buffer[: len(piece)] for buffer in buffers)
        for buffer, argument in zip(wide, arguments, strict=True):
            buffer.copy_(argument)
        piece.copy_(in_place(*wide, spare))
    return result
