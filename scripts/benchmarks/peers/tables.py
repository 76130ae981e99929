"""From a file to a neuron with scikit-learn, Vowpal Wabbit and a DataLoader loop, beside ours.

All hold out a fifth, standardise, and train on the rest; imports are not counted. Each makes five
passes over the data, but for LogisticRegression, which makes as many as it needs. Each gives back
how it does on other data, the same for all.
"""

import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bp_torch as bp

FEATURES = 30
MEAN, DEVIATION = 50, 10
"""Of every feature: far enough from 0 and 1 for it to matter."""

MOST_FOR_A_LOOP = 10**6
"""Rows: of more it takes minutes, and no other figure."""

EPOCHS = 5
OURS, CACHED = "bp_torch", "bp_torch, the second time"

Loss = Callable[[Any, Any], float]
"""The log loss on features (N, D), as they stand in the data, and targets (N,)."""

Contender = Callable[[], Loss]


def scan(path: Path) -> int:
    """Nothing but the reader that ours uses: how long the file itself takes."""
    from pyarrow import csv, parquet

    if path.suffix == ".parquet":
        file = parquet.ParquetFile(path, memory_map=True, pre_buffer=False)
        return sum(batch.num_rows for batch in file.iter_batches())
    with csv.open_csv(path) as reader:
        return sum(batch.num_rows for batch in reader)


def contenders(path: Path, rows: int) -> dict[str, Contender]:
    """Those that are installed; the slowest for small tables only."""
    found = {
        OURS: lambda: _ours(path, "off"),
        CACHED: lambda: _ours(path, path.parent / "cache"),
    }
    if find_spec("pandas"):
        found |= {
            "pandas, SGDClassifier": lambda: _scikit_learn(path, _sgd()),
            "pandas, LogisticRegression": lambda: _scikit_learn(path, _logistic()),
        }
        if rows <= MOST_FOR_A_LOOP:
            found["pandas, DataLoader loop"] = lambda: _loop(path)
    if find_spec("vowpalwabbit"):
        text = _as_vowpal_wabbit_reads_it(path)
        found["Vowpal Wabbit, from its own format"] = lambda: _vowpal_wabbit(text)
    return found


def _ours(path: Path, cache: Path | str) -> Loss:
    with tempfile.TemporaryDirectory() as runs:
        result = bp.train(
            path,
            target="y",
            cost="cross-entropy",
            epochs=EPOCHS,
            learning_rate=0.02,
            schedule="cosine",
            log_every=0,
            cache=cache,
            runs=runs,
        )

    def loss(x: Any, y: Any) -> float:
        with torch.no_grad():
            return _log_loss(y, result.model(torch.from_numpy(x)).numpy())

    return loss


def _log_loss(y: Any, p: Any) -> float:
    from sklearn.metrics import log_loss

    return float(log_loss(y, np.asarray(p, np.float64)))


def _read(path: Path) -> tuple[Any, Any, Any]:
    import pandas as pd
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    y = table.pop("y").to_numpy()
    x = table.to_numpy(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.2, stratify=y, random_state=0
    )
    scaler = StandardScaler().fit(x_train)
    del x_test, y_test  # held out, as the others hold it out
    return scaler.transform(x_train), y_train, scaler


def _sgd() -> Any:
    from sklearn.linear_model import SGDClassifier

    return SGDClassifier(loss="log_loss", max_iter=EPOCHS, tol=None, random_state=0)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def _scikit_learn(path: Path, model: Any) -> Loss:
    x_train, y_train, scaler = _read(path)
    model.fit(x_train, y_train)
    return lambda x, y: _log_loss(y, model.predict_proba(scaler.transform(x))[:, 1])


def _loop(path: Path) -> Loss:
    from torch.utils.data import DataLoader, TensorDataset

    *arrays, scaler = _read(path)
    x_train, y_train = (torch.from_numpy(each).float() for each in arrays)
    neuron = torch.nn.Linear(FEATURES, 1)
    optimizer = torch.optim.SGD(neuron.parameters(), lr=0.5)
    cost = torch.nn.BCEWithLogitsLoss()
    batches = DataLoader(TensorDataset(x_train, y_train), batch_size=1024, shuffle=True)
    for _ in range(EPOCHS):
        for x, y in batches:
            optimizer.zero_grad()
            cost(neuron(x)[:, 0], y).backward()
            optimizer.step()

    def loss(x: Any, y: Any) -> float:
        with torch.no_grad():
            z = neuron(torch.from_numpy(scaler.transform(x)).float())[:, 0]
        return _log_loss(y, z.sigmoid().numpy())

    return loss


def _as_vowpal_wabbit_reads_it(path: Path) -> Path:
    """Its own text format, standardised, but for a fifth; this is not counted."""
    from pyarrow import csv, parquet

    text = path.with_suffix(".vw")
    if not text.exists():
        parquets = path.suffix == ".parquet"
        batches = parquet.ParquetFile(path).iter_batches() if parquets else csv.open_csv(path)
        names = [f"f{place}" for place in range(FEATURES)]
        with open(text, "w") as file:
            for batch in batches:
                x = np.stack([batch.column(name).to_numpy() for name in names], 1)
                _write(file, x, batch.column("y").to_numpy(), since=len(x) // 5)
    return text


def _write(file: Any, x: Any, y: Any, since: int = 0) -> None:
    form = "%d | " + " ".join(f"f{place}:%.6f" for place in range(FEATURES))
    np.savetxt(file, np.column_stack([y * 2 - 1, (x - MEAN) / DEVIATION])[since:], fmt=form)


def _vowpal_wabbit(text: Path) -> Loss:
    """What it does by itself: adaptive, normalised steps, a cache after the first pass."""
    from vowpalwabbit import Workspace

    model, cache = text.with_suffix(".model"), text.with_suffix(".cache")
    for left in (model, cache):
        left.unlink(missing_ok=True)
    asked = {"loss_function": "logistic", "quiet": True}
    learner = Workspace(
        data=str(text),
        cache_file=str(cache),
        passes=EPOCHS,
        holdout_off=True,
        final_regressor=str(model),
        **asked,
    )
    learner.finish()

    def loss(x: Any, y: Any) -> float:
        with open(test := text.with_name("test.vw"), "w") as file:
            _write(file, x, y)
        judge = Workspace(data=str(test), initial_regressor=str(model), testonly=True, **asked)
        found = judge.get_sum_loss() / judge.get_weighted_examples()
        judge.finish()
        return float(found)

    return loss
