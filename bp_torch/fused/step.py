"""The fused step and the fused epoch, sent to the device where the data are."""

import math
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from bp_torch import checks
from bp_torch.fused.inputs import Inputs, inputs_of

Step = tuple[Tensor, Tensor, Tensor]
"""C, ∂C/∂w and ∂C/∂b."""

_LEAST_WIDTH = 64  # narrower rows count as this many numbers: a row has a price of its own


def cost_and_gradients(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    cost: str = "quadratic",
    *,
    sample_weight: Tensor | None = None,
) -> Step:
    """A neuron's cost and its gradients, for one read of the data.

        C = 1/N Σᵢ sᵢ c(ŷᵢ, yᵢ) ,   ŷ = σ(z) ,   z = xw + b ,   N = Σᵢ sᵢ
        ∂C/∂w = 1/N Σᵢ sᵢ δᵢ xᵢ ,   ∂C/∂b = 1/N Σᵢ sᵢ δᵢ ,   δ = ∂c/∂z

    c is ½(ŷ − y)² or the cross-entropy. Both are computed from z: σ′ as by
    `sigmoid(z, "accurate")`, the cross-entropy as ln(1 + e^{−|z|}) + |z| (y or 1 − y). Nothing is
    lost where ŷ rounds to 1, and the bounds of `cross_entropy_cost` are not needed.

    Args:
        x: samples, (N, D), the features of a row next to each other in memory; float64, float32,
            bfloat16 or float16, the last two computed in float32.
        y: targets in [0, 1], (N,); dtype of x, or float32 where x has 16 bits.
        weight, bias: (D,) and (); dtype of x, or float32 where x has 16 bits.
        cost: "quadratic" or "cross-entropy".
        sample_weight: sᵢ ≥ 0 and not all 0, (N,), dtype of y: 2 counts a sample twice. None: 1
            for each.

    Returns:
        C, in the dtype that was computed in; ∂C/∂w and ∂C/∂b, in the dtypes of w and b. They belong
        to no graph; `fused_cost` is differentiable. Values are not looked at: NaN in x gives NaN.
        The same bits for any number of threads.

    Raises:
        TypeError: something is not a floating-point tensor, or dtypes that do not fit.
        ValueError: shapes or devices that do not fit, no sample, no feature, features of a row
            apart from each other, an unknown cost.
    """
    if torch.compiler.is_compiling():  # see operator.py
        with torch.no_grad():
            results = torch.ops.bp_torch.fused_step(x, y, weight, bias, cost, sample_weight, False)
        return results[:3]
    inputs = inputs_of(x, y, weight, bias, cost, sample_weight)
    step: Step = _backend(x).step(inputs, None)
    as_it_is = inputs.weight is weight and inputs.bias is bias
    return step if as_it_is else _in_dtypes_of(weight, bias, step)


