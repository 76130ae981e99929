"""The floor that every step stands on: reading x once."""

import torch

from benchmarks.data import Data
from benchmarks.measure import Timer, Work, timed


def passes(data: Data) -> dict[str, Timer]:
    """Ways to read x once; the fastest of them is one pass."""
    x, y, weight = data.x, data.y, data.weight.detach()
    device = x.device.type
    flat = x.flatten()
    ways: dict[str, Work] = {
        "x.sum()": lambda: x.sum(),
        "x.amax()": lambda: x.amax(),
        "torch.dot(x, x)": lambda: torch.dot(flat, flat),
        "torch.mv(x, w)": lambda: torch.mv(x, weight),
        "torch.mv(xᵀ, y)": lambda: torch.mv(x.T, y),
    }
    timers = {name: timed(way, device) for name, way in ways.items()}
    if device == "cuda":  # a copy reads and writes as much; on a CPU writing costs more than that
        target = torch.empty_like(x)
        copy = timed(lambda: target.copy_(x), device)
        timers["x at half of a copy's time"] = lambda: copy() / 2
    return timers
