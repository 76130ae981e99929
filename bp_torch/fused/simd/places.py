"""Where numbers lie: pointers and records at an address, and one number at a time.

A place is a Numba array or a `pointer`. Nothing checks an index.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing import signature
from numba.extending import intrinsic, overload

from bp_torch.fused.simd.emit import BYTE_POINTER, INT64, address_of, bytes_of, converted, stored_as
from bp_torch.fused.simd.kinds import BITS, Pointer, dtype_of, number_of, vector_of


@intrinsic(prefer_literal=True)
def pointer(typing: Any, dtype: types.StringLiteral, address: types.Integer) -> Any:
    """pointer("bfloat16", tensor.data_ptr()): the name must be known when Numba compiles."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[1], BYTE_POINTER)

    return signature(Pointer(dtype.literal_value), dtype, types.int64), emit


@intrinsic
def pointer_like(typing: Any, like: Pointer, address: types.Integer) -> Any:
    """A pointer to numbers of the same dtype."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[1], BYTE_POINTER)

    return signature(like, like, types.int64), emit


@intrinsic
def record(typing: Any, dtype: types.DType, address: types.Integer) -> Any:
    """record(np.dtype([("n", "i8"), …]), address): its fields are there by name, as r.n."""
    kind = dtype.dtype

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[1], context.get_value_type(kind))

    return signature(kind, dtype, types.int64), emit


@intrinsic(prefer_literal=True)
def take(typing: Any, record: types.Record, name: types.StringLiteral) -> Any:
    """That int64 of the record, and one more from now on; no two threads get the same."""
    offset = record.offset(name.literal_value)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        start = builder.bitcast(arguments[0], BYTE_POINTER)
        place = builder.bitcast(builder.gep(start, [INT64(offset)]), INT64.as_pointer())
        return builder.atomic_rmw("add", place, INT64(1), "monotonic")

    return signature(types.int64, record, name), emit


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

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return INT64(bytes_of(place))

    return signature(types.int64, place), emit


@intrinsic
def get(typing: Any, place: Pointer, index: types.Integer) -> Any:
    """The one number there."""
    integers = dtype_of(place) == "int64"

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address = address_of(context, builder, place, *arguments)
        element: ir.Type = INT64 if integers else stored_as(place).element
        raw = builder.load(builder.bitcast(address, element.as_pointer()))
        return converted(builder, place, raw)

    return signature(number_of(place), place, types.int64), emit


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


@intrinsic(prefer_literal=True)
def vectors_on_stack(typing: Any, like: Pointer, count: types.IntegerLiteral) -> Any:
    """A pointer to so many vectors of 0, on a boundary of 64 bytes; gone with the function."""
    place, size = Pointer(str(vector_of(like).dtype)), count.literal_value * BITS // 8

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        room = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(8), size))
        room.align = BITS // 8
        cgutils.memset(builder, room, INT64(size), 0)
        return builder.bitcast(room, BYTE_POINTER)

    return signature(place, like, count), emit


@intrinsic
def distance(typing: Any, place: types.Type, array: types.Array, index: types.Integer) -> Any:
    """The index i, in numbers as those of `place`, at which place[i] is array[index]."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        start = address_of(context, builder, place, arguments[0], INT64(0))
        target = address_of(context, builder, array, arguments[1], arguments[2])
        start, target = (builder.ptrtoint(address, INT64) for address in (start, target))
        return builder.sdiv(builder.sub(target, start), INT64(bytes_of(place)))

    return signature(types.int64, place, array, types.int64), emit


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
