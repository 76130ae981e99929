"""Training in one call."""

import difflib
from dataclasses import fields
from typing import Any

from bp_torch.training.config import Config
from bp_torch.training.loop import run
from bp_torch.training.result import Result
from bp_torch.training.resumption import begun_with


def train(
    data: Any = None, *, target: Any = None, resume: str | None = None, **options: Any
) -> Result:
    """Train a sigmoid neuron, or a network of them, on a table.

    Args:
        data: a path (of a CSV or Parquet file, packed or not, a folder of them, or a pattern), a
            pandas or polars frame, an Arrow table, a NumPy array or tensor (N, D), or the name of a
            data set that comes along. None: the breast cancer data, or those of the run that goes
            on.
        target: the column that is learnt, or its N values.
        resume: the name of a run in `runs` that was stopped: it goes on from its newest checkpoint,
            to the bit as if it had not been. Its options are those that it was begun with; of those
            given here what it learns may not depend on a changed one, but for more `epochs` at a
            constant learning rate.
        options: the fields of `bp_torch.training.config.Config`, as `layers`, `epochs`, `cost`,
            `features`, `missing`, `cache`; the command line's options by the same names.

    Returns:
        What came of it: `.model`, to be called with raw features; `.path` of its file; scores.

    Raises:
        TypeError: an option that there is not.
        ValueError, OSError: options or data that do not fit, in one line.
        FileNotFoundError: there is no run to go on with, or none with a checkpoint.
        DivergedError: the cost or a weight stopped being finite; no model was written.
    """
    known = [field.name for field in fields(Config)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"train has no option {name!r}{hint}")
    given = {"dataset": data, "target": target}
    options |= {name: value for name, value in given.items() if value is not None}
    if resume is None:
        return run(Config(**options))
    runs = options.pop("runs", Config.runs)
    return run(begun_with(runs, resume, options), goes_on=True)
