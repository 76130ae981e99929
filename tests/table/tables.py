"""Tables to read, and a short way to read them."""

import numpy as np
import pandas as pd

from bp_torch.table.choice import Choice
from bp_torch.table.decode import read_table
from bp_torch.table.opening import open_source


def frame(rows=1000, seed=0):
    """Numbers, some of them far from 0, texts, booleans, whole numbers; a target yes or no."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "a": rng.normal(size=rows),
            "time": 1.7e9 + 3 * rng.normal(size=rows),
            "colour": rng.choice(["red", "green", "blue"], rows),
            "odd": rng.random(rows) > 0.5,
            "i": rng.integers(0, 5, rows),
            "y": rng.choice(["no", "yes"], rows),
        }
    )


def read(data, folder, *, test=None, columns=None, dtype="float32", **choice):
    source = open_source(data, columns=columns)
    test = None if test is None else open_source(test)
    asked = Choice(**{"target": "y", **choice})
    return read_table(source, asked, test=test, dtype=dtype, folder=folder)


def bits(table):
    """All that is learnt from, bit for bit."""
    return [part.tobytes() for part in (table.train.x, table.train.y, table.test.x, table.test.y)]
