"""What a fused step is given: held against what fits, and converted where it has to be."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from bp_torch import checks, quirks
from bp_torch.dtypes import WIDE

CROSS_ENTROPY = "cross-entropy"
COSTS = ("quadratic", CROSS_ENTROPY)
"""The costs that the kernels know."""


_PLAIN = frozenset((Tensor, Parameter))
"""Types whose numbers are what lies in memory; another may mean by that what it likes."""


class Inputs(NamedTuple):
    """A neuron and its samples."""

    x: Tensor
    y: Tensor
    weight: Tensor
    bias: Tensor
    cost: str
    sample_weight: Tensor | None

    def tensors(self) -> dict[str, Tensor]:
        """By name, the sample weights if there are any."""
        tensors = {"x": self.x, "y": self.y, "weight": self.weight, "bias": self.bias}
        if self.sample_weight is not None:
            tensors["sample_weight"] = self.sample_weight
        return tensors


class Rule(NamedTuple):
    """What makes a step of a gradient, beyond w ← w − ν ∂C/∂w."""

    momentum: float
    l2: float
    l1: float
    velocity: Tensor
    """(D + 1,), of the weights and then of the bias; changed in place."""


def fitted(given: Inputs) -> Inputs:
    """The inputs as the kernels take them: numbers in memory on one device, all but x contiguous,
    weight and bias in the dtype to compute in. The same object where nothing had to be changed.

    Errors as of `cost_and_gradients`.
    """
    inputs = given if _fit_as_they_are(given) else _converted(given)
    if inputs.sample_weight is not None:
        _require_weights(inputs.sample_weight)
    return inputs


def _fit_as_they_are(given: Inputs) -> bool:
    """Whether there is nothing to convert or refuse: a short cut for small batches."""
    x, y, weight, bias, cost, sample_weight = given
    try:
        samples, features = x.shape
        dtype = x.dtype
        return (
            cost in COSTS
            and (type(x) is Tensor and type(y) is Tensor)
            and (type(weight) in _PLAIN and type(bias) in _PLAIN)
            and samples > 0
            and features > 0
            and y.shape == (samples,)
            and weight.shape == (features,)
            and not bias.shape
            and WIDE.get(dtype) is dtype
            and (y.dtype is dtype and weight.dtype is dtype and bias.dtype is dtype)
            and (
                (x.is_cpu and y.is_cpu and weight.is_cpu and bias.is_cpu)
                or _are_on_one_gpu(x, y, weight, bias)
            )
            and (x.is_contiguous() or x.stride(1) == 1)
            and y.is_contiguous()
            and weight.is_contiguous()
            and not (x.is_neg() or y.is_neg() or weight.is_neg() or bias.is_neg())
            and (sample_weight is None or _is_like(sample_weight, y))
        )
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return False


def _is_like(sample_weight: Tensor, y: Tensor) -> bool:
    return (
        sample_weight.shape == y.shape
        and sample_weight.dtype is y.dtype
        and sample_weight.device == y.device
        and sample_weight.is_contiguous()
        and not sample_weight.is_neg()
    )


def _are_on_one_gpu(*tensors: Tensor) -> bool:
    plain = all(quirks.is_plain(tensor, "cuda") for tensor in tensors)
    return plain and len({tensor.device for tensor in tensors}) == 1


def _converted(given: Inputs) -> Inputs:
    """What had to be changed, changed; what cannot be is refused."""
    checks.require_one_of("cost", given.cost, dict.fromkeys(COSTS))
    tensors = given.tensors()
    for name, tensor in tensors.items():
        checks.require_floating(name, tensor)
    _require_one_device(tensors)
    with torch.no_grad():
        x, y, weight, bias, *weights = (tensor.resolve_neg() for tensor in tensors.values())
        given = Inputs(x, y, weight, bias, given.cost, weights[0] if weights else None)
        require_memory(given.tensors())
        _require_fit(given)
        weight, bias = (tensor.to(WIDE[x.dtype]).contiguous() for tensor in (weight, bias))
        sample_weight = weights[0].contiguous() if weights else None
        return Inputs(x, y.contiguous(), weight, bias, given.cost, sample_weight)


def _require_one_device(tensors: Mapping[str, Tensor]) -> None:
    device = tensors["x"].device
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"x must be on a CPU or CUDA device, got {device}; move it, as in x.cpu()")
    for name, tensor in tensors.items():
        if tensor.device != device:
            raise ValueError(
                f"{name} must be on {device} as x is, got {tensor.device}; "
                f"move it, as in {name}.to(x.device)"
            )


def require_memory(tensors: Mapping[str, Tensor]) -> None:
    """Raise where there are no numbers at a tensor's address for a kernel to read."""
    for name, tensor in tensors.items():
        if not quirks.is_plain(tensor, tensor.device.type):
            if quirks.transformed():
                raise RuntimeError(
                    "a fused step cannot be taken under a transform of torch.func, as torch.vmap; "
                    "use quadratic_cost or cross_entropy_cost of sigmoid(x @ weight + bias)"
                )
            raise TypeError(
                f"{name} must be a tensor whose numbers lie in memory, got one that torch keeps in "
                f"another way; where it is merely lazy, {name}.clone() computes it"
            )
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        end = tensor.storage_offset() + sum((n - 1) * stride for n, stride in steps) + 1
        if tensor.numel() and end * tensor.itemsize > tensor.untyped_storage().nbytes():
            raise ValueError(
                f"{name} must be a tensor whose numbers lie in memory, and its storage was freed"
            )


