"""The fused step as an operator of torch, for torch.compile and torch.export cannot look inside.

Nothing else comes this way: through torch's dispatcher takes longer than a small step.
"""

from typing import Any

import torch
from torch import Tensor

from bp_torch.dtypes import WIDE
from bp_torch.fused.step import cost_and_gradients, cost_gradients_and_rows


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
    """C, ∂C/∂w, ∂C/∂b, and as `cost_gradients_and_rows` what each row contributes, if asked for."""
    if by_row:
        return cost_gradients_and_rows(x, y, weight, bias, cost, sample_weight)
    step = cost_and_gradients(x, y, weight, bias, cost, sample_weight=sample_weight)
    return *step, step[0].new_empty(2, 0)


@fused_step.register_fake
def _step_shapes(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    cost: str,
    sample_weight: Tensor | None,
    by_row: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wide = WIDE[x.dtype]
    rows = x.new_empty((2, x.shape[0] if by_row else 0), dtype=wide)
    return bias.new_empty((), dtype=wide), torch.empty_like(weight), torch.empty_like(bias), rows


def _keep_for_operator(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, y, weight, *_, ctx.by_row = inputs
    ctx.dtypes = x.dtype, y.dtype
    ctx.save_for_backward(weight, *output[1:])


def _operator_backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    weight, by_weight, by_bias, rows = ctx.saved_tensors
    by_x = by_y = None
    if ctx.by_row:
        by_x, by_y = row_gradients(upstream, rows, weight, *ctx.dtypes)
    return by_x, by_y, by_weight * upstream, by_bias * upstream, None, None, None


fused_step.register_autograd(_operator_backward, setup_context=_keep_for_operator)


def row_gradients(
    upstream: Tensor, rows: Tensor, weight: Tensor, x_dtype: torch.dtype, y_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """∂C/∂x = ∂C/∂z ⊗ w, (N, D), and ∂C/∂y, (N,), from what each row contributes to them."""
    by_z, by_y = rows * upstream
    return torch.outer(by_z, weight.to(by_z)).to(x_dtype), by_y.to(y_dtype)
