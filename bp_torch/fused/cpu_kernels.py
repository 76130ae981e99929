"""The fused step for a CPU, compiled by Numba: cost, δ and gradient of one block after another.

A block is as many rows as a vector has lanes, so that its z and its δ are a vector each:

    zᵣ = wᵀxᵣ + b         four rows at a time, so that w is loaded once for them
    cᵣ, δᵣ = ∂cᵣ/∂zᵣ      all rows at once
    g ← g + Σᵣ δᵣ xᵣ      four rows at a time again, out of the cache

Rows that come later are fetched meanwhile; otherwise memory would rest while a block is worked on.
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import carray, cfunc, njit, types

from bp_torch.fused import lane_formulas, vectors
from bp_torch.fused.lane_formulas import Lanes, chain, inlined
from bp_torch.fused.vectors import (
    aligned_zeros,
    distance,
    get,
    keep_first,
    lanes_of,
    load,
    load_first,
    multiply_add,
    pointer,
    prefetch_l1,
    prefetch_l2,
    put,
    size_of,
    store,
    store_first,
    take,
    total,
    totals,
)

Place: TypeAlias = Any
"""A `pointer`, to Numba."""
Array: TypeAlias = Any

AHEAD = 5120
"""Bytes from a row to the one that is fetched meanwhile: enough to hide memory's delay, and not
4,096, where both would want the same place in the cache. Rows in random order need more time, since
the processor cannot foresee them: they are first brought to the second-level cache."""
FAR = 48
"""Rows to the one that is brought there."""


class Batch(NamedTuple):
    """What a kernel works on. The weights of the samples count only where `weighted`."""

    x: Place
    stride: int
    """From one row of x to the next, in numbers."""
    y: Place
    sample_weight: Place
    weighted: bool
    features: int
    weight: Place
    bias: Place
    cross_entropy: bool


@inlined
def dot_products(batch: Batch, here: Array, ahead: Array, scratch: Array) -> Lanes:
    """wᵀxᵣ for the rows that begin at here[r]; fetches those that begin at ahead[r]."""
    x, weight = batch.x, batch.weight
    lanes = lanes_of(x)
    rest = batch.features % lanes
    whole = batch.features - rest
    for r in range(0, lanes, 4):
        x0, x1, x2, x3 = here[r], here[r + 1], here[r + 2], here[r + 3]
        a0, a1, a2, a3 = ahead[r], ahead[r + 1], ahead[r + 2], ahead[r + 3]
        z0 = z1 = z2 = z3 = load_first(x, 0, 0)
        for d in range(0, whole, lanes):
            prefetch_l1(x, a0 + d)
            prefetch_l1(x, a1 + d)
            prefetch_l1(x, a2 + d)
            prefetch_l1(x, a3 + d)
            w = load(weight, d)
            z0 = multiply_add(load(x, x0 + d), w, z0)
            z1 = multiply_add(load(x, x1 + d), w, z1)
            z2 = multiply_add(load(x, x2 + d), w, z2)
            z3 = multiply_add(load(x, x3 + d), w, z3)
        if rest:
            prefetch_l1(x, a0 + whole)
            prefetch_l1(x, a1 + whole)
            prefetch_l1(x, a2 + whole)
            prefetch_l1(x, a3 + whole)
            w = load_first(weight, whole, rest)
            z0 = multiply_add(load_first(x, x0 + whole, rest), w, z0)
            z1 = multiply_add(load_first(x, x1 + whole, rest), w, z1)
            z2 = multiply_add(load_first(x, x2 + whole, rest), w, z2)
            z3 = multiply_add(load_first(x, x3 + whole, rest), w, z3)
        store(scratch, r * lanes, z0)
        store(scratch, (r + 1) * lanes, z1)
        store(scratch, (r + 2) * lanes, z2)
        store(scratch, (r + 3) * lanes, z3)
    return totals(scratch)


@inlined
def add_products(batch: Batch, here: Array, delta: Array, gradient: Array) -> None:
    """g ← g + Σᵣ δᵣ xᵣ for the rows that begin at here[r]."""
    x = batch.x
    lanes = lanes_of(x)
    rest = batch.features % lanes
    whole = batch.features - rest
    for r in range(0, lanes, 4):
        x0, x1, x2, x3 = here[r], here[r + 1], here[r + 2], here[r + 3]
        d0, d1, d2, d3 = delta[r], delta[r + 1], delta[r + 2], delta[r + 3]
        for d in range(0, whole, lanes):
            a = multiply_add(load(x, x0 + d), d0, load(x, x1 + d) * d1)
            b = multiply_add(load(x, x2 + d), d2, load(x, x3 + d) * d3)
            store(gradient, d, load(gradient, d) + (a + b))
        if rest:
            a = load_first(x, x0 + whole, rest) * d0
            a = multiply_add(load_first(x, x1 + whole, rest), d1, a)
            b = load_first(x, x2 + whole, rest) * d2
            b = multiply_add(load_first(x, x3 + whole, rest), d3, b)
            store(gradient, whole, load(gradient, whole) + (a + b))


@inlined
def _scratch(batch: Batch) -> tuple[Array, Array, Array, Array, Array, int]:
    """Room for g and for a block's partial sums, δ and places; and the place of a row of zeros,
    which stands for the rows that the last block lacks."""
    lanes = lanes_of(batch.x)
    padded = batch.features + lanes
    gradient = aligned_zeros(batch.weight, 2 * padded)
    partial = aligned_zeros(batch.weight, lanes * lanes)
    delta = aligned_zeros(batch.weight, lanes)
    here, ahead = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
    return gradient, partial, delta, here, ahead, distance(batch.x, gradient, padded)


@njit(nogil=True)
def _sum_rows(
    batch: Batch,
    first: int,
    last: int,
    sums: Place,
    row: int,
    by_z: Place,
    by_y: Place,
    by_row: bool,
) -> None:
    """Write Σ δx, Σ δ, Σ c and N of the samples from `first` to `last` to sums[row], …"""
    lanes, features, stride = lanes_of(batch.x), batch.features, batch.stride
    gradient, partial, delta, here, ahead, blank = _scratch(batch)
    ahead_by = max(8, AHEAD // (features * size_of(batch.x))) * stride
    b = get(batch.bias, 0)
    cost_sum = delta_sum = count = load_first(batch.x, 0, 0)
    for i in range(first, last, lanes):
        rows = min(lanes, last - i)
        for r in range(lanes):
            here[r] = (i + r) * stride
            ahead[r] = here[r] + ahead_by
        for r in range(rows, lanes):
            here[r] = blank
        z = dot_products(batch, here, ahead, partial) + b
        c, d, d_y = chain(z, load_first(batch.y, i, rows), batch.cross_entropy)
        if batch.weighted:
            s = load_first(batch.sample_weight, i, rows)
            c, d, d_y, count = s * c, s * d, s * d_y, count + s
        c, d = keep_first(c, rows), keep_first(d, rows)
        cost_sum, delta_sum = cost_sum + c, delta_sum + d
        store(delta, 0, d)
        add_products(batch, here, delta, gradient)
        if by_row:
            store_first(by_z, i, d, rows)
            store_first(by_y, i, d_y, rows)
    for k in range(features):
        put(sums, row + k, gradient[k])
    put(sums, row + features, total(delta_sum))
    put(sums, row + features + 1, total(cost_sum))
    put(sums, row + features + 2, total(count) if batch.weighted else float(last - first))


@njit(nogil=True)
def _descend(
    batch: Batch, order: Array, samples: int, size: int, first: int, last: int, learning_rate: float
) -> float:
    """Mini-batches one after another: w ← w − ν ∂C/∂w, in place; returns the sum of their costs."""
    lanes, features, stride = lanes_of(batch.x), batch.features, batch.stride
    gradient, partial, delta, here, ahead, blank = _scratch(batch)
    y = aligned_zeros(batch.weight, lanes)
    s = aligned_zeros(batch.weight, lanes) + 1
    near = max(lanes, AHEAD // (features * size_of(batch.x)))
    shuffled = len(order) > 0
    rest = features % lanes
    whole = features - rest
    nothing = load_first(batch.x, 0, 0)
    costs = 0.0
    for start in range(first, last, size):
        end = min(last, start + size)
        cost_sum = delta_sum = count = nothing
        b = get(batch.bias, 0)
        for i in range(start, end, lanes):
            rows = min(lanes, end - i)
            for r in range(rows):
                place = i + r
                if shuffled:
                    place = order[i + r]
                    ahead[r] = order[min(i + r + near, samples - 1)] * stride
                    far = order[min(i + r + FAR, samples - 1)]
                    prefetch_l2(batch.y, far)
                    for d in range(0, features, lanes):
                        prefetch_l2(batch.x, far * stride + d)
                else:
                    ahead[r] = (place + near) * stride
                here[r] = place * stride
                y[r] = get(batch.y, place)
                if batch.weighted:
                    s[r] = get(batch.sample_weight, place)
            for r in range(rows, lanes):
                here[r] = blank
            z = dot_products(batch, here, ahead, partial) + b
            c, d, _ = chain(z, load(y, 0), batch.cross_entropy)
            weights = keep_first(load(s, 0), rows)
            c, d = keep_first(weights * c, rows), keep_first(weights * d, rows)
            cost_sum, delta_sum, count = cost_sum + c, delta_sum + d, count + weights
            store(delta, 0, d)
            add_products(batch, here, delta, gradient)
        n = total(count)
        rate = learning_rate / n
        minus_rate = nothing - rate
        for k in range(0, whole, lanes):
            w = multiply_add(load(gradient, k), minus_rate, load(batch.weight, k))
            store(batch.weight, k, w)
            store(gradient, k, nothing)
        if rest:
            w = load_first(batch.weight, whole, rest)
            w = multiply_add(load(gradient, whole), minus_rate, w)
            store_first(batch.weight, whole, w, rest)
            store(gradient, whole, nothing)
        put(batch.bias, 0, b - rate * total(delta_sum))
        costs += total(cost_sum) / n
    return costs


# The machine code is kept on disk and found again by this file's date alone; the digest, which every
# kernel mentions, makes it out of date when one of the other files has changed.
_SOURCES = sha256(
    b"".join(
        Path(file).read_bytes() for file in (__file__, lane_formulas.__file__, vectors.__file__)
    )
).hexdigest()


def _on_disk(decorate: Callable[..., Any], function: Callable[..., Any]) -> Any:
    try:
        return decorate(cache=True)(function)
    except RuntimeError:  # nowhere to write: compiled anew in every process
        return decorate()(function)


@cache
def step_kernel(x_dtype: str, y_dtype: str) -> Callable[..., None]:
    """For one small batch: cost and gradients in one call."""
    dtype, sources = _computed_in(x_dtype), _SOURCES

    def step(
        x,
        stride,
        y,
        sample_weight,
        features,
        weight,
        bias,
        cross_entropy,
        samples,
        by_z,
        by_y,
        cost,
        grad_weight,
        grad_bias,
    ):
        sources
        batch = Batch(
            pointer(x_dtype, x),
            stride,
            pointer(y_dtype, y),
            pointer(y_dtype, sample_weight),
            sample_weight != 0,
            features,
            pointer(dtype, weight),
            pointer(dtype, bias),
            cross_entropy != 0,
        )
        sums = np.empty(features + 3, dtype)
        _sum_rows(
            batch,
            0,
            samples,
            pointer(dtype, sums.ctypes.data),
            0,
            pointer(dtype, by_z),
            pointer(dtype, by_y),
            by_z != 0,
        )
        n = sums[features + 2]
        for k in range(features):
            put(pointer(dtype, grad_weight), k, sums[k] / n)
        put(pointer(dtype, grad_bias), 0, sums[features] / n)
        put(pointer(dtype, cost), 0, sums[features + 1] / n)

    return njit(nogil=True, cache=True)(step)


def _computed_in(x_dtype: str) -> str:
    return "float64" if x_dtype == "float64" else "float32"


@cache
def team_kernel(x_dtype: str, y_dtype: str) -> Any:
    dtype, sources = _computed_in(x_dtype), _SOURCES

    def work(address):
        sources
        job = carray(address, (15,))
        x, stride, y, sample_weight, features, weight, bias, cross_entropy = (
            job[0],
            job[1],
            job[2],
            job[3],
            job[4],
            job[5],
            job[6],
            job[7],
        )
        samples, by_z, by_y, sums, chunk, chunks = (
            job[8],
            job[9],
            job[10],
            job[11],
            job[12],
            job[13],
        )
        batch = Batch(
            pointer(x_dtype, x),
            stride,
            pointer(y_dtype, y),
            pointer(y_dtype, sample_weight),
            sample_weight != 0,
            features,
            pointer(dtype, weight),
            pointer(dtype, bias),
            cross_entropy != 0,
        )
        c = take(job, 14)
        while c < chunks:
            _sum_rows(
                batch,
                c * chunk,
                min(samples, (c + 1) * chunk),
                pointer(dtype, sums),
                c * (features + 3),
                pointer(dtype, by_z),
                pointer(dtype, by_y),
                by_z != 0,
            )
            c = take(job, 14)

    return cfunc(types.void(types.CPointer(types.int64)), cache=True)(work)


@cache
def descend_kernel(x_dtype: str, y_dtype: str) -> Callable[..., float]:
    dtype, sources = _computed_in(x_dtype), _SOURCES

    def descend(
        x,
        stride,
        y,
        sample_weight,
        features,
        weight,
        bias,
        cross_entropy,
        samples,
        order,
        size,
        first,
        last,
        learning_rate,
    ):
        sources
        batch = Batch(
            pointer(x_dtype, x),
            stride,
            pointer(y_dtype, y),
            pointer(y_dtype, sample_weight),
            sample_weight != 0,
            features,
            pointer(dtype, weight),
            pointer(dtype, bias),
            cross_entropy != 0,
        )
        return _descend(batch, order, samples, size, first, last, learning_rate)

    return njit(nogil=True, cache=True)(descend)
