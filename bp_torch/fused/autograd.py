"""The fused step as a differentiable cost: its gradients are there before they are asked for.

There are two ways to it with one backward: a Function, and an operator of torch's library for
torch.compile, torch.export and tensors without numbers, which cannot look inside. Nothing else goes
by the operator: through torch's dispatcher takes longer than a small step.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from bp_torch import checks, quirks
from bp_torch.dtypes import WIDE
from bp_torch.fused.inputs import Inputs
from bp_torch.fused.step import step, step_with_rows


def fused_cost(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    cost: str = "quadratic",
    *,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """A neuron's cost, differentiable, for one read of the data.

        C = 1/N Σᵢ sᵢ c(σ(xᵢw + b), yᵢ) ,   N = Σᵢ sᵢ

    Forward computes C and its gradients in the same pass over x and keeps ∂C/∂w and ∂C/∂b, D + 1
    numbers; backward multiplies them by the upstream gradient. Where x or y wants a gradient, two
    more numbers per sample are kept.

    Args and errors as for `fused.cost_and_gradients`, which says how c is computed; sample_weight
    has no gradient and may not ask for one.

    Returns:
        C, a scalar, in the dtype that was computed in.

    Raises:
        NotImplementedError: a second derivative is asked for, or forward mode.
        RuntimeError: under torch.vmap, for which torch finds no rule.
    """
    given = Inputs(x, y, weight, bias, cost, sample_weight)
    checks.require_floating("x", x)
    checks.require_floating("y", y)
    if sample_weight is not None:
        checks.require_floating("sample_weight", sample_weight)
        if sample_weight.requires_grad:
            raise ValueError("sample_weight has no gradient here; pass sample_weight.detach()")
    by_row = torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)
    value: Tensor
    if quirks.traced():
        value = torch.ops.bp_torch.fused_step(*given, by_row)[0]
        return value
    transformed = quirks.transformed()
    apply = FusedCost.apply if transformed else quirks.apply_untransformed(FusedCost)
    value = apply(*given, by_row or transformed)[0]
    return value


class FusedCost(Function):
    """C, and its gradients as further outputs: that is how a Function hands them to backward.

    The inputs are those of `Inputs`, then whether x or y wants a gradient.
    """

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        *given, by_row = inputs
        return (step_with_rows if by_row else step)(Inputs(*given))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, y, weight, bias, *_, by_row = inputs
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(weight, bias, *output[1:3], *((output[3], x, y) if by_row else ()))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        weight, bias, by_weight, by_bias, *row_wise = ctx.saved_tensors
        gradients: list[Tensor | None] = [None] * 7
        if upstream is None:
            return tuple(gradients)
        gradients[2:4] = by_weight * upstream, by_bias * upstream
        depends_on: tuple[Tensor, ...] = (weight, bias)
        if row_wise:
            rows, x, y = row_wise
            by_z, by_y = rows * upstream
            gradients[:2] = torch.outer(by_z, weight.to(by_z)).to(x.dtype), by_y.to(y.dtype)
            depends_on = (weight, bias, x, y)
        if torch.is_grad_enabled():  # someone means to differentiate again
            gradients = [g if g is None else _FirstOnly.apply(g, *depends_on) for g in gradients]
        return tuple(gradients)


class _FirstOnly(Function):
    """A gradient tied to what it depends on, lest its derivative be taken for 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, *depends_on: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> None:
        raise NotImplementedError(
            "fused_cost has first derivatives only; where second ones are needed, use "
            "quadratic_cost or cross_entropy_cost of sigmoid(x @ weight + bias)"
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> None:
        _FirstOnly.backward(ctx, tangents[0])


@torch.library.custom_op("bp_torch::fused_step", mutates_args=())
def fused_step(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    cost: str,
    sample_weight: Tensor | None,
    by_row: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """C, ∂C/∂w, ∂C/∂b, and as `step_with_rows` what each row contributes, if asked for."""
    given = Inputs(x, y, weight, bias, cost, sample_weight)
    if by_row:
        return step_with_rows(given)
    results = step(given)
    return *results, results[0].new_empty(2, 0)


@fused_step.register_fake
def _shapes(*inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, _, weight, bias, *_, by_row = inputs
    checks.require_floating("x", x)
    wide = WIDE[x.dtype]
    rows = x.new_empty((2, x.shape[0] if by_row else 0), dtype=wide)
    return bias.new_empty((), dtype=wide), torch.empty_like(weight), torch.empty_like(bias), rows


fused_step.register_autograd(FusedCost.backward, setup_context=FusedCost.setup_context)
