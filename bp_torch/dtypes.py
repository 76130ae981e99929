"""The dtypes that we know, in one table: a further one is added here."""

from typing import NamedTuple

import torch


class Known(NamedTuple):
    """A dtype, and the one that a fused step computes in where the data are of it."""

    dtype: torch.dtype
    wide: torch.dtype


KNOWN = {
    "float64": Known(torch.float64, torch.float64),
    "float32": Known(torch.float32, torch.float32),
    "bfloat16": Known(torch.bfloat16, torch.float32),
    "float16": Known(torch.float16, torch.float32),
}

DTYPES = {name: known.dtype for name, known in KNOWN.items()}
NAMES = {known.dtype: name for name, known in KNOWN.items()}
WIDE = {known.dtype: known.wide for known in KNOWN.values()}
