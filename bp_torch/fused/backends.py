"""Which module does the work: one for each kind of device, loaded where it is first used."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torch import Tensor


def backend_of(x: Tensor) -> Any:
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
    if device == "cpu":
        import_module("bp_torch.fused.compiled").require_compiler()
    return import_module(f"bp_torch.fused.{device}")
