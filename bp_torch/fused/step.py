"""The fused step's front door: what is passed is held against what fits, and sent to its device."""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from bp_torch import checks
from bp_torch.formulas import COSTS, cost_and_prime

WIDE = {
    torch.float64: torch.float64,
    torch.float32: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}
"""The dtype to compute in, for each that x may have."""

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
    return _step(x, y, weight, bias, cost, sample_weight, None)


def cost_gradients_and_rows(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, cost: str, sample_weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`cost_and_gradients`, then ∂C/∂zᵢ and ∂C/∂yᵢ of every sample, as one tensor (2, N)."""
    require_fit(x, y, weight, bias, sample_weight)
    rows = torch.empty((2, len(y)), dtype=WIDE[x.dtype], device=x.device)
    step = _step(x, y, weight, bias, cost, sample_weight, rows)
    rows /= len(y) if sample_weight is None else sample_weight.sum(dtype=rows.dtype)
    return *step, rows


def _step(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    cost: str,
    sample_weight: Tensor | None,
    rows: Tensor | None,
) -> Step:
    if cost not in COSTS:
        cost_and_prime(cost)  # raises
    cross_entropy = cost == "cross-entropy"
    if _fits_as_it_is(x, y, weight, bias, sample_weight):
        return _backend(x).step(x, y, weight, bias, cross_entropy, None, rows)
    require_fit(x, y, weight, bias, sample_weight)
    with torch.no_grad():
        w, b = (tensor.to(WIDE[x.dtype]).contiguous() for tensor in (weight, bias))
        s = sample_weight if sample_weight is None else sample_weight.contiguous()
        value, by_weight, by_bias = _backend(x).step(
            x, y.contiguous(), w, b, cross_entropy, s, rows
        )
    return value, by_weight.to(weight.dtype), by_bias.to(bias.dtype)


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
    cost_and_prime(cost)
    require_fit(x, y, weight, bias, sample_weight)
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
        # In float32 where they have 16 bits, which lose small updates; rounded once, at the end.
        w, b = (tensor.to(WIDE[x.dtype]).contiguous() for tensor in (weight, bias))
        s = sample_weight if sample_weight is None else sample_weight.contiguous()
        # A large batch keeps all of the device busy by itself.
        features = x.shape[1]
        large = batch_size * max(features, _LEAST_WIDTH) > backend.LARGEST_BATCH
        large |= features > backend.WIDEST
        epoch = _epoch_of_steps if large else backend.sgd_epoch
        value: Tensor = epoch(
            x, y.contiguous(), w, b, learning_rate, batch_size, order, cost == "cross-entropy", s
        )
        for parameter, updated in ((weight, w), (bias, b)):
            if updated.data_ptr() != parameter.data_ptr():
                parameter.copy_(updated)
            elif not parameter.is_inference():
                torch.autograd.graph.increment_version(parameter)
    return value


def _epoch_of_steps(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    learning_rate: float,
    batch_size: int,
    order: Tensor | None,
    cross_entropy: bool,
    sample_weight: Tensor | None,
) -> Tensor:
    step = _backend(x).step
    everything: Sequence[Any] = [slice(i, i + batch_size) for i in range(0, len(x), batch_size)]
    batches = everything if order is None else order.split(batch_size)
    costs = []
    for chosen in batches:
        s = None if sample_weight is None else sample_weight[chosen]
        value, by_weight, by_bias = step(x[chosen], y[chosen], weight, bias, cross_entropy, s, None)
        weight -= learning_rate * by_weight
        bias -= learning_rate * by_bias
        costs.append(value)
    return torch.stack(costs).mean()


def _fits_as_it_is(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, sample_weight: Tensor | None
) -> bool:
    """Whether there is nothing to convert or refuse: a short cut for small batches."""
    if sample_weight is not None:
        return False
    try:
        samples, features = x.shape
        dtype = x.dtype
        return (
            samples > 0
            and features > 0
            and y.shape == (samples,)
            and weight.shape == (features,)
            and not bias.shape
            and (dtype is torch.float32 or dtype is torch.float64)
            and (y.dtype is dtype and weight.dtype is dtype and bias.dtype is dtype)
            and (
                (x.is_cpu and y.is_cpu and weight.is_cpu and bias.is_cpu)
                or (x.is_cuda and y.device == weight.device == bias.device == x.device)
            )
            and (x.stride(1) == 1 or features == 1)
            and y.is_contiguous()
            and weight.is_contiguous()
        )
    except (AttributeError, RuntimeError, ValueError):
        return False


def require_fit(
    x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, sample_weight: Tensor | None
) -> None:
    """Raise TypeError or ValueError unless these are samples and a neuron that go together."""
    others = {"y": y, "weight": weight, "bias": bias}
    if sample_weight is not None:
        others["sample_weight"] = sample_weight
    for name, tensor in {"x": x, **others}.items():
        checks.require_floating(name, tensor)
        if tensor.layout is not torch.strided:
            raise ValueError(
                f"{name} must be a dense tensor, got {tensor.layout}; pass {name}.to_dense()"
            )
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(
            f"x must have shape (N, D), at least one sample of at least one feature, got "
            f"{tuple(x.shape)}; a single sample is x[None, :] with y[None]"
        )
    if x.dtype not in WIDE:
        raise TypeError(f"x must be {_any_of(WIDE)}, got {x.dtype}; convert it, as in x.float()")
    if x.device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"x must be on a CPU or CUDA device, got {x.device}; move it, as in x.cpu()"
        )
    if x.shape[1] > 1 and x.stride(1) != 1:
        raise ValueError(
            f"the features of each row of x must lie next to each other in memory, got strides "
            f"{x.stride()}; pass x.contiguous(), which copies x once"
        )
    samples, features = x.shape
    shapes = {"y": (samples,), "weight": (features,), "bias": (), "sample_weight": (samples,)}
    for name, tensor in others.items():
        if tensor.shape != shapes[name]:
            raise ValueError(
                f"{name} must have shape {shapes[name]} beside x of shape {tuple(x.shape)}, got "
                f"{tuple(tensor.shape)}"
            )
        dtypes = dict.fromkeys((x.dtype, WIDE[x.dtype]))
        if name == "sample_weight":
            dtypes = dict.fromkeys((y.dtype,))
        if tensor.dtype not in dtypes:
            raise TypeError(
                f"{name} must be {_any_of(dtypes)} beside x in {x.dtype}, got {tensor.dtype}; "
                f"convert it, as in {name}.to({next(iter(dtypes))})"
            )
        if tensor.device != x.device:
            raise ValueError(
                f"{name} must be on {x.device} as x is, got {tensor.device}; "
                f"move it, as in {name}.to(x.device)"
            )


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


def _any_of(dtypes: Iterable[torch.dtype]) -> str:
    return " or ".join(str(dtype) for dtype in dtypes)


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
