"""The fused step's kernels for a CPU, compiled where they are first used.

Each is compiled for one pair of dtypes, of x and y, and takes the address of a `Job`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import torch
from numba import cfunc, njit, types

from bp_torch.dtypes import NAMES
from bp_torch.fused.compiled import kept_on_disk
from bp_torch.fused.cpu_blocks import batch_of, descend_batches, sum_rows
from bp_torch.fused.cpu_job import JOB
from bp_torch.fused.simd import pointer, pointer_like, put, record, take

Kernel: TypeAlias = Callable[[int], None]

_TAKES_AN_ADDRESS = types.void(types.int64)


@cache
def step_kernel(x_dtype: torch.dtype, y_dtype: torch.dtype) -> Kernel:
    """A small batch in one call."""
    x, y = NAMES[x_dtype], NAMES[y_dtype]

    def step(address: int) -> None:
        job = record(JOB, address)
        batch = batch_of(x, y, job)
        features = batch.features
        sums = np.empty(features + 3)
        sum_rows(batch, 0, batch.samples, sums, 0)
        n = sums[features + 2]
        for k in range(features):
            put(pointer_like(batch.weight, job.by_weight), k, sums[k] / n)
        put(pointer_like(batch.weight, job.by_bias), 0, sums[features] / n)
        put(pointer_like(batch.weight, job.cost), 0, sums[features + 1] / n)

    kernel: Kernel = kept_on_disk(njit, _TAKES_AN_ADDRESS, step, x, y, nogil=True)
    return kernel


@cache
def chunks_kernel(x_dtype: torch.dtype, y_dtype: torch.dtype) -> Any:
    """A native function, at its `address`, that sums chunk after chunk until none is left; to be
    called in several threads at once, with the address of one job."""
    x, y = NAMES[x_dtype], NAMES[y_dtype]

    def sum_chunks(address: int) -> None:
        job = record(JOB, address)
        batch = batch_of(x, y, job)
        sums, chunk, end = pointer("float64", job.sums), job.chunk, job.end
        while True:
            c = take(job, "next")
            if c >= end:
                break
            last = min(batch.samples, (c + 1) * chunk)
            sum_rows(batch, c * chunk, last, sums, c * (batch.features + 3))

    return kept_on_disk(cfunc, _TAKES_AN_ADDRESS, sum_chunks, x, y)


@cache
def descent_kernel(x_dtype: torch.dtype, y_dtype: torch.dtype) -> Kernel:
    """Mini-batches one after another."""
    x, y = NAMES[x_dtype], NAMES[y_dtype]

    def descend(address: int) -> None:
        job = record(JOB, address)
        descend_batches(batch_of(x, y, job), job)

    kernel: Kernel = kept_on_disk(njit, _TAKES_AN_ADDRESS, descend, x, y, nogil=True)
    return kernel
