"""What the user passed, held against what the mathematics expects: one clear line when it differs.

Most look at shape and dtype alone, so they cost next to nothing and may stand inside compiled or
vmapped code. `require_finite` and `require_unit_interval` read the values; they stand where data
enters, not in every step.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Set
from operator import index
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from bp_torch.dtypes import NAMES

Entry = TypeVar("Entry")

LARGEST_SIZE = 2**48
"""A number of features or neurons beyond it fits into no memory, and overflows torch's own sums."""


CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much memory a container may have, of which the machine may have far more: by
the second version of cgroups, and by the first."""


def describe(name: str, tensor: Tensor) -> str:
    """A tensor as error messages name it: "x, a torch.float32 tensor of shape (569, 30)"."""
    return f"{name}, a {tensor.dtype} tensor of shape {tuple(tensor.shape)}"


def any_of(dtypes: Iterable[torch.dtype]) -> str:
    """ "torch.float64 or torch.float32"."""
    return " or ".join(map(str, dict.fromkeys(dtypes)))


def require_one_of(what: str, name: str, known: Mapping[Any, Entry]) -> Entry:
    """The entry of that name; raises ValueError, with the names that there are, for another."""
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}; got {name!r}")
    return known[name]


def require_model(module: Any, kinds: Any) -> list[str]:
    """The names of its parameters, weight and bias of each layer in turn.

    Raises TypeError unless the module, as it stands, is one whose chain rule is written by hand: no
    class with a forward of its own, no hooks, and each layer with a weight and a bias for itself.
    """
    if not isinstance(module, kinds):
        if hasattr(module, "standardise"):
            raise TypeError(
                "a trained model takes raw features, and the chain rule is written for the neurons "
                "in it; use model.module on standardised ones, as in "
                "bp.backprop(model.module, model.standardise(x), y)"
            )
        raise TypeError(
            f"module must be a bp_torch.Neuron or Network, got {type(module).__name__}; "
            f"for other code differentiate with autograd"
        )
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    own = [getattr(layer, name, None) for layer in module.layers for name in ("weight", "bias")]
    plain = list(map(id, own)) == list(names) and not any(
        each._forward_hooks or each._forward_pre_hooks or not _is_ours(each.forward)
        for each in module.modules()
    )
    if not plain:
        raise TypeError(
            f"module must be a plain Neuron or Network, got a {type(module).__name__} with other "
            f"parameters, hooks, or a forward of its own; differentiate it with autograd"
        )
    return list(names.values())


def _is_ours(forward: Any) -> bool:
    """Whether a module's forward is this package's, or that of torch's list of modules."""
    return str(forward.__module__).partition(".")[0] in ("bp_torch", "torch")


def require_whole(what: str, value: Any, least: int, meaning: str = "") -> int:
    """The whole number; raises ValueError for what is none, or less than `least`."""
    explained = f" ({meaning})" if meaning else ""
    try:
        number = index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise ValueError(
            f"{what} must be a whole number of at least {least}{explained}, got {value!r}"
        )
    return number


def require_positive(what: str, value: Any, meaning: str) -> float:
    """The number; raises ValueError for what is none, or not positive and finite."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool | str) or not 0 < number < float("inf"):
        raise ValueError(f"{what} must be a positive number ({meaning}), got {value!r}")
    return number


def require_seed(seed: Any) -> int:
    """The seed; raises ValueError for one that torch's generators do not take."""
    number = require_whole("seed", seed, 0, "where random numbers begin")
    if number >= 2**64:
        raise ValueError(f"seed must be less than 2^64, got {number}; try 0")
    return number


def require_memory(what: str, needed: int, device: torch.device, remedy: str) -> None:
    """Raise ValueError where more bytes are needed than the device has at all."""
    if needed > (present := _memory(device)):
        raise ValueError(
            f"{what} would take some {-(-needed // 2**30):,} GiB of memory, and there are "
            f"{present // 2**30:,} GiB here; {remedy}"
        )


def _memory(device: torch.device) -> int:
    """All the bytes that this process may have, in use or not."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [sys.maxsize]
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in CONTAINER_LIMITS:
        if limit.is_file() and (text := limit.read_text().strip()).isdigit():  # else "max"
            limits.append(int(text))
    return min(limits)


def require_floating(name: str, tensor: Tensor) -> None:
    """Raise TypeError unless `tensor` is a dense one of a floating-point dtype that we know."""
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"{name} must be a floating-point tensor, got {type(tensor).__name__}; "
            f"pass torch.as_tensor({name}, dtype=torch.float32)"
        )
    if tensor.dtype not in NAMES:
        expected = any_of(NAMES) if tensor.is_floating_point() else "a floating-point tensor"
        raise TypeError(
            f"{name} must be {expected}, got {describe(name, tensor)}; "
            f"convert it, for instance {name}.to(torch.float32)"
        )
    if tensor.layout is not torch.strided:
        raise TypeError(
            f"{name} must be a dense tensor, got layout {tensor.layout}; pass {name}.to_dense()"
        )


def require_same_shape(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ValueError unless both shapes agree: broadcasting (N, 1) with (N,) would pair every
    sample with every other in silence."""
    if tensor.shape != other.shape:
        raise ValueError(
            f"{name} and {other_name} must have the same shape, got {tuple(tensor.shape)} and "
            f"{tuple(other.shape)}; reshape {other_name} to {tuple(tensor.shape)}"
        )


