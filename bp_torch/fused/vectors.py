"""Vectors of 64 bytes for Numba: a register of AVX-512, two of AVX2, four of NEON.

A loop over numbers is fast where LLVM vectorises it, and that it does not do for an address with an
offset, for short rows, for bfloat16, or with more than 256 bits. Here a vector is a value: a kernel
says what it means, and one formula serves float32 and float64. `vector_memory.py` reads and writes
them, `vector_math.py` computes with them; both are code that writes code, with what stands here: an
`emit` puts LLVM instructions for arguments whose types are known, and Numba calls it to compile.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

BITS = 512
INT32, INT64 = ir.IntType(32), ir.IntType(64)
BITS_OF = {"float16": 16, "bfloat16": 16, "float32": 32, "float64": 64}


class Vector(types.Type):
    """A vector of float32 or of float64."""

    def __init__(self, dtype: types.Float) -> None:
        super().__init__(name=f"Vector({dtype})")
        self.dtype = dtype
        self.lanes = BITS // dtype.bitwidth
        scalar = ir.FloatType() if dtype == types.float32 else ir.DoubleType()
        self.ir = ir.VectorType(scalar, self.lanes)
        self.ir_integers = ir.VectorType(ir.IntType(dtype.bitwidth), self.lanes)
        self.mantissa, self.exponent_bias = (23, 127) if dtype == types.float32 else (52, 1023)


class Pointer(types.Type):
    """An address and the dtype of the numbers there."""

    def __init__(self, dtype: str) -> None:
        super().__init__(name=f"Pointer({dtype})")
        self.dtype = dtype


FLOAT32, FLOAT64 = Vector(types.float32), Vector(types.float64)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.ir)


@register_model(Pointer)
class _PointerModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Pointer) -> None:
        super().__init__(manager, kind, ir.IntType(8).as_pointer())


def dtype_of(place: types.Type) -> str:
    """The name of the dtype there."""
    return place.dtype if isinstance(place, Pointer) else str(place.dtype)


def vector_of(place: types.Type) -> Vector:
    """The vector that numbers from there are computed in."""
    return FLOAT64 if dtype_of(place) == "float64" else FLOAT32


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


def address_of(context: Any, builder: Any, place: types.Type, value: Any, index: Any) -> Any:
    """Of the number at that index, as i8*."""
    byte = ir.IntType(8).as_pointer()
    base = value
    if isinstance(place, types.Array):
        base = builder.bitcast(context.make_array(place)(context, builder, value).data, byte)
    size = INT64(BITS_OF[dtype_of(place)] // 8)
    return builder.gep(base, [builder.mul(index, size)])


def stored_as(place: types.Type) -> ir.VectorType:
    """The vector as it lies in memory; LLVM has no arithmetic for bfloat16, so 16 bits are bits."""
    vector, bits = vector_of(place), BITS_OF[dtype_of(place)]
    return vector.ir if bits > 16 else ir.VectorType(ir.IntType(16), vector.lanes)


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
