"""From a file to a model: reading, standardising, training, and what is held out."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np

from benchmarks.benchmark import Benchmark, Options
from benchmarks.measure import interleave, ratios, timed
from benchmarks.peers.tables import (
    DEVIATION,
    FEATURES,
    MEAN,
    OURS,
    Contender,
    Loss,
    contenders,
    scan,
)
from benchmarks.report import Report, figure

SIZES = {False: (10**6, 10**7), True: (10**4,)}
ROWS_AT_ONCE = 10**5
HELD_OUT = 10**5
DECIMALS = 6
"""Of a number in the files: as many as measurements have."""


def run(report: Report, options: Options) -> None:
    """Each size as Parquet and as CSV."""
    for rows in SIZES[options.quick]:
        for ending in ("parquet", "csv"):
            with _file(rows, ending) as path:
                _compare(report, path, rows, min(options.rounds, 3 if rows <= 10**6 else 1))


def _compare(report: Report, path: Path, rows: int, rounds: int) -> None:
    trained: dict[str, Loss] = {}
    who = contenders(path, rows)

    def remembering(name: str, train: Contender) -> Callable[[], object]:
        def work() -> None:
            trained[name] = train()

        return work

    works: dict[str, Callable[[], object]] = {"a bare scan": lambda: scan(path)}
    works |= {name: remembering(name, train) for name, train in who.items()}
    seconds = interleave({name: timed(work) for name, work in works.items()}, rounds)
    x, y = _draw(np.random.default_rng(1), HELD_OUT)
    losses = {name: loss(x, y) for name, loss in trained.items()}
    one_scan = seconds["a bare scan"]
    title = f"{rows:,} × {FEATURES} from {path.suffix[1:]} to a model"
    table = []
    for name, values in seconds.items():
        beside = {
            "scans": ratios(values, one_scan),
            "times ours": ratios(values, seconds[OURS]),
        }
        report.row(f"{title}: {name}", values, "s", beside)
        shown = [median(values), median(beside["scans"]), median(beside["times ours"])]
        loss = f"{losses[name]:.4f}" if name in losses else ""
        table.append((name, *map(figure, shown), f"{rows / median(values):,.0f}", loss))
    header = (title, "s", "bare scans", "times ours", "rows/s", "log loss on other data")
    report.table(header, table)


def _draw(rng: np.random.Generator, rows: int) -> tuple[Any, Any]:
    """Independent features far from 0, and a target that a neuron can learn."""
    truth = np.linspace(-1, 1, FEATURES)
    z = rng.normal(size=(rows, FEATURES))
    y = rng.random(rows) < 1 / (1 + np.exp(-z @ truth))
    return (MEAN + DEVIATION * z).round(DECIMALS), y.astype(np.int64)


@contextmanager
def _file(rows: int, ending: str) -> Iterator[Path]:
    """A table of that many rows."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path, writer = Path(folder) / f"table.{ending}", cast(Any, None)
        for start in range(0, rows, ROWS_AT_ONCE):
            x, y = _draw(rng, min(ROWS_AT_ONCE, rows - start))
            columns = {f"f{place}": x[:, place] for place in range(FEATURES)}
            batch = pa.RecordBatch.from_pydict(columns | {"y": y})
            make = parquet.ParquetWriter if ending == "parquet" else csv.CSVWriter
            writer = writer or make(path, batch.schema)
            writer.write_batch(batch)
        writer.close()
        yield path


BENCHMARK = Benchmark(
    about="from a file to a model, against what others would do",
    takes="twenty minutes, 4 GB of disk",
    run=run,
)
