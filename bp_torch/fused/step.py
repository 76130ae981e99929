"""The fused step: cost and gradients, sent to the device where the data are."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bp_torch import quirks
from bp_torch.fused import backends
from bp_torch.fused.inputs import Inputs, fitted

Step = tuple[Tensor, Tensor, Tensor]
"""C, ∂C/∂w and ∂C/∂b."""


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
        to no graph; `fused_cost` is differentiable. The values of x and y are not looked at: NaN in
        x gives NaN. Those of sample_weight are, for which a CUDA device is waited for; not while a
        CUDA graph is captured. The same bits for any number of threads.

    Raises:
        TypeError: something is not a floating-point tensor whose numbers lie in memory, or dtypes
            that do not fit.
        ValueError: shapes or devices that do not fit, no sample, no feature, features of a row
            apart from each other, an unknown cost, or a sample weight that is negative or not
            finite, or all of them 0.
        RuntimeError: under a transform of torch.func; or where Numba may not compile.
    """
    given = Inputs(x, y, weight, bias, cost, sample_weight)
    if quirks.traced():
        with torch.no_grad():
            results = torch.ops.bp_torch.fused_step(*given, False)  # see autograd.py
        return results[:3]
    return step(given)


def chunk_sums(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    cost: str = "quadratic",
    *,
    sample_weight: Tensor | None = None,
) -> NDArray[np.float64]:
    """What `cost_and_gradients` on a CPU adds up, before it does: of every `rows_per_chunk(D)` rows

        Σ sᵢ δᵢ xᵢ (D), Σ sᵢ δᵢ , Σ sᵢ c(ŷᵢ, yᵢ) , Σ sᵢ        as one row of (chunks, D + 3)

    Arguments and errors as there.
    """
    given = fitted(Inputs(x, y, weight, bias, cost, sample_weight))
    sums: NDArray[np.float64] = backends.backend_of(given.x).chunk_sums(given)
    return sums


def step(given: Inputs) -> Step:
    """The same, outside of any trace."""
    inputs = fitted(given)
    results: Step = backends.backend_of(inputs.x).step(inputs, None)
    return results if inputs is given else _in_dtypes_of(given, results)


def step_with_rows(given: Inputs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`step`, then ∂C/∂zᵢ and ∂C/∂yᵢ of every sample, as one tensor (2, N)."""
    inputs = fitted(given)
    x, sample_weight = inputs.x, inputs.sample_weight
    rows = inputs.weight.new_empty(2, len(x))
    results: Step = backends.backend_of(x).step(inputs, rows)
    rows /= len(x) if sample_weight is None else sample_weight.sum(dtype=rows.dtype)
    return *_in_dtypes_of(given, results), rows


def _in_dtypes_of(given: Inputs, results: Step) -> Step:
    cost, by_weight, by_bias = results
    return cost, by_weight.to(given.weight.dtype), by_bias.to(given.bias.dtype)
