"""Computing with vectors.

a + b, 1.0 / a        lane by lane; a number stands for a vector of it
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from llvmlite import ir
from numba import njit, types
from numba.core.errors import TypingError
from numba.core.typing import signature
from numba.extending import intrinsic, overload

from bp_torch.fused.simd.emit import (
    INT32,
    INT64,
    address_of,
    broadcast,
    bytes_of,
    call_on_vectors,
    constant_of,
    first_lanes,
)
from bp_torch.fused.simd.kinds import FLOAT32, Vector, vector_of

Lanes: TypeAlias = Any
"""A vector, to Numba."""

inlined = njit(forceinline=True)
"""Makes a function of vectors: its code is put where it is called, and they stay in registers."""

Emit = Callable[..., Any]


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
                value = broadcast(builder, vector.ir, number)
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
        lambda builder, vector, *abc: call_on_vectors(builder, "fmuladd", vector, *abc), (a, b, c)
    )


@intrinsic
def magnitude(typing: Any, a: Vector) -> Any:
    """|a|."""
    return _lane_by_lane(
        lambda builder, vector, a: call_on_vectors(builder, "fabs", vector, a), (a,)
    )


@intrinsic
def nearest_integer(typing: Any, a: Vector) -> Any:
    """As a float."""
    return _lane_by_lane(
        lambda builder, vector, a: call_on_vectors(builder, "rint", vector, a), (a,)
    )


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
            builder.fcmp_ordered("<", z, constant_of(vector.ir, 0.0)), a, b
        ),
        (z, a, b),
    )


@intrinsic
def power_of_two(typing: Any, k: Vector) -> Any:
    """2ᵏ for whole numbers k in the range of normal numbers, by writing the exponent's bits."""

    def emit(builder: Any, vector: Vector, k: Any) -> Any:
        integers, mantissa = vector.ir_integers, vector.mantissa
        # A number of this size has its units in its last bit, so that k stands in the low bits.
        shifted = builder.fadd(k, constant_of(vector.ir, 1.5 * 2.0**mantissa))
        exponent = builder.add(
            builder.bitcast(shifted, integers), constant_of(integers, vector.exponent_bias)
        )
        return builder.bitcast(builder.shl(exponent, constant_of(integers, mantissa)), vector.ir)

    return _lane_by_lane(emit, (k,))


@intrinsic
def keep_first(typing: Any, a: Vector, count: types.Integer) -> Any:
    """The first `count` lanes, then 0."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        mask = first_lanes(builder, a, arguments[1])
        return builder.select(mask, arguments[0], constant_of(a.ir, 0.0))

    return signature(a, a, types.int64), emit


@intrinsic
def total(typing: Any, a: Vector) -> Any:
    """The sum of the lanes, halves first."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value, count = arguments[0], a.lanes
        while count > 1:
            count //= 2
            choose = ir.VectorType(INT32, count)
            low = builder.shuffle_vector(value, value, ir.Constant(choose, list(range(count))))
            high = ir.Constant(choose, list(range(count, 2 * count)))
            value = builder.fadd(low, builder.shuffle_vector(value, value, high))
        return builder.extract_element(value, INT32(0))

    return signature(a.dtype, a), emit


@intrinsic
def totals(typing: Any, place: types.Type) -> Any:
    """A vector of totals: of as many vectors as there are lanes, which lie there.

    Two vectors become one whose lanes are sums of neighbours, again and again: n − 1 additions for
    n totals.
    """
    vector = vector_of(place)
    n = vector.lanes

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        choose = ir.VectorType(INT32, n)
        even, odd = ([*range(first, 2 * n, 2)] for first in (0, 1))

        def pairwise_sums(a: Any, b: Any) -> Any:
            return builder.fadd(
                builder.shuffle_vector(a, b, ir.Constant(choose, even)),
                builder.shuffle_vector(a, b, ir.Constant(choose, odd)),
            )

        rows = []
        for row in range(n):
            address = address_of(context, builder, place, arguments[0], INT64(row * n))
            address = builder.bitcast(address, vector.ir.as_pointer())
            rows.append(builder.load(address, align=bytes_of(place)))
        while len(rows) > 1:
            rows = [pairwise_sums(a, b) for a, b in zip(rows[::2], rows[1::2], strict=True)]
        return rows[0]

    return signature(vector, place), emit


def per_dtype(float32: Any, float64: Any) -> Any:
    """A constant that depends on the dtype of the vector that it is asked for."""

    @intrinsic
    def constant(typing: Any, like: Vector) -> Any:
        value = float32 if like == FLOAT32 else float64

        def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            return constant_of(like.ir, value)

        return signature(like, like), emit

    return constant


def polynomial(float32: Sequence[float], float64: Sequence[float]) -> Any:
    """c₀ + c₁a + c₂a² + …, of as many terms as the dtype of the vector needs."""

    @intrinsic
    def horner(typing: Any, a: Vector) -> Any:
        *rest, last = float32 if a == FLOAT32 else float64

        def emit(builder: Any, vector: Vector, a: Any) -> Any:
            value = constant_of(vector.ir, last)
            for coefficient in reversed(rest):
                value = call_on_vectors(
                    builder, "fmuladd", vector, value, a, constant_of(vector.ir, coefficient)
                )
            return value

        return _lane_by_lane(emit, (a,))

    return horner
