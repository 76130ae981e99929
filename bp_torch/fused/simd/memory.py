"""Vectors read from memory, and written.

    load(x, i)            the 16 float32, or 8 float64, at x[i], x[i + 1], …

x is a Numba array or a `pointer`, and nothing checks i. float16 and bfloat16 are read as float32.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing import signature
from numba.extending import intrinsic

from bp_torch.fused.simd.emit import (
    INT32,
    address_of,
    bytes_of,
    call_llvm,
    constant_of,
    converted,
    first_lanes,
    stored_as,
)
from bp_torch.fused.simd.kinds import Vector, vector_of


@intrinsic
def load(typing: Any, place: types.Type, index: types.Integer) -> Any:
    """The vector at that index."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        stored = stored_as(place)
        address = builder.bitcast(
            address_of(context, builder, place, *arguments), stored.as_pointer()
        )
        raw = builder.load(address, align=bytes_of(place))
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
        kind = "i" if isinstance(stored.element, ir.IntType) else "f"
        raw = call_llvm(
            builder,
            f"llvm.masked.load.v{vector.lanes}{kind}{8 * bytes_of(place)}.p0",
            stored,
            address,
            INT32(bytes_of(place)),
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
