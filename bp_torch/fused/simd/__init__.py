"""Vectors of 64 bytes for Numba: a register of AVX-512, two of AVX2, four of NEON.

A loop over numbers is fast where LLVM vectorises it, and that it does not do for an address with an
offset, for short rows, for bfloat16, or with more than 256 bits. Here a vector is a value: a kernel
says what it means, and one formula serves float32 and float64.

    z = load_first(x, i, rows)       16 float32, or 8 float64; 0 from lane `rows` on
    e = exp_minus(magnitude(z))      lane by lane
    store_first(y, i, 1.0 / (1.0 + e), rows)

The layers, each made of those before it:

    kinds        what a vector and a pointer are to Numba
    emit         the instructions of LLVM that the rest puts
    places       where numbers lie: pointers, records, one number at a time
    memory       vectors read from there, and written
    arithmetic   computing with vectors
    elementary   e^{−a} and ln(1 + e)
"""

from bp_torch.fused.simd.arithmetic import (
    Lanes,
    at_most,
    inlined,
    keep_first,
    magnitude,
    multiply_add,
    nearest_integer,
    per_dtype,
    polynomial,
    power_of_two,
    total,
    totals,
    where_negative,
)
from bp_torch.fused.simd.elementary import exp_minus, log_1_plus
from bp_torch.fused.simd.memory import (
    load,
    load_first,
    prefetch_l1,
    prefetch_l2,
    store,
    store_first,
)
from bp_torch.fused.simd.places import (
    aligned_zeros,
    distance,
    get,
    lanes_of,
    pointer,
    pointer_like,
    put,
    record,
    size_of,
    take,
    vectors_on_stack,
)

__all__ = [
    "Lanes",
    "aligned_zeros",
    "at_most",
    "distance",
    "exp_minus",
    "get",
    "inlined",
    "keep_first",
    "lanes_of",
    "load",
    "load_first",
    "log_1_plus",
    "magnitude",
    "multiply_add",
    "nearest_integer",
    "per_dtype",
    "pointer",
    "pointer_like",
    "polynomial",
    "power_of_two",
    "prefetch_l1",
    "prefetch_l2",
    "put",
    "record",
    "size_of",
    "store",
    "store_first",
    "take",
    "total",
    "totals",
    "vectors_on_stack",
    "where_negative",
]
