"""What a function costs: the time of its forward and backward passes, what it keeps for backward,
and the memory that it takes at most."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.autograd.profiler import profile
from torch.utils._pytree import tree_leaves

from bp_torch.judge.graph import nodes
from bp_torch.judge.passes import Function, Point, differentiate, outputs_of

SECONDS = 0.2
"""For which each function is timed, where that is enough for so many runs."""

FEWEST, MOST = 5, 200
"""Runs of which the median is taken."""


@dataclass(frozen=True)
class Cost:
    """Of one call and its backward pass, at the inputs as given."""

    forward: float
    """Seconds, median; handing over the arguments takes some microseconds of it."""
    backward: float
    """Seconds, median."""
    saved: int
    """Bytes that the graph keeps for backward besides the inputs, those that ctx holds among
    them."""
    peak: int
    """Bytes allocated at a time at most, by torch, besides the inputs and the upstream gradient."""


def costs(point: Point, *functions: Function) -> list[Cost]:
    """What each of them costs at one point; taken in turns, so that all see the same machine."""
    runs = [_Run(point.of(function)) for function in functions]
    for run in runs:
        run.once()
    times: list[list[tuple[float, float]]] = [[] for _ in runs]
    started = time.perf_counter()
    while len(times[0]) < MOST and (
        len(times[0]) < FEWEST or time.perf_counter() - started < SECONDS * len(runs)
    ):
        for run, taken in zip(runs, times, strict=True):
            taken.append(run.once())
    return [
        Cost(
            forward=median(forward for forward, _ in taken),
            backward=median(backward for _, backward in taken),
            saved=run.saved(),
            peak=run.peak(),
        )
        for run, taken in zip(runs, times, strict=True)
    ]


class _Run:
    """One function at one point, run again and again."""

    def __init__(self, point: Point) -> None:
        self.point, self.leaves = point, point.leaves()
        self.device = self.leaves[0].device

    def once(self) -> tuple[float, float]:
        """Seconds of the forward and of the backward pass."""
        begun = self._now()
        outputs = outputs_of(self.point, *self.leaves)
        between = self._now()
        differentiate(outputs, self.point.upstream, self.leaves)
        return between - begun, self._now() - between

    def saved(self) -> int:
        """Bytes of the storages that the graph holds."""
        packed: list[Tensor] = []

        def pack(tensor: Tensor) -> Tensor:
            packed.append(tensor)
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs = outputs_of(self.point, *self.leaves)
        # The node of a Function written in Python is the ctx that its forward was given.
        held = tree_leaves([getattr(node, "__dict__", {}) for node in nodes(outputs)])
        tensors = [*packed, *(each for each in held if isinstance(each, Tensor))]
        given = _storages(self.point.inputs.values())
        return sum(size for at, size in _storages(tensors).items() if at not in given)

    def peak(self) -> int:
        """The most bytes that were allocated at a time."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            self.once()
            return torch.cuda.max_memory_allocated(self.device) - before
        with _quiet_profiler(), profile(profile_memory=True) as profiled:
            self.once()
        records = [e for e in profiled.kineto_results.events() if e.name() == "[memory]"]
        now = most = 0
        for record in sorted(records, key=lambda record: record.start_ns()):
            now += record.nbytes()
            most = max(most, now)
        return most

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Bytes of each memory block that these tensors lie in, by its address."""
    blocks = [tensor.untyped_storage() for tensor in tensors]
    return {block.data_ptr(): block.nbytes() for block in blocks}


@contextmanager
def _quiet_profiler() -> Iterator[None]:
    """Without the lines that torch's profiler writes to standard error as it starts."""
    name = "KINETO_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ[name] = before or "99"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
