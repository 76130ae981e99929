"""One fused step on much data: against one pass over x and against its peers."""

from statistics import median

import torch

from benchmarks.benchmark import Benchmark, Options
from benchmarks.data import Data, size_here
from benchmarks.measure import allocated, fastest, interleave, ratios, timed
from benchmarks.passes import passes
from benchmarks.peers.steps import EAGER, OURS, steps
from benchmarks.report import Report, figure
from bp_torch import fused

FEATURES = (8, 30, 64, 256, 1024)
QUICK_FEATURES = (8, 30)


def run(report: Report, options: Options) -> None:
    """All data as one batch, float32."""
    size = size_here(options)
    report.say(str(size))
    columns = {}
    for features in QUICK_FEATURES if options.quick else FEATURES:
        data = Data.draw(size.floats // features, features, options.device)
        columns[features] = _against_peers(report, options, data)
        if options.device == "cpu":
            columns[features] |= _against_one_thread(report, options, data)
    names = dict.fromkeys(name for column in columns.values() for name in column)
    report.table(
        ("passes over x, D =", *(f"{features:,}" for features in columns)),
        [(name, *(column.get(name, "–") for column in columns.values())) for name in names],
    )


def _against_peers(report: Report, options: Options, data: Data) -> dict[str, str]:
    """The column of one D: passes, and what ours and autograd's take of memory."""
    case, device = f"D = {data.x.shape[1]}", options.device
    floor, works = passes(data), steps(data)
    timers = floor | {name: timed(work, device) for name, work in works.items()}
    seconds = interleave(timers, options.rounds, settle=True)
    one_pass = fastest({name: seconds[name] for name in floor})
    in_passes = {name: ratios(values, seconds[one_pass]) for name, values in seconds.items()}

    for name in floor:
        report.row(f"{case}: {name}", seconds[name], "ms", {"passes": in_passes[name]})
    report.say(f"{case}: one pass is {one_pass}, the fastest of {len(floor)} ways to read x once")
    column = {name: figure(median(in_passes[name])) for name in works}
    for name, work in works.items():
        beside = {"passes": in_passes[name]}
        if name != OURS:
            beside["times ours"] = ratios(seconds[name], seconds[OURS])
        taken = allocated(work, device)
        share = "" if taken is None else f"{figure(100 * taken / data.x.nbytes)}%"
        note = share and f"memory: {share} of x"
        report.row(f"{case}: {name}", seconds[name], "ms", beside, note)
        if share and name in (OURS, EAGER):
            column[f"{name}: memory, of x"] = share
    return column


def _against_one_thread(report: Report, options: Options, data: Data) -> dict[str, str]:
    many = torch.get_num_threads()
    timers = {
        count: timed(lambda: fused.cost_and_gradients(*data.tensors), threads=count)
        for count in (1, many)
    }
    seconds = interleave(timers, options.rounds, settle=True)
    name = f"{OURS}: 1 thread's time by {many}'s"
    times = ratios(seconds[1], seconds[many])
    report.row(f"D = {data.x.shape[1]}: {name}", times, "times")
    return {name: figure(median(times))}


BENCHMARK = Benchmark(
    about="a fused step on much data, against one pass over it and against peers",
    takes="a minute for each 256 MiB of x",
    run=run,
    on_cuda=True,
)