def cost_gradients_and_rows(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, cost: str, sample_weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`cost_and_gradients`, then ∂C/∂zᵢ and ∂C/∂yᵢ of every sample, as one tensor (2, N)."""
    inputs = inputs_of(x, y, weight, bias, cost, sample_weight)
    rows = inputs.weight.new_empty(2, len(y))
    step = _backend(x).step(inputs, rows)
    rows /= len(y) if sample_weight is None else sample_weight.sum(dtype=rows.dtype)
    return *_in_dtypes_of(weight, bias, step), rows


def _in_dtypes_of(weight: Tensor, bias: Tensor, step: Step) -> Step:
    cost, by_weight, by_bias = step
    return cost, by_weight.to(weight.dtype), by_bias.to(bias.dtype)


def sgd_epoch(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    learning_rate: float,
    batch_size: int,
    order: Tensor | None = None,
    cost: str = "quadratic",
    *,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """One epoch of mini-batch gradient descent, in one call.

        w ← w − ν ∂C/∂w ,   b ← b − ν ∂C/∂b    for each batch, with the gradients of that batch

    as a loop over `cost_and_gradients` would, to within rounding.

    Args:
        x, y, weight, bias, cost, sample_weight: as for `cost_and_gradients`; weight and bias are
            changed in place. In a batch N is the sum of that batch's sample weights.
        learning_rate: ν.
        batch_size: samples per step; the last batch may be smaller. Small batches run in one
            thread; large ones are a step each, in all threads, and copied first if in an `order`.
        order: the samples' indices in the order in which they are used, (any number,), int64 and on
            the device of x; None: as they lie, which reads memory faster.

    Returns:
        The mean of the steps' costs, each before its update.

    Raises:
        TypeError, ValueError: as `cost_and_gradients`; and for a batch size below 1, an order that
            is not int64 or holds an index outside 0 … N − 1. Nothing has been changed then.
    """
    inputs = inputs_of(x, y, weight, bias, cost, sample_weight)
    _require_order(order, x)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            f"batch size must be a whole number of at least 1 (samples per step), got {batch_size}"
        )
    if not math.isfinite(learning_rate):
        raise ValueError(f"learning rate must be a finite number, got {learning_rate}")
    learning_rate = float(learning_rate)
    backend = _backend(x)
    with torch.no_grad():
        # A large batch keeps all of the device busy by itself.
        features = x.shape[1]
        large = batch_size * max(features, _LEAST_WIDTH) > backend.LARGEST_BATCH
        epoch = _epoch_of_steps if large or features > backend.WIDEST else backend.sgd_epoch
        value: Tensor = epoch(inputs, learning_rate, batch_size, order)
        # Converted ones, in float32 for 16 bits that would lose small updates, are rounded once.
        for parameter, updated in ((weight, inputs.weight), (bias, inputs.bias)):
            if updated.data_ptr() != parameter.data_ptr():
                parameter.copy_(updated)
            elif not parameter.is_inference():
                torch.autograd.graph.increment_version(parameter)
    return value


def _epoch_of_steps(
    inputs: Inputs, learning_rate: float, batch_size: int, order: Tensor | None
) -> Tensor:
    x, y, weight, bias, cross_entropy, sample_weight = inputs
    one_after_another = [slice(i, i + batch_size) for i in range(0, len(x), batch_size)]
    batches: Sequence[Any] = one_after_another if order is None else order.split(batch_size)
    costs = []
    for rows in batches:
        s = None if sample_weight is None else sample_weight[rows]
        batch = Inputs(x[rows], y[rows], weight, bias, cross_entropy, s)
        value, by_weight, by_bias = _backend(x).step(batch, None)
        weight -= learning_rate * by_weight
        bias -= learning_rate * by_bias
        costs.append(value)
    return torch.stack(costs).mean()


def _require_order(order: Tensor | None, x: Tensor) -> None:
    if order is None:
        return
    if not isinstance(order, Tensor) or order.dtype != torch.int64 or order.ndim != 1:
        got = checks.describe("order", order) if isinstance(order, Tensor) else type(order).__name__
        raise TypeError(
            f"order must be indices of samples, a torch.int64 tensor of one axis, got {got}; "
            f"for a random order pass torch.randperm({len(x)})"
        )
    if order.device != x.device:
        raise ValueError(f"order must be on {x.device} as x is, got {order.device}")
    if order.numel() == 0:
        raise ValueError("order must name at least one sample, got none")
    lowest, highest = order.aminmax()
    if lowest < 0 or highest >= len(x):
        wrong = int(lowest if lowest < 0 else highest)
        raise ValueError(f"order must hold indices from 0 to {len(x) - 1}, got {wrong}")


def _backend(x: Tensor) -> Any:
    """The module that has `step` and `sgd_epoch` for the device of x."""
    return _module("cpu" if x.is_cpu else "cuda")


@cache
def _module(device: str) -> Any:
    # Numba and Triton take a while to load: only when they are used.
    needed = {"cpu": "numba", "cuda": "triton"}[device]
    if find_spec(needed) is None:
        raise ModuleNotFoundError(
            f"fused steps on {device} need {needed}, which is not installed; pip install {needed}"
        )
    return import_module(f"bp_torch.fused.{device}")
