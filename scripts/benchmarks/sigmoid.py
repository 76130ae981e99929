"""Both forms of σ′ against torch.sigmoid: forward and backward, eager and compiled."""

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

import bp_torch as bp
from benchmarks.benchmark import Benchmark, Options
from benchmarks.measure import interleave, ratios, timed
from benchmarks.report import Report, figure

Sigmoid = Callable[[Tensor], Tensor]

ELEMENTS = 10_000_000
PEER = "torch.sigmoid"
SIGMOIDS: dict[str, Sigmoid] = {
    PEER: lambda z: torch.sigmoid(z),
    '"textbook"': lambda z: bp.sigmoid(z, "textbook"),
    '"accurate"': lambda z: bp.sigmoid(z, "accurate"),
    "float64 and back": lambda z: -z.double().neg().float(),  # what conversion costs by itself
}
MODES: dict[str, Callable[[Sigmoid], Sigmoid]] = {
    "eager": lambda function: function,
    "compiled": lambda function: torch.compile(function, fullgraph=True),
}


def run(report: Report, options: Options) -> None:
    """float32; the peer of each mode is torch.sigmoid in that mode."""
    z = torch.randn(10_000 if options.quick else ELEMENTS).requires_grad_()
    upstream = torch.randn_like(z)
    functions = {
        (name, mode): in_mode(function)
        for mode, in_mode in MODES.items()
        for name, function in SIGMOIDS.items()
    }
    timers = {
        (name, mode): timed(partial(_there_and_back, function, z, upstream))
        for (name, mode), function in functions.items()
    }
    seconds = interleave(timers, options.rounds)
    cells = {}
    for (name, mode), values in seconds.items():
        times = ratios(values, seconds[PEER, mode])
        kept = _saved_bytes(functions[name, mode], z) / _saved_bytes(functions[PEER, mode], z)
        beside = {f"times {PEER}'s": times}
        note = f"{figure(kept)} times the memory kept for backward"
        report.row(f"{name}, {mode}", values, "ms", beside, note)
        cells[name, mode] = figure(median(times)), figure(kept)
    report.table(
        (f"times {PEER}'s", *MODES, *(f"memory kept for backward, {mode}" for mode in MODES)),
        [
            (name, *(cells[name, mode][i] for i in range(2) for mode in MODES))
            for name in SIGMOIDS
            if name != PEER
        ],
    )


def _there_and_back(function: Sigmoid, z: Tensor, upstream: Tensor) -> None:
    torch.autograd.grad(function(z), z, upstream)


def _saved_bytes(function: Sigmoid, z: Tensor) -> int:
    """What the graph keeps for the backward pass, the input included."""
    sizes: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function(z)
    return sum(sizes)


BENCHMARK = Benchmark(
    about="both forms of σ′ against torch.sigmoid, eager and compiled",
    takes="10 seconds",
    run=run,
)
