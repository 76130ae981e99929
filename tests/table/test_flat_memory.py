"""Memory stays flat: a table of 100 times as many numbers takes no more of it."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

MOST_MIB = 300
"""Of anonymous memory beyond what the imports take; mapped pages are the kernel's to drop."""

TRAIN = """
import sys, threading, time
import pyarrow, pyarrow.csv, pyarrow.parquet
import bp_torch as bp

def anonymous():
    lines = open("/proc/self/status").readlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024

def watch():
    while not over:
        seen.append(anonymous())
        time.sleep(0.005)

bp.train
before, seen, over = anonymous(), [], False
watching = threading.Thread(target=watch, daemon=True)
watching.start()
result = bp.train(sys.argv[1], target="y", epochs=1, cost="cross-entropy", learning_rate=0.1,
                  runs=sys.argv[2], cache=sys.argv[2])
over = True
watching.join()
print(max(seen) - before, result.train.samples + result.test.samples)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("numbers", [10**6, 10**8])
def test_memory_stays_flat(numbers, ending, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet

    rng, features, rows = np.random.default_rng(0), 20, 50_000
    path, writer = tmp_path / f"large.{ending}", None
    for _ in range(numbers // features // rows):
        x = rng.normal(size=(rows, features)).round(6)
        data = pd.DataFrame(x).rename(columns=str).assign(y=x.sum(1) > 0)
        batch = pyarrow.RecordBatch.from_pandas(data, preserve_index=False)
        make = parquet.ParquetWriter if ending == "parquet" else csv.CSVWriter
        writer = writer or make(path, batch.schema)
        writer.write_batch(batch)
    writer.close()
    run = subprocess.run(
        [sys.executable, "-c", TRAIN, str(path), str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        check=True,
    )
    over, samples = map(float, run.stdout.split())
    print(f"{ending}, {numbers:,} numbers: {over:.0f} MiB")
    assert samples == numbers // features
    assert over <= MOST_MIB
