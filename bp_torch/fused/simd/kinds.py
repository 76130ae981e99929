"""What a vector and a pointer are to Numba: their types, and what LLVM holds of them."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import models, register_model

BITS = 512
"""Of a vector."""
BITS_OF = {"float16": 16, "bfloat16": 16, "float32": 32, "float64": 64, "int64": 64}
"""Of the numbers that pointers lead to. The first two are computed in float32."""


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
    """The name of the dtype at a pointer or in an array."""
    return place.dtype if isinstance(place, Pointer) else str(place.dtype)


def vector_of(place: types.Type) -> Vector:
    """The vector that floating-point numbers from there are computed in."""
    return FLOAT64 if dtype_of(place) == "float64" else FLOAT32


def number_of(place: types.Type) -> types.Type:
    """The type that one number from there has."""
    return types.int64 if dtype_of(place) == "int64" else vector_of(place).dtype
