"""One step on a batch of 32 × 30: what a call costs."""

from statistics import median

from benchmarks.benchmark import Benchmark, Options
from benchmarks.data import Data
from benchmarks.measure import interleave, ratios, timed
from benchmarks.peers.steps import DIFFERENTIABLE, OURS, steps
from benchmarks.report import SCALES, Report, figure

SAMPLES, FEATURES = 32, 30
REPEATS = 2000


def run(report: Report, options: Options) -> None:
    """Gradients as a result, and by backward() into .grad."""
    data = Data.draw(SAMPLES, FEATURES, options.device)
    repeats = 20 if options.quick else REPEATS
    rows = []
    for ours, into_grad in ((OURS, False), (DIFFERENTIABLE, True)):
        works = steps(data, into_grad=into_grad)
        timers = {n: timed(work, options.device, repeats=repeats) for n, work in works.items()}
        seconds = interleave(timers, options.rounds, settle=True)
        for name, values in seconds.items():
            case = f"{name}, backward()" if into_grad and name != ours else name
            times = ratios(values, seconds[ours])
            report.row(case, values, "µs", {"times ours": times} if name != ours else {})
            rows.append((case, figure(SCALES["µs"] * median(values)), figure(median(times))))
    report.table((f"a batch of {SAMPLES} × {FEATURES}", "µs", "times ours"), rows)


BENCHMARK = Benchmark(
    about=f"the same on a batch of {SAMPLES} × {FEATURES}: what a call costs",
    takes="10 seconds",
    run=run,
    on_cuda=True,
)
