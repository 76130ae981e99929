"""The fused step on a CPU: how the rows are shared out among threads.

The kernels (cpu_blocks.py) are Numba's, with vectors of our own (vectors.py). Measured on two
cores with AVX-512, x of 256 MB in float32, in units of one pass over x, for D from 1,024 to 30: a
plain loop in Numba 1.5 to 4.7, since it is vectorised only in part; four rows at a time 1.4 to 2.2;
blocks of 16 rows in explicit vectors, fetching ahead, 1.0 to 1.2.

Rows are cut into chunks by N and D alone, every chunk has a sum of its own, and the sums are added
up in their order: the result is the same, to the bit, for any number of threads.

The threads are torch's own, those of its OpenMP library. After each operation they watch for more
work for some milliseconds; threads of another team share the cores with them for that long, which
made a step of 1.2 passes take 1.6. To begin and end costs 5 µs, where a pool of Python's takes 50.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from threading import Thread

import numpy as np
import torch
from torch import Tensor, empty_like

from bp_torch.dtypes import NAMES
from bp_torch.fused import cpu_kernels
from bp_torch.fused.cpu_blocks import Job
from bp_torch.fused.inputs import Inputs

CHUNK = 2**18
"""Numbers of x per chunk: 1 MiB of float32, some 100 µs for a thread. Less than that is not worth
a second one."""
LARGEST_BATCH = CHUNK
"""Numbers of x in a batch that `sgd_epoch` takes: it is for one thread."""
WIDEST = CHUNK
"""Features that it takes."""
LEAST_ROWS = 512
"""Rows per chunk at least, so that the chunks' sums take less than 1% of the memory of x."""
SLAB = 1024
"""Chunks per call, between which Ctrl-C is heard: some 50 ms."""
EPOCH_SLAB = 2**24
"""Numbers of x per call in an epoch, for the same reason."""

_NO_ORDER = np.empty(0, np.int64)


def step(inputs: Inputs, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """C, ∂C/∂w and ∂C/∂b; rows: (2, N), where to write every sample's sᵢ ∂cᵢ/∂zᵢ and sᵢ ∂cᵢ/∂yᵢ."""
    x, y, weight, bias, _, _ = inputs
    samples, features = x.shape
    cost, by_weight, by_bias = empty_like(bias), empty_like(weight), empty_like(bias)
    job = _job(inputs, rows)
    chunk = LEAST_ROWS
    if samples > chunk:
        chunk = max(chunk, CHUNK // max(features, 16) // 16 * 16)
    if samples <= chunk:
        kernel = cpu_kernels.step_kernel(NAMES[x.dtype], NAMES[y.dtype])
        kernel(job, cost.data_ptr(), by_weight.data_ptr(), by_bias.data_ptr())
        return cost, by_weight, by_bias

    chunks = -(-samples // chunk)
    sums = np.empty((chunks, features + 3))
    kernel = cpu_kernels.chunks_kernel(NAMES[x.dtype], NAMES[y.dtype])
    for first in range(0, chunks, SLAB):
        end = min(chunks, first + SLAB)
        shared = np.array([*job, sums.ctypes.data, chunk, end, first], np.int64)
        _in_team(kernel.address, shared.ctypes.data, min(torch.get_num_threads(), end - first))
    totals = sums.sum(axis=0)
    means = torch.from_numpy(totals[:-1] / totals[-1])
    by_weight.copy_(means[:features])
    by_bias.copy_(means[features])
    cost.copy_(means[features + 1])
    return cost, by_weight, by_bias


def sgd_epoch(
    inputs: Inputs, learning_rate: float, batch_size: int, order: Tensor | None
) -> Tensor:
    """The mean cost of the steps; weight and bias are changed in place.

    In one thread, since a step needs the weights that the one before has left.
    """
    x, y, *_ = inputs
    samples, indices = len(x), _NO_ORDER
    if order is not None:
        samples, indices = len(order), order.contiguous().numpy()
    kernel = cpu_kernels.descent_kernel(NAMES[x.dtype], NAMES[y.dtype])
    job = _job(inputs, None)
    slab = batch_size * max(1, EPOCH_SLAB // (batch_size * x.shape[1]))
    costs = 0.0
    for first in range(0, samples, slab):
        last = min(samples, first + slab)
        costs += kernel(job, indices, batch_size, first, last, learning_rate)
    return inputs.bias.new_tensor(costs / -(-samples // batch_size))


def _job(inputs: Inputs, rows: Tensor | None) -> Job:
    x, y, weight, bias, cross_entropy, sample_weight = inputs
    samples, features = x.shape
    return (
        x.data_ptr(),
        x.stride(0),
        y.data_ptr(),
        0 if sample_weight is None else sample_weight.data_ptr(),
        samples,
        features,
        weight.data_ptr(),
        bias.data_ptr(),
        1 if cross_entropy else 0,
        0 if rows is None else rows[0].data_ptr(),
        0 if rows is None else rows[1].data_ptr(),
    )


def _in_team(function: int, argument: int, threads: int) -> None:
    """Call the native function in that many threads at once, and wait for all of them."""
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64)(function)
    parallel = _gomp_parallel()
    if threads == 1:
        call(argument)
    elif parallel is not None:
        parallel(function, argument, threads, 0)
    else:
        helpers = [Thread(target=call, args=(argument,)) for _ in range(threads - 1)]
        for helper in helpers:
            helper.start()
        try:
            call(argument)
        finally:  # what they work on must not go before they have ended
            for helper in helpers:
                helper.join()


@cache
def _gomp_parallel() -> Callable[[int, int, int, int], None] | None:
    """What "#pragma omp parallel" calls, in the OpenMP library that torch has loaded;
    None where torch has another one."""
    try:
        function = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    function.restype = None
    return function
