"""The fused step for a CPU, compiled by Numba: cost, δ and gradient of one block after another.

A block is as many rows as a vector has lanes, so that its z and its δ are a vector each:

    zᵣ = wᵀxᵣ + b         four rows at a time, so that w is loaded once for them
    cᵣ, δᵣ = ∂cᵣ/∂zᵣ      all rows at once
    g ← g + Σᵣ δᵣ xᵣ      four rows at a time again, out of the cache

Rows that come later are fetched meanwhile; otherwise memory would rest while a block is worked on.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import njit
from numba.extending import overload

from bp_torch.fused.lane_formulas import Lanes, chain, inlined
from bp_torch.fused.vector_math import keep_first, multiply_add, total, totals
from bp_torch.fused.vector_memory import (
    aligned_zeros,
    distance,
    get,
    lanes_of,
    load,
    load_first,
    pointer,
    prefetch_l1,
    prefetch_l2,
    put,
    size_of,
    store,
    store_first,
)

Place: TypeAlias = Any
"""A `pointer`, to Numba."""
Array: TypeAlias = Any

AHEAD = 5120
"""Bytes from a row to the one that is fetched meanwhile: enough to hide memory's delay, and not
4,096, where both would want the same place in the cache."""
FAR = 48
"""Rows, in random order, to the one that is fetched first: no processor foresees those."""
ROWS_IN_A_ROW, FEATURES_IN_A_ROW = 512, 512
"""Terms that are added up one after another in the dtype of x, before the sum is added to others:
rounding errors grow with the length of such a chain."""


class Batch(NamedTuple):
    """What a kernel works on, as `batch_of` makes it."""

    x: Place
    stride: int
    """From one row of x to the next, in numbers."""
    y: Place
    sample_weight: Place
    weighted: bool
    samples: int
    features: int
    weight: Place
    bias: Place
    cross_entropy: bool
    by_z: Place
    by_y: Place
    by_row: bool


Job: TypeAlias = tuple[int, ...]
"""Addresses and numbers: x, its stride, y, sample_weight, N, D, weight, bias, whether the cost is
the cross-entropy, then where to write sᵢ ∂cᵢ/∂zᵢ and sᵢ ∂cᵢ/∂yᵢ; 0 for what is not there."""


def batch_of(x_dtype: str, y_dtype: str, job: Job) -> Batch:
    """The job's first eleven numbers with their dtypes, which must be known to the compiler."""
    raise NotImplementedError("only for Numba")  # which compiles the overload below


@overload(batch_of, prefer_literal=True, strict=False)
def _batch_of(x_dtype: Any, y_dtype: Any, job: Any) -> Any:
    x, y = x_dtype.literal_value, y_dtype.literal_value
    wide = "float64" if x == "float64" else "float32"

    def implementation(x_dtype: Any, y_dtype: Any, job: Any) -> Any:
        return Batch(
            pointer(x, job[0]),
            job[1],
            pointer(y, job[2]),
            pointer(y, job[3]),
            job[3] != 0,
            job[4],
            job[5],
            pointer(wide, job[6]),
            pointer(wide, job[7]),
            job[8] != 0,
            pointer(wide, job[9]),
            pointer(wide, job[10]),
            job[9] != 0,
        )

    return implementation


@inlined
def fetch(x: Place, index: int, near: bool) -> None:
    """Have it brought into the second-level cache; near: into the first."""
    if near:
        prefetch_l1(x, index)
    else:
        prefetch_l2(x, index)


@inlined
def pre_activations(
    batch: Batch, here: Array, ahead: Array, partial_sums: Array, near: bool
) -> Lanes:
    """wᵀxᵣ for the rows that begin at here[r]; fetches those that begin at ahead[r]."""
    z = load_first(batch.x, 0, 0)
    for first in range(0, batch.features, FEATURES_IN_A_ROW):
        count = min(FEATURES_IN_A_ROW, batch.features - first)
        z = z + dot_products(batch, here, ahead, first, count, partial_sums, near)
    return z


