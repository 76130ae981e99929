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

from bp_torch.dtypes import DTYPES, NAMES, WIDE
from bp_torch.fused.cpu_formulas import chain
from bp_torch.fused.simd import (
    Lanes,
    aligned_zeros,
    distance,
    get,
    inlined,
    keep_first,
    lanes_of,
    load,
    load_first,
    multiply_add,
    pointer,
    pointer_like,
    prefetch_l1,
    prefetch_l2,
    put,
    size_of,
    store,
    store_first,
    total,
    totals,
    vectors_on_stack,
)

Place: TypeAlias = Any
"""A `pointer`, to Numba."""
Array: TypeAlias = Any
Job: TypeAlias = Any
"""A record of `cpu_job.JOB`, to Numba."""

AHEAD = 5120
"""Bytes from a row to the one that is fetched meanwhile: enough to hide memory's delay, and not
4,096, where both would want the same place in the cache."""
FAR = 48
"""Rows, in random order, to the one that is fetched first: no processor foresees those."""
ROWS_IN_A_ROW, FEATURES_IN_A_ROW = 512, 512
"""Terms that are added up one after another in the dtype of x, before the sum is added to others:
rounding errors grow with the length of such a chain."""
MOST_LANES = 16
"""Rows in a block at most, of float32."""


class Batch(NamedTuple):
    """Samples and a neuron, as `batch_of` makes it from a `Job`: pointers in place of addresses."""

    x: Place
    x_stride: int
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


def batch_of(x_dtype: str, y_dtype: str, job: Job) -> Batch:
    """The job's batch with its dtypes, which must be known to the compiler."""
    raise NotImplementedError("only for Numba")  # which compiles the overload below


@overload(batch_of, prefer_literal=True, strict=False)
def _batch_of(x_dtype: Any, y_dtype: Any, job: Any) -> Any:
    x, y = x_dtype.literal_value, y_dtype.literal_value
    wide = NAMES[WIDE[DTYPES[x]]]

    def implementation(x_dtype: Any, y_dtype: Any, job: Any) -> Any:
        return Batch(
            x=pointer(x, job.x),
            x_stride=job.x_stride,
            y=pointer(y, job.y),
            sample_weight=pointer(y, job.sample_weight),
            weighted=job.sample_weight != 0,
            samples=job.samples,
            features=job.features,
            weight=pointer(wide, job.weight),
            bias=pointer(wide, job.bias),
            cross_entropy=job.cross_entropy != 0,
            by_z=pointer(wide, job.by_z),
            by_y=pointer(wide, job.by_y),
            by_row=job.by_z != 0,
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
    batch: Batch, here: Array, ahead: Array, partial_sums: Place, near: bool
) -> Lanes:
    """wᵀxᵣ for the rows that begin at here[r]; fetches those that begin at ahead[r]."""
    z = load_first(batch.x, 0, 0)
    for first in range(0, batch.features, FEATURES_IN_A_ROW):
        count = min(FEATURES_IN_A_ROW, batch.features - first)
        z = z + dot_products(batch, here, ahead, first, count, partial_sums, near)
    return z


