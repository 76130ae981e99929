"""The fused step on a CPU: how the rows are shared out among threads.

The kernels (cpu_blocks.py) are Numba's, with vectors of our own (simd/). Measured on two
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
from ctypes import addressof
from functools import cache
from threading import Thread

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, empty_like

from bp_torch.fused import cpu_kernels
from bp_torch.fused.chunks import CHUNK, LEAST_ROWS, rows_per_chunk
from bp_torch.fused.cpu_job import Job
from bp_torch.fused.inputs import CROSS_ENTROPY, Inputs, Rule, require_memory

LARGEST_BATCH = CHUNK
"""Numbers of x in a batch that `sgd_epoch` takes: it is for one thread."""
WIDEST = CHUNK
"""Features that it takes."""
SLAB = 1024
"""Chunks per call, between which Ctrl-C is heard: some 50 ms."""
EPOCH_SLAB = 2**24
"""Numbers of x per call in an epoch, for the same reason."""
TAKES_A_RULE = True
"""Whether `sgd_epoch` knows momentum and penalties."""
SUSPECT = 2**40
"""An address below is looked into: memory lies higher up on nearly all machines, and where there is
none, or it has been freed, an address is 0 and an offset."""


def step(inputs: Inputs, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """C, ∂C/∂w and ∂C/∂b; rows: (2, N), where to write every sample's sᵢ ∂cᵢ/∂zᵢ and sᵢ ∂cᵢ/∂yᵢ."""
    x, y, weight, bias, *_ = inputs
    job = _job(inputs)
    cost, by_weight, by_bias = empty_like(bias), empty_like(weight), empty_like(bias)
    if rows is not None:
        job.by_z, job.by_y = (row.data_ptr() for row in rows)
    samples = job.samples
    if samples <= LEAST_ROWS or samples <= rows_per_chunk(job.features):
        job.cost = cost.data_ptr()
        job.by_weight = by_weight.data_ptr()
        job.by_bias = by_bias.data_ptr()
        cpu_kernels.step_kernel(x.dtype, y.dtype)(addressof(job))
        return cost, by_weight, by_bias

    features = job.features
    totals = _sums(job, inputs).sum(axis=0)
    means = torch.from_numpy(totals[:-1] / totals[-1])
    by_weight.copy_(means[:features])
    by_bias.copy_(means[features])
    cost.copy_(means[features + 1])
    return cost, by_weight, by_bias


def chunk_sums(inputs: Inputs) -> NDArray[np.float64]:
    """Σ sᵢ ∂cᵢ/∂w, Σ sᵢ ∂cᵢ/∂b, Σ sᵢ cᵢ and Σ sᵢ of each chunk of rows, (chunks, D + 3)."""
    return _sums(_job(inputs), inputs)


def _sums(job: Job, inputs: Inputs) -> NDArray[np.float64]:
    job.chunk = rows_per_chunk(job.features)
    chunks = -(-job.samples // job.chunk)
    # What a failing thread leaves is no result.
    sums = np.full((chunks, job.features + 3), np.nan)
    job.sums = sums.ctypes.data
    kernel = cpu_kernels.chunks_kernel(inputs.x.dtype, inputs.y.dtype)
    for first in range(0, chunks, SLAB):
        job.next, job.end = first, min(chunks, first + SLAB)
        _in_team(kernel.address, addressof(job), min(torch.get_num_threads(), job.end - first))
    return sums


def sgd_epoch(
    inputs: Inputs,
    learning_rate: float,
    batch_size: int,
    order: Tensor | None,
    rule: Rule | None = None,
) -> Tensor:
    """The mean cost of the steps; weight and bias are changed in place.

    In one thread, since a step needs the weights that the one before has left.
    """
    x, y, *_ = inputs
    job = _job(inputs)
    job.learning_rate, job.batch_size, samples = learning_rate, batch_size, job.samples
    if rule is not None:
        job.momentum, job.l2, job.l1 = rule.momentum, rule.l2, rule.l1
        job.velocity = rule.velocity.data_ptr()
    if order is not None:
        order = order.contiguous()
        job.order, samples = order.data_ptr(), len(order)
    kernel = cpu_kernels.descent_kernel(x.dtype, y.dtype)
    slab = batch_size * max(1, EPOCH_SLAB // (batch_size * job.features))
    for first in range(0, samples, slab):
        job.first, job.last = first, min(samples, first + slab)
        kernel(addressof(job))
    return inputs.bias.new_tensor(job.costs / job.steps)


def _job(inputs: Inputs) -> Job:
    x, y, weight, bias, cost, sample_weight = inputs
    job = Job()
    try:
        job.x = at_x = x.data_ptr()
        job.y = at_y = y.data_ptr()
        job.weight = at_weight = weight.data_ptr()
        job.bias = at_bias = bias.data_ptr()
    except RuntimeError:  # torch has none
        require_memory(inputs.tensors())
        raise
    if at_x < SUSPECT or at_y < SUSPECT or at_weight < SUSPECT or at_bias < SUSPECT:
        require_memory(inputs.tensors())
    if sample_weight is not None:
        job.sample_weight = sample_weight.data_ptr()
    job.samples, job.features = x.shape
    job.x_stride = x.stride()[0]
    job.cross_entropy = cost == CROSS_ENTROPY
    return job


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
