"""The fused step's kernels for a CUDA device, in Triton.

A program takes one chunk of the rows, tile by tile; a tile stays in registers between its two uses:

    zᵣ = wᵀxᵣ + b         for each row r of the tile
    cᵣ, δᵣ = ∂cᵣ/∂zᵣ
    G ← G + δᵣ xᵣ         a sum for each place in the tile; its rows are added after the last tile
"""

# A kernel's arguments have no types for Python, but for constants:
# mypy: allow-untyped-defs, allow-incomplete-defs

import triton
import triton.language as tl


@triton.jit
def _power_of_two(k, double: tl.constexpr):
    """2^k of integers k, by its bits."""
    if double:
        return ((k.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)
    else:  # without it, both would be compiled
        return ((k + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def _exp_minus(a):
    """e^{−a} = 2^{−k} e^{r}, r = k ln 2 − a, for a ≥ 0: tl.exp is off by |a| rounding units.

    ln 2 is in two parts, of which the first has so few bits that its product with k is exact. The
    series of e^{r} ends where the next term is below half a rounding unit.
    """
    double: tl.constexpr = a.dtype == tl.float64
    vanishing: tl.constexpr = 746.0 if double else 104.0  # e^{−a} rounds to 0 from here on
    high: tl.constexpr = 0.6931471805592082 if double else 0.693145751953125
    low: tl.constexpr = 7.371002565167799e-13 if double else 1.4286068203094173e-06
    terms: tl.constexpr = 13 if double else 7
    bounded = tl.where(a < vanishing, a, vanishing)
    k = tl.floor(bounded * 1.4426950408889634 + 0.5)
    r = (k * high - bounded) + k * low
    series = r * (1.0 / terms) + 1.0
    for i in tl.static_range(1, terms):
        series = series * (r * (1.0 / (terms - i))) + 1.0
    k = k.to(tl.int32)
    half = k >> 1  # 2^{−k} by itself may be subnormal
    e = series * _power_of_two(-half, double) * _power_of_two(half - k, double)
    return tl.where(a == a, e, a)


@triton.jit
def _log_1_plus(e):
    """ln(1 + e) = 2 atanh(s), s = e/(2 + e), for 0 ≤ e ≤ 1, by its series in s² ≤ 1/9."""
    terms: tl.constexpr = 17 if e.dtype == tl.float64 else 8
    s = e / (2.0 + e)
    series = s * s * (1.0 / (2 * terms - 1)) + 1.0 / (2 * terms - 3)
    for i in tl.static_range(2, terms):
        series = series * (s * s) + 1.0 / (2 * terms - 2 * i - 1)
    return 2.0 * s * series


@triton.jit
def _chain(z, y, cross_entropy: tl.constexpr):
    """Each sample's cost c, δ = ∂c/∂z and ∂c/∂y; the formulas stand in cpu_formulas.py."""
    largest: tl.constexpr = (
        1.7976931348623157e308 if z.dtype == tl.float64 else 3.4028234663852886e38
    )
    size = tl.abs(z)
    size = tl.where(size > largest, largest, size)  # for ∞ · 0 is not a cost
    e = _exp_minus(size)
    q = 1.0 / (1.0 + e)
    rest = e * q
    error = tl.where(z < 0, rest - y, (1.0 - y) - rest)
    if cross_entropy:
        return _log_1_plus(e) + size * tl.where(z < 0, y, 1.0 - y), error, -z
    else:
        return 0.5 * error * error, error * (rest * q), -error


@triton.jit
def _rows(order, sample_weight, i, present, wide: tl.constexpr):
    """Where in x the rows are that come i-th, and their s; 0 where there is none."""
    places, s = i.to(tl.int64), present.to(wide)
    if order is not None:
        places = tl.load(order + places, mask=present, other=0)
    if sample_weight is not None:
        s = tl.load(sample_weight + places, mask=present, other=0.0).to(wide)
    return places, s


@triton.jit
def _features(x, stride, places, present, columns, used, wide: tl.constexpr):
    """A tile of x; 0 wherever there is no such row or feature."""
    numbers = x + places[:, None] * stride + columns[None, :]
    return tl.load(numbers, mask=present[:, None] & used[None, :], other=0.0).to(wide)


@triton.jit
def _samples(z, y, s, places, present, cross_entropy: tl.constexpr):
    """s c, s δ and s ∂c/∂y of each row; the first two are 0 where there is none."""
    target = tl.load(y + places, mask=present, other=0.0).to(z.dtype)
    c, d, d_y = _chain(z, target, cross_entropy)
    return tl.where(present, s * c, 0.0), tl.where(present, s * d, 0.0), s * d_y


@triton.jit
def _sums(
    x, stride, y, sample_weight, order, w, b, by_c, by_z, by_y, first, last, columns, used,
    cross_entropy: tl.constexpr, block_rows: tl.constexpr,
):  # fmt: skip
    """Σ c, Σ δx, Σ δ and N of the rows from `first` to `last`.

    With by_c, the second of two passes: c and δ are there, and x is a part of the features. Else
    the only one, which writes δ and ∂c/∂y where by_z and by_y are given.
    """
    wide: tl.constexpr = w.dtype
    products = tl.zeros([block_rows, w.shape[0]], wide)
    c_sum = tl.zeros([block_rows], wide)
    d_sum = tl.zeros([block_rows], wide)
    s_sum = tl.zeros([block_rows], wide)
    for start in range(first, last, block_rows):
        i = start + tl.arange(0, block_rows)
        present = i < last
        places, s = _rows(order, sample_weight, i, present, wide)
        tile = _features(x, stride, places, present, columns, used, wide)
        if by_c is None:
            z = tl.sum(tile * w[None, :], axis=1) + b
            c, d, d_y = _samples(z, y, s, places, present, cross_entropy)
            if by_z is not None:
                tl.store(by_z + i, d, mask=present)
                tl.store(by_y + i, d_y, mask=present)
        else:
            c = tl.load(by_c + i, mask=present, other=0.0)
            d = tl.load(by_z + i, mask=present, other=0.0)
        products += d[:, None] * tile
        c_sum += c
        d_sum += d
        s_sum += s
    return tl.sum(c_sum), tl.sum(products, axis=0), tl.sum(d_sum), tl.sum(s_sum)


@triton.jit(do_not_specialize=["samples", "chunk"])
def sum_chunk(
    x, stride, y, sample_weight, weight, bias, by_c, by_z, by_y, sums, cost, grad_weight, grad_bias,
    samples, features, chunk, cross_entropy: tl.constexpr, unit: tl.constexpr,
    block_rows: tl.constexpr, block_d: tl.constexpr,
):  # fmt: skip
    """Write a chunk's sums to its row of `sums`; where there is none, the means to their places."""
    stride, features = stride * unit, features * unit
    first = tl.program_id(1).to(tl.int64) * chunk
    last = tl.minimum(first + chunk, samples)
    columns = tl.program_id(0) * block_d + tl.arange(0, block_d)
    used = columns < features
    w, b = tl.load(weight + columns, mask=used, other=0.0), tl.load(bias)
    batch = x, stride, y, sample_weight, None, w, b, by_c, by_z, by_y
    c, dx, d, n = _sums(*batch, first, last, columns, used, cross_entropy, block_rows)
    if sums is None:
        tl.store(cost, c / n)
        tl.store(grad_weight + columns, dx / n, mask=used)
        tl.store(grad_bias, d / n)
    else:
        row = sums + tl.program_id(1).to(tl.int64) * (features + 3)
        tl.store(row + columns, dx, mask=used)
        if tl.program_id(0) == 0:
            tl.store(row + features, d)
            tl.store(row + features + 1, c)
            tl.store(row + features + 2, n)


@triton.jit(do_not_specialize=["samples"])
def row_by_row(
    x, stride, y, sample_weight, weight, bias, by_c, by_z, by_y, samples, features,
    cross_entropy: tl.constexpr, unit: tl.constexpr, block_rows: tl.constexpr,
    block_d: tl.constexpr,
):  # fmt: skip
    """The first of two passes: s c, s δ and s ∂c/∂y of one tile's rows."""
    stride, features = stride * unit, features * unit
    i = tl.program_id(0).to(tl.int64) * block_rows + tl.arange(0, block_rows)
    present = i < samples
    wide: tl.constexpr = weight.dtype.element_ty
    places, s = _rows(None, sample_weight, i, present, wide)
    products = tl.zeros([block_rows, block_d], wide)
    for first in range(0, features, block_d):
        columns = first + tl.arange(0, block_d)
        used = columns < features
        w = tl.load(weight + columns, mask=used, other=0.0)
        products += _features(x, stride, places, present, columns, used, wide) * w[None, :]
    z = tl.sum(products, axis=1) + tl.load(bias)
    c, d, d_y = _samples(z, y, s, places, present, cross_entropy)
    tl.store(by_c + i, c, mask=present)
    tl.store(by_z + i, d, mask=present)
    if by_y is not None:
        tl.store(by_y + i, d_y, mask=present)


@triton.jit(do_not_specialize=["chunks"])
def add_chunks(
    sums, cost, grad_weight, grad_bias, chunks, features, block_rows: tl.constexpr,
    block_d: tl.constexpr,
):  # fmt: skip
    """The means from the chunks' sums, added in float64."""
    columns = tl.program_id(0) * block_d + tl.arange(0, block_d)
    total = tl.zeros([block_rows, block_d], tl.float64)
    n = tl.zeros([block_rows], tl.float64)
    for start in range(0, chunks, block_rows):
        i = start + tl.arange(0, block_rows).to(tl.int64)
        used = columns < features + 2
        total += _features(sums, features + 3, i, i < chunks, columns, used, tl.float64)
        n += tl.load(sums + i * (features + 3) + features + 2, mask=i < chunks, other=0.0)
    mean = tl.sum(total, axis=0) / tl.sum(n)
    tl.store(grad_weight + columns, mean, mask=columns < features)
    tl.store(grad_bias + columns * 0, mean, mask=columns == features)
    tl.store(cost + columns * 0, mean, mask=columns == features + 1)


@triton.jit(do_not_specialize=["first", "last", "batch_size"])
def descend(
    x, stride, y, sample_weight, order, weight, bias, learning_rate, costs_and_steps, first, last,
    batch_size, features, cross_entropy: tl.constexpr, unit: tl.constexpr,
    block_rows: tl.constexpr, block_d: tl.constexpr,
):  # fmt: skip
    """Mini-batches one after another: w ← w − ν ∂C/∂w, in place; adds up their costs and number.

    A batch whose weights are all 0 is no step.
    """
    stride, features = stride * unit, features * unit
    columns = tl.arange(0, block_d)
    used = columns < features
    w, b = tl.load(weight + columns, mask=used, other=0.0), tl.load(bias)
    cost_sum, steps = tl.load(costs_and_steps), tl.load(costs_and_steps + 1)
    for start in range(first.to(tl.int64), last.to(tl.int64), batch_size.to(tl.int64)):
        end = start + tl.minimum(last - start, batch_size)
        batch = x, stride, y, sample_weight, order, w, b, None, None, None
        c, dx, d, n = _sums(*batch, start, end, columns, used, cross_entropy, block_rows)
        if n != 0:
            rate = (tl.load(learning_rate) / n).to(w.dtype)
            w -= rate * dx
            b -= rate * d
            cost_sum += c.to(tl.float64) / n
            steps += 1
    tl.store(weight + columns, w, mask=used)
    tl.store(bias, b)
    tl.store(costs_and_steps, cost_sum)
    tl.store(costs_and_steps + 1, steps)