def require_samples(y_hat: Tensor, y: Tensor) -> int:
    """N, the number of samples, once outputs and targets have been found to fit each other."""
    require_floating("y_hat", y_hat)
    require_floating("y", y)
    require_same_shape("y_hat", y_hat, "y", y)
    if y_hat.numel() == 0:
        raise ValueError(
            f"the cost of no samples is undefined, got {describe('y_hat', y_hat)}; "
            f"pass at least one sample"
        )
    return y_hat.shape[0] if y_hat.ndim else 1


def require_features(x: Tensor, weight: Tensor) -> None:
    """Raise TypeError or ValueError unless x has a column per feature, in the weight's dtype."""
    require_floating("x", x)
    features = weight.shape[-1]
    if x.ndim == 0 or x.shape[-1] != features:
        raise ValueError(
            f"x must have shape (…, {features}), one column per feature, got {tuple(x.shape)}"
        )
    # Autocast brings both to one type by itself, but for float64.
    if x.dtype != weight.dtype and (
        x.dtype == torch.float64 or not torch.is_autocast_enabled(x.device.type)
    ):
        raise TypeError(
            f"x must be {weight.dtype} as the weight is, got {x.dtype}; "
            f"convert one of them, for instance x.to({weight.dtype})"
        )


def require_batch(x: Tensor, y: Tensor, bias: Tensor) -> None:
    """Raise TypeError or ValueError unless x and y are samples and targets to learn from, for an
    output layer with that bias."""
    require_floating("x", x)
    require_floating("y", y)
    if x.ndim != 2:
        raise ValueError(
            f"x must have shape (N, D), one row per sample, got {tuple(x.shape)}; "
            f"a single sample is x[None, :] with y[None]"
        )
    expected = (x.shape[0], *bias.shape)
    if y.shape != expected:
        raise ValueError(f"y must have shape {expected}, one row per sample, got {tuple(y.shape)}")
    if y.dtype != bias.dtype:
        raise TypeError(
            f"y must be {bias.dtype} as the module is, got {y.dtype}; pass y.to({bias.dtype})"
        )
    if x.is_meta or y.is_meta:
        raise ValueError("x and y must hold numbers, got tensors on the meta device")
    require_finite("x", x)
    require_unit_interval("y", y)


def require_layer(
    in_features: int, out_features: int | None, dtype: torch.dtype | None
) -> tuple[int, ...]:
    """The shape of a layer's weight, (K, D) or (D,); raises ValueError for a size that is none, and
    TypeError for a dtype that has no gradients."""
    sizes = (in_features,) if out_features is None else (out_features, in_features)
    shape = tuple(require_whole("the number of features or neurons", size, 1) for size in sizes)
    if max(shape) > LARGEST_SIZE:
        raise ValueError(
            f"the number of features or neurons must fit into memory, got {max(shape):.3g}"
        )
    if dtype is not None and dtype not in NAMES:
        raise TypeError(f"dtype must be {any_of(NAMES)}, got {dtype!r}")
    return shape


def require_layers(sizes: Iterable[int]) -> list[int]:
    """The sizes of a network; raises ValueError where there are not two at least."""
    try:
        given = [] if isinstance(sizes, Set | Mapping) else list(sizes)  # which have no order
    except TypeError:
        given = []
    if len(given) < 2 or None in given:
        raise ValueError(
            f"sizes must name the features and at least one layer, as [30, 1]; got {sizes!r}"
        )
    return given


def require_finite(name: str, tensor: Tensor) -> None:
    """Raise ValueError if `tensor` holds NaN or an infinity; the message names the first place."""
    finite = tensor.isfinite()
    if not finite.all():
        place = tuple((~finite).nonzero()[0].tolist())
        raise ValueError(
            f"{name} must be finite, got {tensor[place].item()} at index {place}; "
            f"drop or fill such values first"
        )


def require_unit_interval(name: str, tensor: Tensor) -> None:
    """Raise ValueError if a value lies outside [0, 1], where a sigmoid can never reach it."""
    require_finite(name, tensor)
    outside = (tensor < 0) | (tensor > 1)
    if outside.any():
        place = tuple(outside.nonzero()[0].tolist())
        raise ValueError(
            f"{name} must lie in [0, 1], as a sigmoid's output does, got {tensor[place].item():g} "
            f"at index {place}; rescale the targets"
        )