@inlined
def dot_products(
    batch: Batch, here: Array, ahead: Array, first: int, count: int, partial_sums: Place, near: bool
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
def add_products(batch: Batch, here: Array, delta: Place, gradient: Array) -> None:
    """g ← g + Σᵣ δᵣ xᵣ for the rows that begin at here[r]."""
    x = batch.x
    lanes = lanes_of(x)
    rest = batch.features % lanes
    whole = batch.features - rest
    for r in range(0, lanes, 4):
        x0, x1, x2, x3 = here[r], here[r + 1], here[r + 2], here[r + 3]
        d0, d1, d2, d3 = get(delta, r), get(delta, r + 1), get(delta, r + 2), get(delta, r + 3)
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
def scratch(batch: Batch) -> tuple[Array, Place, Place, Array, Array, int]:
    """Room for g and for a block's partial sums, δ and places; and the place of a row of zeros,
    which stands for the rows that the last block lacks."""
    lanes = lanes_of(batch.x)
    padded = batch.features + lanes
    gradient = aligned_zeros(batch.weight, 2 * padded)
    partial_sums, delta = vectors_on_stack(batch.x, MOST_LANES), vectors_on_stack(batch.x, 1)
    # Written one by one, they are arrays: on the stack an epoch takes 1.4 times as long.
    here, ahead = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
    return gradient, partial_sums, delta, here, ahead, distance(batch.x, gradient, padded)


@inlined
def add_to(place: Place, index: int, number: float) -> None:
    """place[index] ← place[index] + number."""
    put(place, index, get(place, index) + number)


@njit(nogil=True)
def sum_rows(batch: Batch, first: int, last: int, sums: Place, row: int) -> None:
    """Σ δx, Σ δ, Σ c and N of the samples from `first` to `last`, to sums[row], … in float64."""
    lanes, features, stride = lanes_of(batch.x), batch.features, batch.x_stride
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
def update(batch: Batch, job: Job, gradient: Any, delta_sum: float, n: float) -> None:
    """v ← μv + ∂C/∂w + λ₂w,  |w| ← max(|w − νv| − νλ₁, 0); the bias has neither λ."""
    velocity, rate = pointer_like(batch.weight, job.velocity), job.learning_rate
    features = batch.features
    for k in range(features):
        w = get(batch.weight, k)
        v = job.momentum * get(velocity, k) + (gradient[k] / n + job.l2 * w)
        w -= rate * v
        shrunk = max(abs(w) - rate * job.l1, 0.0)
        put(velocity, k, v)
        put(batch.weight, k, shrunk if w > 0 else -shrunk)
    v = job.momentum * get(velocity, features) + delta_sum / n
    put(velocity, features, v)
    put(batch.bias, 0, get(batch.bias, 0) - rate * v)


@njit(nogil=True)
def descend_batches(batch: Batch, job: Job) -> None:
    """Mini-batches one after another: w ← w − ν ∂C/∂w, in place.

    Those samples of the order that the job names, from `first` to `last`; their steps and costs are
    added to the job's. A batch whose weights are all 0 is no step.
    """
    order, shuffled = pointer("int64", job.order), job.order != 0
    last, size, learning_rate = job.last, job.batch_size, job.learning_rate
    lanes, features, stride = lanes_of(batch.x), batch.features, batch.x_stride
    gradient, partial_sums, delta, here, ahead, blank = scratch(batch)
    nothing = load_first(batch.x, 0, 0)
    y = aligned_zeros(batch.weight, lanes)
    s = aligned_zeros(batch.weight, lanes) + 1
    near = max(lanes, AHEAD // (features * size_of(batch.x)))
    rest = features % lanes
    whole = features - rest
    steps, costs = 0, 0.0
    for start in range(job.first, last, size):
        end = min(last, start + size)
        cost_sum = delta_sum = count = nothing
        b = get(batch.bias, 0)
        for k in range(0, features, lanes):
            store(gradient, k, nothing)
        for i in range(start, end, lanes):
            rows = min(lanes, end - i)
            for r in range(rows):
                place = i + r
                if shuffled:
                    place = get(order, i + r)
                    ahead[r] = get(order, min(i + r + near, last - 1)) * stride
                    far = get(order, min(i + r + FAR, last - 1))
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
        if n == 0:
            continue
        if job.velocity != 0:
            update(batch, job, gradient, total(delta_sum), n)
            steps, costs = steps + 1, costs + total(cost_sum) / n
            continue
        rate = learning_rate / n
        minus_rate = nothing - rate
        for k in range(0, whole, lanes):
            w = multiply_add(load(gradient, k), minus_rate, load(batch.weight, k))
            store(batch.weight, k, w)
        if rest:
            w = load_first(batch.weight, whole, rest)
            w = multiply_add(load(gradient, whole), minus_rate, w)
            store_first(batch.weight, whole, w, rest)
        put(batch.bias, 0, b - rate * total(delta_sum))
        steps, costs = steps + 1, costs + total(cost_sum) / n
    job.steps += steps
    job.costs += costs