@inlined
def dot_products(
    batch: Batch, here: Array, ahead: Array, first: int, count: int, partial_sums: Array, near: bool
) -> Lanes:
    """The share of some of the features in it."""
    x, weight = batch.x, batch.weight
    lanes = lanes_of(x)
    rest = count % lanes
    end = first + count - rest
    for r in range(0, lanes, 4):
        x0, x1, x2, x3 = here[r], here[r + 1], here[r + 2], here[r + 3]
        a0, a1, a2, a3 = ahead[r], ahead[r + 1], ahead[r + 2], ahead[r + 3]
        z0 = z1 = z2 = z3 = load_first(x, 0, 0)
        for d in range(first, end, lanes):
            fetch(x, a0 + d, near)
            fetch(x, a1 + d, near)
            fetch(x, a2 + d, near)
            fetch(x, a3 + d, near)
            w = load(weight, d)
            z0 = multiply_add(load(x, x0 + d), w, z0)
            z1 = multiply_add(load(x, x1 + d), w, z1)
            z2 = multiply_add(load(x, x2 + d), w, z2)
            z3 = multiply_add(load(x, x3 + d), w, z3)
        if rest:
            fetch(x, a0 + end, near)
            fetch(x, a1 + end, near)
            fetch(x, a2 + end, near)
            fetch(x, a3 + end, near)
            w = load_first(weight, end, rest)
            z0 = multiply_add(load_first(x, x0 + end, rest), w, z0)
            z1 = multiply_add(load_first(x, x1 + end, rest), w, z1)
            z2 = multiply_add(load_first(x, x2 + end, rest), w, z2)
            z3 = multiply_add(load_first(x, x3 + end, rest), w, z3)
        store(partial_sums, r * lanes, z0)
        store(partial_sums, (r + 1) * lanes, z1)
        store(partial_sums, (r + 2) * lanes, z2)
        store(partial_sums, (r + 3) * lanes, z3)
    return totals(partial_sums)


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
def scratch(batch: Batch) -> tuple[Array, Array, Array, Array, Array, int]:
    """Room for g and for a block's partial sums, δ and places; and the place of a row of zeros,
    which stands for the rows that the last block lacks."""
    lanes = lanes_of(batch.x)
    padded = batch.features + lanes
    gradient = aligned_zeros(batch.weight, 2 * padded)
    partial_sums = aligned_zeros(batch.weight, lanes * lanes)
    delta = aligned_zeros(batch.weight, lanes)
    here, ahead = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
    return gradient, partial_sums, delta, here, ahead, distance(batch.x, gradient, padded)


@inlined
def add_to(place: Place, index: int, number: float) -> None:
    """place[index] ← place[index] + number."""
    put(place, index, get(place, index) + number)


@njit(nogil=True)
def sum_rows(batch: Batch, first: int, last: int, sums: Place, row: int) -> None:
    """Σ δx, Σ δ, Σ c and N of the samples from `first` to `last`, to sums[row], … in float64."""
    lanes, features, stride = lanes_of(batch.x), batch.features, batch.stride
    gradient, partial_sums, delta, here, ahead, blank = scratch(batch)
    ahead_by = max(8, AHEAD // (features * size_of(batch.x))) * stride
    b = get(batch.bias, 0)
    nothing = load_first(batch.x, 0, 0)
    for k in range(features + 3):
        put(sums, row + k, 0.0)
    for start in range(first, last, ROWS_IN_A_ROW):
        end = min(last, start + ROWS_IN_A_ROW)
        cost_sum = delta_sum = count = nothing
        for i in range(start, end, lanes):
            rows = min(lanes, end - i)
            for r in range(lanes):
                here[r] = (i + r) * stride
                ahead[r] = here[r] + ahead_by
            for r in range(rows, lanes):
                here[r] = blank
            z = pre_activations(batch, here, ahead, partial_sums, False) + b
            c, d, d_y = chain(z, load_first(batch.y, i, rows), batch.cross_entropy)
            if batch.weighted:
                s = load_first(batch.sample_weight, i, rows)
                c, d, d_y, count = s * c, s * d, s * d_y, count + s
            c, d = keep_first(c, rows), keep_first(d, rows)
            cost_sum, delta_sum = cost_sum + c, delta_sum + d
            store(delta, 0, d)
            add_products(batch, here, delta, gradient)
            if batch.by_row:
                store_first(batch.by_z, i, d, rows)
                store_first(batch.by_y, i, d_y, rows)
        for k in range(features):
            add_to(sums, row + k, gradient[k])
            gradient[k] = 0
        add_to(sums, row + features, total(delta_sum))
        add_to(sums, row + features + 1, total(cost_sum))
        add_to(sums, row + features + 2, total(count) if batch.weighted else end - start)


@njit(nogil=True)
def descend_batches(
    batch: Batch, order: Array, size: int, first: int, last: int, learning_rate: float
) -> float:
    """Mini-batches one after another: w ← w − ν ∂C/∂w, in place; returns the sum of their costs."""
    samples = len(order)
    lanes, features, stride = lanes_of(batch.x), batch.features, batch.stride
    gradient, partial_sums, delta, here, ahead, blank = scratch(batch)
    y = aligned_zeros(batch.weight, lanes)
    s = aligned_zeros(batch.weight, lanes) + 1
    near = max(lanes, AHEAD // (features * size_of(batch.x)))
    shuffled = samples > 0
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
                    fetch(batch.y, far, False)
                    for d in range(0, features, lanes):
                        fetch(batch.x, far * stride + d, False)
                else:
                    ahead[r] = (place + near) * stride
                here[r] = place * stride
                y[r] = get(batch.y, place)
                if batch.weighted:
                    s[r] = get(batch.sample_weight, place)
            for r in range(rows, lanes):
                here[r] = blank
            z = pre_activations(batch, here, ahead, partial_sums, True) + b
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
