"""One tensor of yours against the truth, by the rule that stands in `criteria`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.judge.criteria import (
    FACTOR,
    FLOOR,
    FLUSHED,
    OVERFLOW_ALONE,
    PEER,
    PEER_IN_FLOAT64,
    PEER_LIMIT,
    PEER_RIGHT,
    TELLING,
)
from bp_torch.judge.distance import unit
from bp_torch.judge.truth import Estimate


@dataclass(frozen=True, eq=False)
class Side:
    """One side's error against the truth, at its worst element and at the report's."""

    max_ulp: float
    max_abs: float
    max_rel: float
    """Relative to the truth's largest element."""
    nans: int
    zeros: int
    """Zeros where the truth is a normal number."""
    signs: int
    """Wrong signs where the truth is a normal number."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """One tensor of yours against the truth; the masks have its shape."""

    bad: Tensor
    """Elements that are wrong by the rule."""
    limit: Tensor
    """The largest error that is right, float64."""
    yours: Side
    autograd: Side | None
    worst: tuple[int, ...] | None
    """Where your error is largest in units of the limit; None for an empty tensor."""
    told: int
    """In how many elements the truth is known well enough to tell a gradient from none."""

    @property
    def ok(self) -> bool:
        """Whether every element is right."""
        return not bool(self.bad.any())


def judge(
    yours: Tensor,
    peer: Tensor | None,
    truth: Estimate,
    dtype: torch.dtype,
    *,
    systematic: bool = True,
) -> Judgement:
    """Hold one tensor against the truth.

    Args:
        yours: in the dtype judged.
        peer: autograd's in the same dtype; None where there is none.
        truth: elements that are not finite are not judged.
        dtype: the dtype judged.
        systematic: whether to look for a common factor as well; not among equal elements, whose
            rounding is equal too.
    """
    exact, mine, limits = truth.value, yours.double(), torch.finfo(dtype)
    known, scale = exact.isfinite(), unit(exact, dtype) + truth.spread
    error, factor = _error(mine, exact, dtype), _factor(mine, exact, scale)
    limit = FLOOR * scale
    room = FACTOR * limits.eps + factor.uncertainty
    # Without a peer nobody shows that what is lost could have been kept.
    peer_right = excused = torch.zeros_like(known)
    if peer is not None:
        theirs = peer.double()
        peer_error = _error(theirs, exact, dtype)
        ratio = torch.where(known & peer_error.isfinite(), peer_error / scale, 0.0)
        worst_ratio = min(ratio.max().item() if ratio.numel() else 0.0, PEER_LIMIT)
        if dtype == torch.float64:
            worst_ratio = max(worst_ratio, PEER_IN_FLOAT64)
        limit = torch.maximum((FLOOR + PEER * worst_ratio) * scale, PEER * peer_error.nan_to_num())
        room = max(room, PEER * _factor(theirs, exact, scale).deviation)
        peer_right = peer_error < PEER_RIGHT * exact.abs()
        excused = ~theirs.isfinite()
    least = _smallest(dtype, alone=peer is None)
    limit = limit.clamp(min=least)
    normal = (exact.abs() > FLOOR * truth.spread) & (exact.abs() > 2 * least) & peer_right
    lost = normal & ((mine == 0) | (mine * exact.sign() < 0)) & (error > unit(exact, dtype))
    bad = known & ((error > limit) | lost | ~mine.isfinite()) & ~excused
    if systematic and factor.deviation > room and not bad.any():
        bad |= known & (error > scale)
    # An overflow that the dtype cannot avoid is no mistake; nor one that factors on the way cannot,
    # where there is no peer to show that.
    largest = limits.max / (OVERFLOW_ALONE if peer is None else 1)
    bad &= ~((exact.abs() > largest) & (mine == torch.inf * exact.sign()))
    return Judgement(
        bad=bad,
        limit=limit,
        yours=_side(yours, truth, dtype),
        autograd=None if peer is None else _side(peer, truth, dtype),
        worst=_worst(torch.where(known, error / limit, 0.0), bad),
        told=int((known & (limit < _telling(exact))).sum()),
    )


def _telling(exact: Tensor) -> float:
    """The error that must be seen: the largest entry itself; where all are 0, a hundredth."""
    largest = exact.abs().nan_to_num(0.0, 0.0).max().item() if exact.numel() else 0.0
    return largest or TELLING


@dataclass(frozen=True)
class _Factor:
    """|c − 1| for the factor c that fits best, and what rounding makes of it by itself."""

    deviation: float
    uncertainty: float


def _factor(values: Tensor, truth: Tensor, scale: Tensor) -> _Factor:
    """The least-squares factor between values and truth, Σ v·T / Σ T²."""
    usable = truth.isfinite() & values.isfinite()
    v, t, s = values[usable], truth[usable], scale[usable]
    largest = t.abs().max().item() if t.numel() else 0.0
    if not largest:
        return _Factor(0.0, 0.0)
    v, t, s = v / largest, t / largest, s / largest  # squares must not underflow
    squares = t.square().sum().item()
    deviation = abs(((v - t) * t).sum().item() / squares)
    # Equal inputs are rounded alike: the errors need not cancel in the sum.
    return _Factor(deviation, (t.abs() * s).sum().item() / squares)


def _side(values: Tensor, truth: Estimate, dtype: torch.dtype) -> Side:
    """The error of one side, counted over the elements whose truth is known."""
    known = truth.value.isfinite()
    mine, exact, spread = values.double()[known], truth.value[known], truth.spread[known]
    error = _error(mine, exact, dtype)
    normal = (exact.abs() >= torch.finfo(dtype).tiny) & (exact.abs() > spread)
    finite = torch.where(error.isfinite(), error, 0.0)
    largest = exact.abs().max().item() if exact.numel() else 0.0

    def most(values: Tensor) -> float:
        return values.max().item() if values.numel() else 0.0

    return Side(
        max_ulp=most(finite / unit(exact, dtype)),
        max_abs=most(finite),
        max_rel=most(finite) / largest if largest else most(finite),
        nans=int((~mine.isfinite()).sum()),
        zeros=int((normal & (mine == 0)).sum()),
        signs=int((normal & (mine * exact.sign() < 0)).sum()),
    )


def _error(values: Tensor, truth: Tensor, dtype: torch.dtype) -> Tensor:
    """|v − T|, with the truth beyond the dtype's range taken as the infinity it becomes there."""
    beyond = truth.abs() > torch.finfo(dtype).max
    error = (values - truth).abs()
    return torch.where(beyond & (values == torch.inf * truth.sign()), 0.0, error)


def _worst(excess: Tensor, bad: Tensor) -> tuple[int, ...] | None:
    if not excess.numel():
        return None
    excess = torch.where(bad & ~excess.isfinite(), torch.inf, excess.nan_to_num(posinf=torch.inf))
    if bad.any():
        excess = torch.where(bad, excess, -1.0)
    return tuple(int(i) for i in torch.unravel_index(excess.argmax(), excess.shape))


def _smallest(dtype: torch.dtype, *, alone: bool) -> float:
    """The smallest difference that counts: results below the smallest normal number may be flushed
    to zero, and factors on their way, which a factor like x in x·σ′(x) makes larger again; but for
    float16, whose subnormal numbers every processor keeps. Without a peer, which would show it, so
    may what they are made of."""
    limits = torch.finfo(dtype)
    if dtype == torch.float16:
        return limits.tiny * limits.eps
    return limits.tiny / limits.eps if alone else FLUSHED * limits.tiny