def _require_fit(inputs: Inputs) -> None:
    """Raise TypeError or ValueError unless shapes, strides and dtypes go together."""
    x, y = inputs.x, inputs.y
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(
            f"x must have shape (N, D), at least one sample of at least one feature, got "
            f"{tuple(x.shape)}; a single sample is x[None, :] with y[None]"
        )
    if x.shape[1] > 1 and x.stride(1) != 1:
        raise ValueError(
            f"the features of each row of x must lie next to each other in memory, got strides "
            f"{x.stride()}; pass x.contiguous(), which copies x once"
        )
    samples, features = x.shape
    shapes = {"y": (samples,), "weight": (features,), "bias": (), "sample_weight": (samples,)}
    for name, tensor in inputs.tensors().items():
        shape = shapes.get(name, x.shape)
        if tensor.shape != shape:
            raise ValueError(
                f"{name} must have shape {shape} beside x of shape {tuple(x.shape)}, got "
                f"{tuple(tensor.shape)}"
            )
        dtypes = (y.dtype,) if name == "sample_weight" else (x.dtype, WIDE[x.dtype])
        if tensor.dtype not in dtypes:
            raise TypeError(
                f"{name} must be {checks.any_of(dtypes)} beside x in {x.dtype}, got "
                f"{tensor.dtype}; convert it, as in {name}.to({dtypes[0]})"
            )


WEIGHTS_BETWEEN = {torch.float32: (1e-30, 1e30), torch.float64: (1e-290, 1e290)}
"""By the dtype that a step computes in: neither a sum of 10⁸ weights nor its inverse overflows."""


def _require_weights(sample_weight: Tensor) -> None:
    """Raise ValueError unless sᵢ ≥ 0, finite, and not all 0: C would be 0/0.

    That reads them, for which a CUDA device has to be waited for; where the call is being captured
    in a graph nobody can wait, and they are not looked at.
    """
    require_memory({"sample_weight": sample_weight})
    if sample_weight.is_cuda and torch.cuda.is_current_stream_capturing():
        return
    least, most = (bound.item() for bound in sample_weight.aminmax())  # NaN where there is one
    if not (least >= 0 and most < torch.inf):
        place = int((~(sample_weight.isfinite() & (sample_weight >= 0))).nonzero()[0])
        raise ValueError(
            f"sample_weight must be finite and not negative, got {sample_weight[place].item():g} "
            f"at index {place}; 0 leaves a sample out"
        )
    if most == 0:
        raise ValueError(
            "sample_weight must be positive for at least one sample, got 0 for all of them"
        )
    smallest, largest = WEIGHTS_BETWEEN[WIDE[sample_weight.dtype]]
    if least < smallest:
        least = sample_weight.masked_fill(sample_weight == 0, torch.inf).amin().item()
    if not (least >= smallest and most <= largest):
        raise ValueError(
            f"sample_weight must be 0 or from {smallest:g} to {largest:g}, so that they can be "
            f"added, got {least:g} to {most:g}; divide them by their mean"
        )
