"""Vectors of 64 bytes for Numba: a register of AVX-512, two of AVX2, four of NEON.

A loop over numbers is fast where LLVM vectorises it, and that it does not do for an address with an
offset, for short rows, for bfloat16, or with more than 256 bits. Here a vector is a value: a kernel
says what it means, and one formula serves float32 and float64.

    load(x, i)            the 16 float32 (or 8 float64) at x[i], x[i + 1], …
    a + b, 1.0 / a        lane by lane; a number stands for a vector of it

x is a Numba array or a `pointer`, and nothing checks i. float16 and bfloat16 are read as float32.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.core.typing import signature
from numba.extending import intrinsic, models, overload, register_model

BITS = 512
_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_BITS_OF = {"float16": 16, "bfloat16": 16, "float32": 32, "float64": 64}


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


# What follows is code that writes code: each `emit` puts LLVM instructions for arguments whose
# types are known, and Numba calls it while it compiles.

Emit = Callable[..., Any]


def _dtype(place: types.Type) -> str:
    return place.dtype if isinstance(place, Pointer) else str(place.dtype)


def _vector_of(place: types.Type) -> Vector:
    return FLOAT64 if _dtype(place) == "float64" else FLOAT32


def _constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def _broadcast(builder: Any, kind: ir.VectorType, number: Any) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, number, _INT32(0))
    return builder.shuffle_vector(first, undefined, _constant(ir.VectorType(_INT32, kind.count), 0))


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _llvm(builder: Any, name: str, vector: Vector, *arguments: Any) -> Any:
    suffix = f"v{vector.lanes}f{vector.dtype.bitwidth}"
    return _call(builder, f"llvm.{name}.{suffix}", vector.ir, *arguments)


def _address(context: Any, builder: Any, place: types.Type, value: Any, index: Any) -> Any:
    """Of the number at that index, as i8*."""
    byte = ir.IntType(8).as_pointer()
    base = value
    if isinstance(place, types.Array):
        base = builder.bitcast(context.make_array(place)(context, builder, value).data, byte)
    size = _INT64(_BITS_OF[_dtype(place)] // 8)
    return builder.gep(base, [builder.mul(index, size)])


def _stored(place: types.Type) -> ir.VectorType:
    """The vector as it lies in memory; LLVM has no arithmetic for bfloat16, so 16 bits are bits."""
    vector, bits = _vector_of(place), _BITS_OF[_dtype(place)]
    return vector.ir if bits > 16 else ir.VectorType(ir.IntType(16), vector.lanes)


def _converted(builder: Any, place: types.Type, raw: Any) -> Any:
    """What was read, a number or a vector, in the dtype to compute in."""

    def shaped(element: ir.Type) -> ir.Type:
        vector = isinstance(raw.type, ir.VectorType)
        return ir.VectorType(element, raw.type.count) if vector else element

    if _dtype(place) == "float16":
        return builder.fpext(builder.bitcast(raw, shaped(ir.HalfType())), shaped(ir.FloatType()))
    if _dtype(place) == "bfloat16":  # the upper half of a float32
        wide = builder.zext(raw, shaped(_INT32))
        upper = builder.shl(
            wide, ir.Constant(wide.type, 16 if wide.type == _INT32 else [16] * wide.type.count)
        )
        return builder.bitcast(upper, shaped(ir.FloatType()))
    return raw


def _first_lanes(builder: Any, vector: Vector, count: Any) -> Any:
    """A mask: lane < count."""
    lanes = ir.Constant(ir.VectorType(_INT64, vector.lanes), list(range(vector.lanes)))
    return builder.icmp_signed("<", lanes, _broadcast(builder, lanes.type, count))


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
    vector = _vector_of(place)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _INT64(vector.lanes)

    return signature(types.int64, place), emit


@intrinsic
def size_of(typing: Any, place: types.Type) -> Any:
    """Bytes per number there."""
    size = _BITS_OF[_dtype(place)] // 8

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _INT64(size)

    return signature(types.int64, place), emit


def aligned_zeros(place: types.Type, length: int) -> Any:
    """An array in the dtype that numbers from `place` are computed in, on a boundary of 64 bytes:
    a vector across a boundary takes two accesses."""
    raise NotImplementedError("only for Numba")


@overload(aligned_zeros, strict=False)
def _aligned_zeros(place: types.Type, length: types.Integer) -> Any:
    dtype = np.dtype(str(_vector_of(place).dtype))
    lanes, size = _vector_of(place).lanes, dtype.itemsize

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
        return builder.atomic_rmw("add", place, _INT64(1), "monotonic")

    return signature(types.int64, array, types.int64), emit


@intrinsic
def distance(typing: Any, place: types.Type, array: types.Array, index: types.Integer) -> Any:
    """The index i, in numbers as those of `place`, at which place[i] is array[index]."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        start = _address(context, builder, place, arguments[0], _INT64(0))
        target = _address(context, builder, array, arguments[1], arguments[2])
        start, target = (builder.ptrtoint(address, _INT64) for address in (start, target))
        return builder.sdiv(builder.sub(target, start), _INT64(_BITS_OF[_dtype(place)] // 8))

    return signature(types.int64, place, array, types.int64), emit


@intrinsic
def load(typing: Any, place: types.Type, index: types.Integer) -> Any:
    """The vector at that index."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        stored = _stored(place)
        address = builder.bitcast(
            _address(context, builder, place, *arguments), stored.as_pointer()
        )
        raw = builder.load(address, align=_BITS_OF[_dtype(place)] // 8)
        return _converted(builder, place, raw)

    return signature(_vector_of(place), place, types.int64), emit


@intrinsic
def load_first(typing: Any, place: types.Type, index: types.Integer, count: types.Integer) -> Any:
    """The first `count` lanes of the vector at that index, then 0; nothing beyond is read."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value, index, count = arguments
        stored, vector = _stored(place), _vector_of(place)
        address = _address(context, builder, place, value, index)
        address = builder.bitcast(address, stored.as_pointer())
        element = (
            f"{'i' if isinstance(stored.element, ir.IntType) else 'f'}{_BITS_OF[_dtype(place)]}"
        )
        raw = _call(
            builder,
            f"llvm.masked.load.v{vector.lanes}{element}.p0",
            stored,
            address,
            _INT32(_BITS_OF[_dtype(place)] // 8),
            _first_lanes(builder, vector, count),
            _constant(stored, 0),
        )
        return _converted(builder, place, raw)

    return signature(_vector_of(place), place, types.int64, types.int64), emit


@intrinsic
def store(typing: Any, place: types.Type, index: types.Integer, value: Vector) -> Any:
    """Write the vector there; float32 and float64 only."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address = _address(context, builder, place, *arguments[:2])
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
        address = _address(context, builder, place, place_value, index)
        address = builder.bitcast(address, value.ir.as_pointer())
        _call(
            builder,
            f"llvm.masked.store.v{value.lanes}f{value.dtype.bitwidth}.p0",
            ir.VoidType(),
            vector,
            address,
            _INT32(value.dtype.bitwidth // 8),
            _first_lanes(builder, value, count),
        )
        return context.get_dummy_value()

    return signature(types.none, place, types.int64, value, types.int64), emit


@intrinsic
def get(typing: Any, place: Pointer, index: types.Integer) -> Any:
    """The one number there."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address = _address(context, builder, place, *arguments)
        element = _stored(place).element
        raw = builder.load(builder.bitcast(address, element.as_pointer()))
        return _converted(builder, place, raw)

    return signature(_vector_of(place).dtype, place, types.int64), emit


@intrinsic
def put(typing: Any, place: Pointer, index: types.Integer, number: types.Float) -> Any:
    """Write the one number there, in the dtype of the place; float32 and float64 only."""
    dtype = _vector_of(place).dtype

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address = _address(context, builder, place, *arguments[:2])
        value = context.cast(builder, arguments[2], number, dtype)
        builder.store(value, builder.bitcast(address, value.type.as_pointer()))
        return context.get_dummy_value()

    return signature(types.none, place, types.int64, number), emit


def _prefetch(level: int) -> Any:
    @intrinsic
    def prefetch(typing: Any, place: types.Type, index: types.Integer) -> Any:
        """Have the number there brought near; any index will do, also outside."""

        def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            address = _address(context, builder, place, *arguments)
            read, locality, data = _INT32(0), _INT32(4 - level), _INT32(1)
            _call(builder, "llvm.prefetch.p0", ir.VoidType(), address, read, locality, data)
            return context.get_dummy_value()

        return signature(types.none, place, types.int64), emit

    return prefetch


prefetch_l1 = _prefetch(1)
prefetch_l2 = _prefetch(2)


def _vector_among(kinds: Sequence[types.Type]) -> Vector:
    vectors = {kind for kind in kinds if isinstance(kind, Vector)}
    if len(vectors) != 1:
        raise TypingError(f"expected vectors of one kind and numbers, got {kinds}")
    return vectors.pop()


def _lane_by_lane(emit: Emit, kinds: Sequence[types.Type]) -> Any:
    """A signature, and code that broadcasts numbers among the arguments first."""
    vector = _vector_among(kinds)

    def emit_all(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        widened = []
        for kind, value in zip(kinds, arguments, strict=True):
            if kind != vector:
                number = context.cast(builder, value, kind, vector.dtype)
                value = _broadcast(builder, vector.ir, number)
            widened.append(value)
        return emit(builder, vector, *widened)

    return signature(vector, *kinds), emit_all


def _operator(python: Callable[..., Any], emit: Emit) -> None:
    @intrinsic
    def apply(typing: Any, a: types.Type, b: types.Type) -> Any:
        return _lane_by_lane(emit, (a, b))

    @overload(python, strict=False)
    def choose(a: types.Type, b: types.Type) -> Any:
        if isinstance(a, Vector) or isinstance(b, Vector):
            return lambda a, b: apply(a, b)
        return None


_operator(operator.add, lambda builder, vector, a, b: builder.fadd(a, b))
_operator(operator.sub, lambda builder, vector, a, b: builder.fsub(a, b))
_operator(operator.mul, lambda builder, vector, a, b: builder.fmul(a, b))
_operator(operator.truediv, lambda builder, vector, a, b: builder.fdiv(a, b))


@intrinsic
def multiply_add(typing: Any, a: types.Type, b: types.Type, c: types.Type) -> Any:
    """ab + c, rounded once where the machine can."""
    return _lane_by_lane(
        lambda builder, vector, *abc: _llvm(builder, "fmuladd", vector, *abc), (a, b, c)
    )


@intrinsic
def magnitude(typing: Any, a: Vector) -> Any:
    """|a|."""
    return _lane_by_lane(lambda builder, vector, a: _llvm(builder, "fabs", vector, a), (a,))


@intrinsic
def nearest_integer(typing: Any, a: Vector) -> Any:
    """As a float."""
    return _lane_by_lane(lambda builder, vector, a: _llvm(builder, "rint", vector, a), (a,))


@intrinsic
def at_most(typing: Any, a: Vector, limit: types.Type) -> Any:
    """The smaller one; NaN stays NaN."""
    return _lane_by_lane(
        lambda builder, vector, a, limit: builder.select(
            builder.fcmp_ordered(">", a, limit), limit, a
        ),
        (a, limit),
    )


@intrinsic
def where_negative(typing: Any, z: Vector, a: Vector, b: Vector) -> Any:
    """a where z < 0, else b."""
    return _lane_by_lane(
        lambda builder, vector, z, a, b: builder.select(
            builder.fcmp_ordered("<", z, _constant(vector.ir, 0.0)), a, b
        ),
        (z, a, b),
    )


@intrinsic
def power_of_two(typing: Any, k: Vector) -> Any:
    """2ᵏ for whole numbers k in the range of normal numbers, by writing the exponent's bits."""

    def emit(builder: Any, vector: Vector, k: Any) -> Any:
        integers, mantissa = vector.ir_integers, vector.mantissa
        # A number of this size has its units in its last bit, so that k stands in the low bits.
        shifted = builder.fadd(k, _constant(vector.ir, 1.5 * 2.0**mantissa))
        exponent = builder.add(
            builder.bitcast(shifted, integers), _constant(integers, vector.exponent_bias)
        )
        return builder.bitcast(builder.shl(exponent, _constant(integers, mantissa)), vector.ir)

    return _lane_by_lane(emit, (k,))


@intrinsic
def keep_first(typing: Any, a: Vector, count: types.Integer) -> Any:
    """The first `count` lanes, then 0."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        mask = _first_lanes(builder, a, arguments[1])
        return builder.select(mask, arguments[0], _constant(a.ir, 0.0))

    return signature(a, a, types.int64), emit


@intrinsic
def total(typing: Any, a: Vector) -> Any:
    """The sum of the lanes, halves first."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value, count = arguments[0], a.lanes
        while count > 1:
            count //= 2
            choose = ir.VectorType(_INT32, count)
            low = builder.shuffle_vector(value, value, ir.Constant(choose, list(range(count))))
            high = ir.Constant(choose, list(range(count, 2 * count)))
            value = builder.fadd(low, builder.shuffle_vector(value, value, high))
        return builder.extract_element(value, _INT32(0))

    return signature(a.dtype, a), emit


@intrinsic
def totals(typing: Any, array: types.Array) -> Any:
    """A vector of totals: of the as many vectors as there are lanes that lie in `array`.

    Two vectors become one whose lanes are sums of neighbours, again and again: n − 1 additions for
    n totals.
    """
    vector = _vector_of(array)
    n = vector.lanes

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        choose = ir.VectorType(_INT32, n)
        even, odd = ([*range(first, 2 * n, 2)] for first in (0, 1))

        def pairwise_sums(a: Any, b: Any) -> Any:
            return builder.fadd(
                builder.shuffle_vector(a, b, ir.Constant(choose, even)),
                builder.shuffle_vector(a, b, ir.Constant(choose, odd)),
            )

        rows = []
        for row in range(n):
            address = _address(context, builder, array, arguments[0], _INT64(row * n))
            address = builder.bitcast(address, vector.ir.as_pointer())
            rows.append(builder.load(address, align=array.dtype.bitwidth // 8))
        while len(rows) > 1:
            rows = [pairwise_sums(a, b) for a, b in zip(rows[::2], rows[1::2], strict=True)]
        return rows[0]

    return signature(vector, array), emit


def per_dtype(float32: Any, float64: Any) -> Any:
    """A constant that depends on the dtype of the vector that it is asked for."""

    @intrinsic
    def constant(typing: Any, like: Vector) -> Any:
        value = float32 if like == FLOAT32 else float64

        def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            return _constant(like.ir, value)

        return signature(like, like), emit

    return constant


def polynomial(float32: Sequence[float], float64: Sequence[float]) -> Any:
    """c₀ + c₁a + c₂a² + …, of as many terms as the dtype of the vector needs."""

    @intrinsic
    def horner(typing: Any, a: Vector) -> Any:
        *rest, last = float32 if a == FLOAT32 else float64

        def emit(builder: Any, vector: Vector, a: Any) -> Any:
            value = _constant(vector.ir, last)
            for coefficient in reversed(rest):
                value = _llvm(
                    builder, "fmuladd", vector, value, a, _constant(vector.ir, coefficient)
                )
            return value

        return _lane_by_lane(emit, (a,))

    return horner
