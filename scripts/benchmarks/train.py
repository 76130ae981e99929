"""Training on the bundled data: what looks and checkpoints cost, and four ways to a gradient."""

from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.benchmark import Benchmark, Options
from benchmarks.measure import Timer, interleave, ratios
from benchmarks.report import Report
from bp_torch.training import loop, reading
from bp_torch.training.config import Config
from bp_torch.training.descent import steps_per_epoch
from bp_torch.training.gradients import GRADIENTS

BLIND, KEPT = ", no TensorBoard", ", a checkpoint after every epoch"


def run(report: Report, options: Options) -> None:
    """The descent alone: neither imports nor reading the data."""
    with TemporaryDirectory() as folder:
        default = Config(runs=Path(folder), device="cpu")
        seen = {
            "default": default,
            "digits 64-30-10": replace(default, dataset="digits", layers=(30,), epochs=100),
        }
        configs = seen | {f"{name}{BLIND}": replace(seen[name], log_every=0) for name in seen}
        for name, config in seen.items():
            samples = len(reading.read(config).train.x)
            every = steps_per_epoch(samples, config.batch_size)
            configs[f"{name}{KEPT}"] = replace(config, checkpoint_every=every)
        configs |= {f"default, gradient {way}": replace(default, gradient=way) for way in GRADIENTS}
        if options.quick:
            configs = {name: replace(config, epochs=1) for name, config in configs.items()}
        timers = {name: _timer(config) for name, config in configs.items()}
        seconds = interleave(timers, options.rounds)
    for name, values in seconds.items():
        blind = seconds.get(f"{name}{BLIND}")
        beside = {"times as long as without TensorBoard": ratios(values, blind)} if blind else {}
        report.row(name, values, "s", beside)
    for name in seen:
        kept = median(b - a for a, b in zip(seconds[name], seconds[f"{name}{KEPT}"], strict=True))
        each = kept / configs[name].epochs
        report.say(f"{name}: a checkpoint takes {1e3 * each:.2g} ms, {each / 30:.2%} of 30 s")
    report.table_of_rows()


def _timer(config: Config) -> Timer:
    return lambda: loop.run(config).seconds


BENCHMARK = Benchmark(
    about="training: what looking and checkpoints cost, the four ways to a gradient",
    takes="a minute",
    run=run,
)
