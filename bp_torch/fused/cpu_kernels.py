"""The fused step's kernels for a CPU, compiled where they are first used.

Each is compiled for one pair of dtypes, of x and y. Its machine code is kept on disk, where Numba
finds it by the date of this file; that another file has changed shows in the digest of them all,
which each of the functions mentions for that reason alone.
"""

from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

from bp_torch.fused import cpu_blocks, lane_formulas, vector_math, vector_memory, vectors
from bp_torch.fused.cpu_blocks import Array, Job, batch_of, descend_batches, sum_rows
from bp_torch.fused.vector_memory import pointer, pointer_like, put, take

SOURCES = sha256(
    b"".join(
        Path(str(module.__file__)).read_bytes()
        for module in (vectors, vector_memory, vector_math, lane_formulas, cpu_blocks)
    )
).hexdigest()


@cache
def step_kernel(x_dtype: str, y_dtype: str) -> Callable[[Job, int, int, int], None]:
    """A small batch in one call; the addresses are those of C, ∂C/∂w and ∂C/∂b."""
    sources = SOURCES

    def step(job: Job, cost: int, by_weight: int, by_bias: int) -> None:
        sources  # noqa: B018
        batch = batch_of(x_dtype, y_dtype, job)
        features = batch.features
        sums = np.empty(features + 3)
        sum_rows(batch, 0, batch.samples, sums, 0)
        n = sums[features + 2]
        for k in range(features):
            put(pointer_like(batch.weight, by_weight), k, sums[k] / n)
        put(pointer_like(batch.weight, by_bias), 0, sums[features] / n)
        put(pointer_like(batch.weight, cost), 0, sums[features + 1] / n)

    return _kept_on_disk(njit, step, nogil=True)


@cache
def chunks_kernel(x_dtype: str, y_dtype: str) -> Any:
    """A native function, at its `address`, that sums chunk after chunk until none is left; to be
    called in several threads at once with the address of a job.

    There the sums' address, rows per chunk, the end and the first chunk that no thread has taken
    follow the job's numbers.
    """
    sources = SOURCES

    def work(address: Any) -> None:
        sources  # noqa: B018
        job = carray(address, (15,))
        batch = batch_of(x_dtype, y_dtype, job)
        sums, chunk, end = pointer("float64", job[11]), job[12], job[13]
        while True:
            c = take(job, 14)
            if c >= end:
                break
            last = min(batch.samples, (c + 1) * chunk)
            sum_rows(batch, c * chunk, last, sums, c * (batch.features + 3))

    signature = types.void(types.CPointer(types.int64))
    return _kept_on_disk(partial(cfunc, signature), work)


@cache
def descent_kernel(x_dtype: str, y_dtype: str) -> Callable[..., float]:
    """`descend_batches` for the samples from `first` to `last` of the order."""
    sources = SOURCES

    def descend(
        job: Job, order: Array, size: int, first: int, last: int, learning_rate: float
    ) -> float:
        sources  # noqa: B018
        batch = batch_of(x_dtype, y_dtype, job)
        costs: float = descend_batches(batch, order, size, first, last, learning_rate)
        return costs

    return _kept_on_disk(njit, descend, nogil=True)


def _kept_on_disk(compiler: Any, function: Callable[..., Any], **options: Any) -> Any:
    try:
        return compiler(cache=True, **options)(function)
    except RuntimeError:  # there is nowhere to write: every process compiles anew
        return compiler(**options)(function)
