"""The fused step on a CUDA device: how the rows are shared out among Triton's programs.

Chunks are cut by N and D alone, each writes its sums to a place of its own, and a second kernel
adds them in float64 in their order: the same bits on every run. Where one tile holds the batch
there is no second kernel. More than `WIDEST` features do not fit: x is then read twice.

What a small step costs is its launch. So `sgd_epoch` leaves small batches to a single program.
`step` keeps no CUDA graph of its own, since results would have to be copied out of each replay; it
neither waits for the device nor reads from it, and can be captured in a graph of the caller's. Only
sample weights are looked at before, which waits, and not while a graph is captured (inputs.py).
"""

from contextlib import nullcontext
from math import gcd

import torch
import triton
from torch import Tensor

from bp_torch.fused import cuda_kernels
from bp_torch.fused.inputs import CROSS_ENTROPY, Inputs

WIDEST = 4096
"""Features at most that are read once."""
TAKES_A_RULE = False  # it keeps w in registers, and nothing else
LARGEST_BATCH = 2**18
"""Numbers of x in a batch that `sgd_epoch` takes: it is for one program."""

SEGMENT = 512  # features per tile where there are more than the widest
TILE_BYTES = 2**14  # of a tile, in the dtype to compute in: 16 registers for each of 256 threads
TILE_ROWS = 1024  # at most
CHUNKS = 2048  # at most, and their sums take at most 1% of the memory of x …
FEWEST_CHUNKS = 128  # … unless there would be fewer: a large device has as many multiprocessors
ADD = {"block_rows": 512, "block_d": 32, "num_warps": 16, "enable_fp_fusion": True}
STEPS_PER_LAUNCH = 2**14  # lest one launch keep the device, and Ctrl-C, waiting for long


def step(inputs: Inputs, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """C, ∂C/∂w and ∂C/∂b; rows: (2, N), where to write every sample's sᵢ ∂cᵢ/∂zᵢ and sᵢ ∂cᵢ/∂yᵢ."""
    x, y, weight, bias, cost, sample_weight = inputs
    cross_entropy = cost == CROSS_ENTROPY
    samples, features = x.shape
    results = torch.empty_like(bias), torch.empty_like(weight), torch.empty_like(bias)
    tile = _tile(x, samples, weight)
    chunk = _chunk(x, samples, tile["block_rows"], weight.itemsize)
    chunks = triton.cdiv(samples, chunk)
    sums = weight.new_empty((chunks, features + 3)) if chunks > 1 else None
    by_z, by_y = (None, None) if rows is None else rows.unbind()
    by_c = weight.new_empty(samples) if features > WIDEST else None
    if by_c is not None and by_z is None:
        by_z = torch.empty_like(by_c)
    units = features // tile["unit"]
    batch = x, x.stride(0) // tile["unit"], y, sample_weight, weight, bias, by_c, by_z, by_y
    with torch.cuda.device_of(x) if x.is_cuda else nullcontext():  # where Triton launches
        if by_c is not None:
            tiles = triton.cdiv(samples, tile["block_rows"])
            cuda_kernels.row_by_row[(tiles,)](*batch, samples, units, cross_entropy, **tile)
        grid = triton.cdiv(features, tile["block_d"]), chunks
        cuda_kernels.sum_chunk[grid](
            *batch, sums, *results, samples, units, chunk, cross_entropy, **tile
        )
        if sums is not None:
            parts = triton.cdiv(features + 2, ADD["block_d"])
            cuda_kernels.add_chunks[(parts,)](sums, *results, chunks, features, **ADD)
    return results


def sgd_epoch(
    inputs: Inputs, learning_rate: float, batch_size: int, order: Tensor | None
) -> Tensor:
    """The mean cost of the steps; weight and bias are changed in place.

    In one program, which keeps w and b in registers from step to step.
    """
    x, y, weight, bias, cost, sample_weight = inputs
    cross_entropy = cost == CROSS_ENTROPY
    samples, features = (len(x) if order is None else len(order)), x.shape[1]
    size = min(batch_size, samples)
    costs_and_steps = weight.new_zeros(2, dtype=torch.float64)
    tile = _tile(x, size, weight)
    rate = torch.full_like(costs_and_steps[0], learning_rate)  # a number would go as float32
    order = order if order is None else order.contiguous()
    stride, units = x.stride(0) // tile["unit"], features // tile["unit"]
    batch = x, stride, y, sample_weight, order, weight, bias, rate, costs_and_steps
    with torch.cuda.device_of(x) if x.is_cuda else nullcontext():
        for first in range(0, samples, STEPS_PER_LAUNCH * size):
            last = min(samples, first + STEPS_PER_LAUNCH * size)
            cuda_kernels.descend[(1,)](*batch, first, last, size, units, cross_entropy, **tile)
    costs, steps = costs_and_steps
    mean: Tensor = costs / steps
    return mean.to(bias.dtype)


def _tile(x: Tensor, samples: int, weight: Tensor) -> dict[str, int]:
    """How much of x is worked on at a time, in how many warps: 64 bytes in each thread.

    unit: what strides and features are multiples of, for the compiler to see, so that numbers that
    lie together are loaded together.
    """
    features, size = x.shape[1], weight.itemsize
    block_d = triton.next_power_of_2(features) if features <= WIDEST else SEGMENT
    most = max(1, min(TILE_ROWS, TILE_BYTES // (size * block_d), samples))
    block_rows = triton.next_power_of_2(most)
    warps = max(1, min(8, max(block_rows * block_d * size // 2048, block_rows // 128)))
    unit = gcd(x.stride(0), features, 16)
    tile = {"unit": unit, "block_rows": block_rows, "block_d": block_d, "num_warps": warps}
    return {**tile, "enable_fp_fusion": True}  # Triton 3.9 warns if not told


def _chunk(x: Tensor, samples: int, block_rows: int, itemsize: int) -> int:
    """Rows per chunk, whole tiles, by the shape and dtype of x alone."""
    features = x.shape[1]
    within_1_percent = samples * features * x.itemsize // (100 * (features + 3) * itemsize)
    fewest = FEWEST_CHUNKS if features <= WIDEST else 1
    chunks = max(fewest, min(CHUNKS, within_1_percent))
    return int(block_rows * triton.cdiv(samples, block_rows * chunks))
