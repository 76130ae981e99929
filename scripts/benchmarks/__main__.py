"""How long things take, as ratios within one run: machines differ and are noisy, ratios less so.

    python scripts/benchmarks step      a fused step on much data, against one pass and peers
    python scripts/benchmarks small     the same on a batch of 32 × 30
    python scripts/benchmarks epoch     an epoch of mini-batches in one call
    python scripts/benchmarks scale     cost against N, D and threads, with a figure
    python scripts/benchmarks import    importing bp_torch against importing torch alone
    python scripts/benchmarks train     what looking costs, and the four ways to a gradient
    python scripts/benchmarks compare   proving a pointwise gradient of a million elements
    python scripts/benchmarks sigmoid   both forms of σ′ against torch.sigmoid, eager and compiled

Every figure is the median over interleaved rounds; beside it stand the smallest and the largest.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fused_speed
import torch
from measure import Report, interleave
from torch import Tensor

import bp_torch as bp
from bp_torch.training.config import Config
from bp_torch.training.gradients import GRADIENTS
from bp_torch.training.loop import run


def benchmark_import(report: Report, rounds: int, device: str) -> None:
    """Whole processes, so that the interpreter's start is in both."""

    def process(module: str) -> Callable[[], float]:
        def run() -> float:
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
            return time.perf_counter() - started

        return run

    seconds = interleave({name: process(name) for name in ("torch", "bp_torch")}, rounds)
    extra = [b - a for a, b in zip(seconds["torch"], seconds["bp_torch"], strict=True)]
    for name, values in seconds.items():
        report.row(f"import {name}", values, "s")
    report.row("import bp_torch less import torch", extra, "ms", 1e3)
    report.bar("bar", 1e3 * statistics.median(extra), 50, "ms")


def benchmark_train(report: Report, rounds: int, device: str) -> None:
    """The descent alone: neither imports nor reading the data."""
    with tempfile.TemporaryDirectory() as folder:

        def case(**options: object) -> Callable[[], float]:
            config = Config(runs=Path(folder), **options)  # type: ignore[arg-type]
            return lambda: run(config).seconds

        cases = {
            "default": case(),
            "default, no TensorBoard": case(log_every=0),
            "digits 64-30-10": case(dataset="digits", layers=(30,), epochs=100),
            "digits 64-30-10, no TensorBoard": case(
                dataset="digits", layers=(30,), epochs=100, log_every=0
            ),
            **{f"default, --gradient {way}": case(gradient=way) for way in GRADIENTS},
        }
        seconds = interleave(cases, rounds)
    for name, values in seconds.items():
        report.row(name, values, "s")
    report.bar("training by default", statistics.median(seconds["default"]), 5, "s")
    for name in ("default", "digits 64-30-10"):
        pairs = zip(seconds[name], seconds[f"{name}, no TensorBoard"], strict=True)
        share = statistics.median(100 * (looked / blind - 1) for looked, blind in pairs)
        report.bar(f"{name}: share of looking", share, 10, "%")


COMPARE = """
import resource, time, torch, bp_torch as bp
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
inputs, before, started = (torch.randn(1_000_000),), peak(), time.perf_counter()
report = bp.compare(bp.sigmoid, torch.sigmoid, inputs=inputs, compile=False)
print(time.perf_counter() - started, peak() - before)
started = time.perf_counter()
bp.compare(bp.sigmoid, torch.sigmoid, inputs=(torch.randn(64, 3),))
print(time.perf_counter() - started, report.ok)
"""


def benchmark_compare(report: Report, rounds: int, device: str) -> None:
    """Whole processes, so that the peak of memory is that of one comparison."""
    large: list[float] = []
    memory: list[float] = []
    small: list[float] = []
    for _ in range(rounds):
        run = [sys.executable, "-c", COMPARE]
        output = subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()
        for values, text in zip((large, memory, small), output[:3], strict=True):
            values.append(float(text))
    report.row("a million elements, all but compile rows", large, "s")
    report.row("memory over the import", memory, "GiB")
    report.row("64 × 3 elements, all defaults", small, "s")
    report.bar("a million elements", statistics.median(large), 10, "s")
    report.bar("memory", statistics.median(memory), 1, "GiB")
    report.bar("64 × 3 elements", statistics.median(small), 20, "s")


SIGMOIDS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.sigmoid": lambda z: torch.sigmoid(z),
    "textbook": lambda z: bp.sigmoid(z, "textbook"),
    "accurate": lambda z: bp.sigmoid(z, "accurate"),
    "float64 and back": lambda z: -z.double().neg().float(),  # what conversion costs by itself
}
SIGMOID_BARS = {
    ("textbook", "eager"): 1.3,
    ("textbook", "compiled"): 1.05,
    ("accurate", "eager"): 2.5,
    ("accurate", "compiled"): 1.5,
}


def benchmark_sigmoid(report: Report, rounds: int, device: str) -> None:
    """Forward and backward of ten million float32."""
    z = torch.randn(10_000_000).requires_grad_()
    upstream = torch.randn_like(z)

    def case(function: Callable[[Tensor], Tensor]) -> Callable[[], float]:
        def run() -> float:
            started = time.perf_counter()
            torch.autograd.grad(function(z), z, upstream)
            return time.perf_counter() - started

        return run

    modes: dict[str, Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]] = {
        "eager": lambda function: function,
        "compiled": lambda function: torch.compile(function, fullgraph=True),
    }
    functions = {(name, mode): modes[mode](f) for mode in modes for name, f in SIGMOIDS.items()}
    seconds = interleave({str(key): case(f) for key, f in functions.items()}, rounds)
    for key in functions:
        report.row(", ".join(key), seconds[str(key)], "ms", 1e3)
    for (name, mode), limit in SIGMOID_BARS.items():
        pairs = zip(seconds[str((name, mode))], seconds[str(("torch.sigmoid", mode))], strict=True)
        ratio = statistics.median(ours / torchs for ours, torchs in pairs)
        report.bar(f"{name}, {mode}: times torch.sigmoid's", ratio, limit)
    for mode in modes:
        torchs = _saved_bytes(functions["torch.sigmoid", mode], z)
        for name in ("textbook", "accurate"):
            saved = _saved_bytes(functions[name, mode], z)
            report.bar(f"{name}, {mode}: saved, MB", saved / 1e6, torchs / 1e6)


def _saved_bytes(function: Callable[[Tensor], Tensor], z: Tensor) -> int:
    """What the graph keeps for the backward pass, the input included."""
    sizes: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function(z)
    return sum(sizes)


BENCHMARKS = {
    **fused_speed.BENCHMARKS,
    "compare": benchmark_compare,
    "import": benchmark_import,
    "sigmoid": benchmark_sigmoid,
    "train": benchmark_train,
}
ON_CUDA = tuple(fused_speed.BENCHMARKS)


def main() -> None:
    """Run the benchmarks named on the command line, all of them where none is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=9, help="default: 9")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    device, known = arguments.device, BENCHMARKS if arguments.device == "cpu" else ON_CUDA
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"expected any of {', '.join(known)}; got {', '.join(unknown)}")
    if arguments.rounds < 1:
        parser.error(f"rounds must be at least 1, got {arguments.rounds}")
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("device cuda was asked for, but torch finds no CUDA device here")
    machine = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    report = Report()
    for name in arguments.names or known:
        report.begin(name)
        BENCHMARKS[name](report, arguments.rounds, device)
    if arguments.json:
        about = {"machine": machine, "threads": torch.get_num_threads(), "torch": torch.__version__}
        report.save(arguments.json, about)


if __name__ == "__main__":
    main()
