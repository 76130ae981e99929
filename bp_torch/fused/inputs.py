"""What a fused step is given: held against what fits, and converted where it has to be."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from bp_torch import checks
from bp_torch.costs import COSTS
from bp_torch.dtypes import WIDE


class Inputs(NamedTuple):
    """A neuron and its samples, as the kernels take them: on one device, all but x contiguous,
    weight and bias in the dtype to compute in."""

    x: Tensor
    y: Tensor
    weight: Tensor
    bias: Tensor
    cross_entropy: bool
    sample_weight: Tensor | None


def inputs_of(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    cost: str,
    sample_weight: Tensor | None,
) -> Inputs:
    """What was passed, converted where necessary; errors as of `cost_and_gradients`."""
    if cost not in COSTS:
        checks.require_one_of("cost", cost, COSTS)  # raises
    cross_entropy = cost == "cross-entropy"
    if sample_weight is None and _fit_as_they_are(x, y, weight, bias):
        return Inputs(x, y, weight, bias, cross_entropy, None)
    _require_fit(x, y, weight, bias, sample_weight)
    with torch.no_grad():
        w, b = (tensor.to(WIDE[x.dtype]).contiguous() for tensor in (weight, bias))
        s = sample_weight if sample_weight is None else sample_weight.contiguous()
        return Inputs(x, y.contiguous(), w, b, cross_entropy, s)


def _fit_as_they_are(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> bool:
    """Whether there is nothing to convert or refuse: a short cut for small batches."""
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


def _require_fit(
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


def _any_of(dtypes: Iterable[torch.dtype]) -> str:
    return " or ".join(str(dtype) for dtype in dtypes)
