"""What the user passed, held against what the mathematics expects: one clear line when it differs.

`describe`, `require_floating` and `require_same_shape` look at shape and dtype alone, so they cost
next to nothing and may stand inside compiled or vmapped code. `require_finite` and
`require_unit_interval` read the values; they stand where data enters, not in every step.
"""

from torch import Tensor


def describe(name: str, tensor: Tensor) -> str:
    """A tensor as error messages name it: "x, a torch.float32 tensor of shape (569, 30)"."""
    return f"{name}, a {tensor.dtype} tensor of shape {tuple(tensor.shape)}"


def require_floating(name: str, tensor: Tensor) -> None:
    """Raise TypeError unless `tensor` holds real floating-point numbers."""
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"{name} must be a floating-point tensor, got {type(tensor).__name__}; "
            f"pass torch.as_tensor({name}, dtype=torch.float32)"
        )
    if not tensor.is_floating_point():
        raise TypeError(
            f"{name} must be a floating-point tensor, got {describe(name, tensor)}; "
            f"convert it, for instance {name}.to(torch.float32)"
        )


def require_same_shape(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ValueError unless both shapes agree: broadcasting (N, 1) with (N,) would pair every
    sample with every other in silence."""
    if tensor.shape != other.shape:
        raise ValueError(
            f"{name} and {other_name} must have the same shape, got {tuple(tensor.shape)} and "
            f"{tuple(other.shape)}; reshape {other_name} to {tuple(tensor.shape)}"
        )


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
