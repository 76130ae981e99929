"""The instructions of LLVM that the words of the language are made of.

Code that writes code: an `emit` gets the values of arguments whose types are known, puts what is
here, and returns the value of the result; Numba calls it while it compiles.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from bp_torch.fused.simd.kinds import BITS_OF, Vector, dtype_of, vector_of

INT32, INT64 = ir.IntType(32), ir.IntType(64)
BYTE_POINTER = ir.IntType(8).as_pointer()


def constant_of(kind: ir.VectorType, value: float) -> ir.Constant:
    """The same number in every lane."""
    return ir.Constant(kind, [value] * kind.count)


def broadcast(builder: Any, kind: ir.VectorType, number: Any) -> Any:
    """The same computed number in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, number, INT32(0))
    return builder.shuffle_vector(
        first, undefined, constant_of(ir.VectorType(INT32, kind.count), 0)
    )


def call_llvm(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """A call of one of LLVM's own functions."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def call_on_vectors(builder: Any, name: str, vector: Vector, *arguments: Any) -> Any:
    """The same, for one that takes and gives vectors."""
    suffix = f"v{vector.lanes}f{vector.dtype.bitwidth}"
    return call_llvm(builder, f"llvm.{name}.{suffix}", vector.ir, *arguments)


def bytes_of(place: types.Type) -> int:
    """Of one number there."""
    return BITS_OF[dtype_of(place)] // 8


def address_of(context: Any, builder: Any, place: types.Type, value: Any, index: Any) -> Any:
    """Of the number at that index, as i8*."""
    base = value
    if isinstance(place, types.Array):
        data = context.make_array(place)(context, builder, value).data
        base = builder.bitcast(data, BYTE_POINTER)
    return builder.gep(base, [builder.mul(index, INT64(bytes_of(place)))])


def stored_as(place: types.Type) -> ir.VectorType:
    """A vector as it lies in memory; LLVM has no arithmetic for bfloat16, so 16 bits are bits."""
    vector = vector_of(place)
    return vector.ir if bytes_of(place) > 2 else ir.VectorType(ir.IntType(16), vector.lanes)


def converted(builder: Any, place: types.Type, raw: Any) -> Any:
    """What was read, a number or a vector, in the dtype to compute in."""

    def shaped(element: ir.Type) -> ir.Type:
        vector = isinstance(raw.type, ir.VectorType)
        return ir.VectorType(element, raw.type.count) if vector else element

    if dtype_of(place) == "float16":
        return builder.fpext(builder.bitcast(raw, shaped(ir.HalfType())), shaped(ir.FloatType()))
    if dtype_of(place) == "bfloat16":  # the upper half of a float32
        wide = builder.zext(raw, shaped(INT32))
        upper = builder.shl(
            wide, ir.Constant(wide.type, 16 if wide.type == INT32 else [16] * wide.type.count)
        )
        return builder.bitcast(upper, shaped(ir.FloatType()))
    return raw


def first_lanes(builder: Any, vector: Vector, count: Any) -> Any:
    """A mask: lane < count."""
    lanes = ir.Constant(ir.VectorType(INT64, vector.lanes), list(range(vector.lanes)))
    return builder.icmp_signed("<", lanes, broadcast(builder, lanes.type, count))
