"""An epoch of mini-batches: in one call, and in loops of others."""

from statistics import median

from benchmarks.benchmark import Benchmark, Options
from benchmarks.data import Data, size_here
from benchmarks.measure import fastest, interleave, ratios, timed
from benchmarks.passes import passes
from benchmarks.peers.epochs import OURS, epochs
from benchmarks.report import Report, figure

FEATURES, BATCH = 64, 32
MOST_ROUNDS = 5  # a loop of others takes seconds


def run(report: Report, options: Options) -> None:
    """As many samples as make x large."""
    size = size_here(options)
    report.say(str(size))
    batches = max(1, size.floats // (FEATURES * BATCH))  # whole ones, as JAX's scan needs them
    data = Data.draw(batches * BATCH, FEATURES, options.device)
    floor = passes(data)
    works = epochs(data, BATCH)
    timers = floor | {name: timed(work, options.device) for name, work in works.items()}
    seconds = interleave(timers, min(options.rounds, MOST_ROUNDS), settle=True)
    one_pass = fastest({name: seconds[name] for name in floor})
    report.say(f"one pass is {one_pass}, the fastest of {len(floor)} ways to read x once")
    rows = []
    for name, values in seconds.items():
        beside = {"passes": ratios(values, seconds[one_pass])}
        if name in works:
            beside["times ours"] = ratios(values, seconds[OURS])
            medians = (median(each) for each in (values, *beside.values()))
            rows.append((name, *map(figure, medians)))
        report.row(name, values, "s", beside)
    title = f"an epoch of {len(data.x):,} × {FEATURES} in batches of {BATCH}"
    report.table((title, "s", "passes over x", "times ours"), rows)


BENCHMARK = Benchmark(
    about="an epoch of mini-batches in one call, against loops of others",
    takes="a minute for each 256 MiB of x",
    run=run,
    on_cuda=True,
)
