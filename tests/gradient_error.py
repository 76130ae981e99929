"""How far two sets of gradients are apart."""

import torch


def error_in_eps(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference, in rounding units of the largest entry of the same gradient."""

    def error(a, b):
        return ((a - b).abs().max() / b.abs().max() / torch.finfo(b.dtype).eps).item()

    assert one.keys() == other.keys()
    return max(error(one[name], other[name]) for name in one)
