"""How long things take and how right they are, ours beside others', as ratios within one run.

    python scripts/benchmarks NAME …    what is named; without a name, all of it

Cases run in turn, round by round. A figure is the median over the rounds; beside it stand the
smallest and the largest; a ratio is taken within each round. Machines differ and are noisy, ratios
less so. Peers that are not installed are left out.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import torch

from benchmarks import (
    accuracy,
    cluster,
    compare,
    epoch,
    import_time,
    scale,
    sigmoid,
    small,
    step,
    table,
    train,
)
from benchmarks.benchmark import Benchmark, Options
from benchmarks.machine import Machine
from benchmarks.report import Report

BENCHMARKS: dict[str, Benchmark] = {
    "step": step.BENCHMARK,
    "small": small.BENCHMARK,
    "epoch": epoch.BENCHMARK,
    "scale": scale.BENCHMARK,
    "sigmoid": sigmoid.BENCHMARK,
    "accuracy": accuracy.BENCHMARK,
    "compare": compare.BENCHMARK,
    "table": table.BENCHMARK,
    "cluster": cluster.BENCHMARK,
    "train": train.BENCHMARK,
    "import": import_time.BENCHMARK,
}
PICTURES = (".png", ".svg", ".pdf")
ROUNDS = {False: 9, True: 2}  # in full and with --quick


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help shows what there is\n")


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is named. Ends with status 2 and one line where the arguments make no sense."""
    parser = _parser()
    given = parser.parse_args(words)
    names = given.names or [n for n, each in BENCHMARKS.items() if _runs_on(each, given.device)]
    if wrong := _what_is_wrong(given, names):
        parser.error(wrong)
    options = Options(
        rounds=given.rounds or ROUNDS[given.quick],
        quick=given.quick,
        device=given.device,
    )
    report = Report(Machine.here(options.device))
    for name in names:
        benchmark = BENCHMARKS[name]
        report.begin(name, _command(name, options))
        torch.compiler.reset()  # torch compiles one function for so many shapes, and then no more
        started = time.perf_counter()
        benchmark.run(report, replace(options, figure=given.figure if benchmark.draws else None))
        print(f"in {time.perf_counter() - started:.0f} s")
        report.save(given.json, given.markdown)  # whatever becomes of the next one


def _parser() -> Parser:
    subjects = "\n".join(f"  {n:9} {each.about} ({each.takes})" for n, each in BENCHMARKS.items())
    parser = Parser(
        prog="benchmarks",
        description=__doc__,
        epilog=f"names, and about how long each takes on two cores:\n{subjects}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure: see below")
    parser.add_argument("--quick", action="store_true", help="tiny or a sample: shows that it runs")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 9; with --quick 2")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    drawn = " or ".join(name for name, each in BENCHMARKS.items() if each.draws)
    for name, what in (
        ("json", "write all that was measured there"),
        ("markdown", "write the tables there"),
        ("figure", f"draw {drawn} there"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    return parser


def _what_is_wrong(given: argparse.Namespace, names: Sequence[str]) -> str | None:
    """Found before anything is measured, so that nothing is lost."""
    if unknown := [name for name in names if name not in BENCHMARKS]:
        return f"expected any of {', '.join(BENCHMARKS)}; got {', '.join(unknown)}"
    if given.rounds is not None and given.rounds < 1:
        return f"--rounds must be at least 1, got {given.rounds}"
    if given.device == "cuda" and not torch.cuda.is_available():
        return "device cuda was asked for, but torch finds no CUDA device here"
    if cpu_only := [name for name in names if not _runs_on(BENCHMARKS[name], given.device)]:
        return f"only the CPU's is measured by {', '.join(cpu_only)}; leave --device out"
    if given.figure and (wrong := _what_is_wrong_with_a_figure(given.figure, names)):
        return wrong
    for path in (given.json, given.markdown, given.figure):
        if path and (path.is_dir() or not path.parent.is_dir()):
            return f"expected a file in a folder that is there, got {path}"
    return None


def _what_is_wrong_with_a_figure(path: Path, names: Sequence[str]) -> str | None:
    if sum(BENCHMARKS[name].draws for name in names) != 1:
        drawn = ", ".join(name for name, each in BENCHMARKS.items() if each.draws)
        return f"--figure goes with exactly one of {drawn}; got {', '.join(names)}"
    if path.suffix not in PICTURES:
        return f"--figure ends in {', '.join(PICTURES)}; got {path}"
    if not find_spec("matplotlib"):
        return "--figure needs matplotlib, which is not installed here: pip install matplotlib"
    return None


def _runs_on(benchmark: Benchmark, device: str) -> bool:
    return device == "cpu" or benchmark.on_cuda


def _command(name: str, options: Options) -> str:
    """That prints the same again."""
    quick = " --quick" if options.quick else ""
    device = "" if options.device == "cpu" else f" --device {options.device}"
    return f"python scripts/benchmarks {name}{quick}{device}"
