"""One of several processes that train together: what a step and an all-reduce take it.

Started by torchrun, with the batch, the number of features and of steps; the first process prints
one line of JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
import torch.distributed as dist

import bp_torch as bp
from bp_torch.training.config import Config
from bp_torch.training.course import sharing_of
from bp_torch.training.data import Samples
from bp_torch.training.processes import launched, processes
from bp_torch.training.sharing import Shared

SIZES = (2**8, 2**12, 2**16, 2**20)
"""Bytes that are added up."""


def main(batch: int, features: int, repeats: int) -> None:
    """Measure and print."""
    with launched(torch.device("cpu")) as rank:
        together = processes()
        step = _step(batch, features)
        found = {
            "step": _seconds(step, repeats),
            "all_reduce": {size: _seconds(_all_reduce(size), repeats) for size in SIZES},
        }
        if rank == 0:
            print(json.dumps(found | {"processes": together.size}))


def _step(batch: int, features: int) -> Callable[[], object]:
    """The whole of a step: this process's part of the batch, the sum, and new weights."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, features, generator=generator)
    y = (x[:, 0] > 0).float()
    neuron = bp.Neuron(features)
    config = Config(batch_size=0, gradient="fused", cost="cross-entropy")
    sharing = sharing_of(config, neuron, Samples(x, y), processes(), config.rule)
    assert isinstance(sharing, Shared)
    block = sharing.block(0, 0)

    def step() -> None:
        _, found = sharing.gradient(block, 0, seen=False)
        assert found is not None
        sharing.steps(found[1])

    return step


def _all_reduce(size: int) -> Callable[[], object]:
    together, integers = processes(), np.ones(size // 8, np.int64)
    return lambda: together.add(integers.copy())


def _seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    found = []
    for _ in range(repeats):
        if dist.is_initialized():
            dist.barrier()
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return median(found)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
