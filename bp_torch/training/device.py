"""Where a run computes."""

from typing import Literal

import torch

from bp_torch import checks

DeviceName = Literal["auto", "cpu", "cuda"]


def resolve_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for on this machine.

    Raises ValueError for another word, and for "cuda" where there is none.
    """
    has_cuda = torch.cuda.is_available()
    fastest = "cuda" if has_cuda else "cpu"
    device = checks.require_one_of("device", name, {"auto": fastest, "cpu": "cpu", "cuda": "cuda"})
    if device == "cuda" and not has_cuda:
        raise ValueError(
            "device cuda was asked for, but torch finds no CUDA device here; "
            "use cpu or auto, or install a CUDA build of torch"
        )
    return torch.device(device)
