"""Reading and writing vectors in Numba functions.

    load(x, i)            the 16 float32, or 8 float64, at x[i], x[i + 1], …

x is a Numba array or a `pointer`, and nothing checks i. float16 and bfloat16 are read as float32.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing import signature
from numba.extending import intrinsic, overload

from bp_torch.fused.vectors import (
    BITS,
    BITS_OF,
    INT32,
    INT64,
    Pointer,
    Vector,
    address_of,
    call_llvm,
    constant_of,
    converted,
    dtype_of,
    first_lanes,
    stored_as,
    vector_of,
)


@intrinsic(prefer_literal=True)
def pointer(typing: Any, dtype: types.StringLiteral, address: types.Integer) -> Any:
    """pointer("bfloat16", tensor.data_ptr()): the name must be known when Numba compiles."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[1], ir.IntType(8).as_pointer())

    return signature(Pointer(dtype.literal_value), dtype, types.int64), emit


@intrinsic
def pointer_like(typing: Any, like: Pointer, address: types.Integer) -> Any:
    """A pointer to numbers of the same dtype."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[1], ir.IntType(8).as_pointer())

    return signature(like, like, types.int64), emit


@intrinsic
def lanes_of(typing: Any, place: types.Type) -> Any:
    """How many numbers from there make a vector: 8 of float64, 16 of the others."""
    vector = vector_of(place)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return INT64(vector.lanes)

    return signature(types.int64, place), emit


@intrinsic
def size_of(typing: Any, place: types.Type) -> Any:
    """Bytes per number there."""
    size = BITS_OF[dtype_of(place)] // 8

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return INT64(size)

    return signature(types.int64, place), emit


def aligned_zeros(place: types.Type, length: int) -> Any:
    """An array in the dtype that numbers from `place` are computed in, on a boundary of 64 bytes:
    a vector across a boundary takes two accesses."""
    raise NotImplementedError("only for Numba")  # which compiles the overload below


@overload(aligned_zeros, strict=False)
def _aligned_zeros(place: types.Type, length: types.Integer) -> Any:
    dtype = np.dtype(str(vector_of(place).dtype))
    lanes, size = vector_of(place).lanes, dtype.itemsize

    def implementation(place: Any, length: int) -> Any:
        array = np.zeros(length + lanes, dtype)
        begin = (-array.ctypes.data % (BITS // 8)) // size
        return array[begin : begin + length]

    return implementation


@intrinsic
def take(typing: Any, array: types.Array, index: types.Integer) -> Any:
    """array[index], and one more from now on; no two threads get the same."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        data = context.make_array(array)(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        return builder.atomic_rmw("add", place, INT64(1), "monotonic")

    return signature(types.int64, array, types.int64), emit


@intrinsic
def distance(typing: Any, place: types.Type, array: types.Array, index: types.Integer) -> Any:
    """The index i, in numbers as those of `place`, at which place[i] is array[index]."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        start = address_of(context, builder, place, arguments[0], INT64(0))
        target = address_of(context, builder, array, arguments[1], arguments[2])
        start, target = (builder.ptrtoint(address, INT64) for address in (start, target))
        return builder.sdiv(builder.sub(target, start), INT64(BITS_OF[dtype_of(place)] // 8))

    return signature(types.int64, place, array, types.int64), emit


@intrinsic
def load(typing: Any, place: types.Type, index: types.Integer) -> Any:
    """The vector at that index."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        stored = stored_as(place)
        address = builder.bitcast(
            address_of(context, builder, place, *arguments), stored.as_pointer()
        )
        raw = builder.load(address, align=BITS_OF[dtype_of(place)] // 8)
        return converted(builder, place, raw)

    return signature(vector_of(place), place, types.int64), emit


@intrinsic
def load_first(typing: Any, place: types.Type, index: types.Integer, count: types.Integer) -> Any:
    """The first `count` lanes of the vector at that index, then 0; nothing beyond is read."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value, index, count = arguments
        stored, vector = stored_as(place), vector_of(place)
        address = address_of(context, builder, place, value, index)
        address = builder.bitcast(address, stored.as_pointer())
        element = (
            f"{'i' if isinstance(stored.element, ir.IntType) else 'f'}{BITS_OF[dtype_of(place)]}"
        )
        raw = call_llvm(
            builder,
            f"llvm.masked.load.v{vector.lanes}{element}.p0",
            stored,
            address,
            INT32(BITS_OF[dtype_of(place)] // 8),
            first_lanes(builder, vector, count),
            constant_of(stored, 0),
        )
        return converted(builder, place, raw)

    return signature(vector_of(place), place, types.int64, types.int64), emit


@intrinsic
def store(typing: Any, place: types.Type, index: types.Integer, value: Vector) -> Any:
    """Write the vector there; float32 and float64 only."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address = address_of(context, builder, place, *arguments[:2])
        address = builder.bitcast(address, value.ir.as_pointer())
        builder.store(arguments[2], address, align=value.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return signature(types.none, place, types.int64, value), emit


@intrinsic
def store_first(
    typing: Any, place: types.Type, index: types.Integer, value: Vector, count: types.Integer
) -> Any:
    """Write the first `count` lanes there; float32 and float64 only."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        place_value, index, vector, count = arguments
        address = address_of(context, builder, place, place_value, index)
        address = builder.bitcast(address, value.ir.as_pointer())
        call_llvm(
            builder,
            f"llvm.masked.store.v{value.lanes}f{value.dtype.bitwidth}.p0",
            ir.VoidType(),
            vector,
            address,
            INT32(value.dtype.bitwidth // 8),
            first_lanes(builder, value, count),
        )
        return context.get_dummy_value()

    return signature(types.none, place, types.int64, value, types.int64), emit


@intrinsic
def get(typing: Any, place: Pointer, index: types.Integer) -> Any:
    """The one number there."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address = address_of(context, builder, place, *arguments)
        element = stored_as(place).element
        raw = builder.load(builder.bitcast(address, element.as_pointer()))
        return converted(builder, place, raw)

    return signature(vector_of(place).dtype, place, types.int64), emit


@intrinsic
def put(typing: Any, place: Pointer, index: types.Integer, number: types.Float) -> Any:
    """Write the one number there, in the dtype of the place; float32 and float64 only."""
    dtype = vector_of(place).dtype

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address = address_of(context, builder, place, *arguments[:2])
        value = context.cast(builder, arguments[2], number, dtype)
        builder.store(value, builder.bitcast(address, value.type.as_pointer()))
        return context.get_dummy_value()

    return signature(types.none, place, types.int64, number), emit


def _prefetch(level: int) -> Any:
    @intrinsic
    def prefetch(typing: Any, place: types.Type, index: types.Integer) -> Any:
        """Have the number there brought near; any index will do, also outside."""

        def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            address = address_of(context, builder, place, *arguments)
            read, locality, data = INT32(0), INT32(4 - level), INT32(1)
            call_llvm(builder, "llvm.prefetch.p0", ir.VoidType(), address, read, locality, data)
            return context.get_dummy_value()

        return signature(types.none, place, types.int64), emit

    return prefetch


prefetch_l1 = _prefetch(1)
prefetch_l2 = _prefetch(2)
