"""When is a gradient right? The rule, and its constants in one table.

An element is right when its distance from the truth T is at most

    (FLOOR + PEER · R) · (ulp(T) + spread)   or   PEER · |autograd − T|

`ulp(T)` is the last place of the truth in the dtype that is judged. `spread` is the conditioning,
measured and not assumed: how far the truth moves when every tensor that the reference saves for its
backward, and the upstream gradient, is off by half a last place of that dtype; and before anything
is called wrong, how far your own gradient and the reference's move when every single operation is
(`rounding`). The sum of the absolute terms of a reduction is part of it. R is autograd's own worst
error in units of ulp + spread, in the same dtype on the same inputs, and at most PEER_LIMIT.

A systematic factor is found below what single elements show: over the whole tensor, for the inputs
as given, yours may deviate from the truth by a factor of at most 1 ± (FACTOR · eps + its own
uncertainty), or PEER times autograd's deviation.

Besides, and never averaged away: a NaN, an infinity, a zero or a wrong sign where the truth is a
normal number beyond its spread, and where autograd, in the same dtype, is right.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.judge.ulp import unit

FLOOR = 6.0
"""Units of ulp + spread that any right implementation may be off: half a unit for each of some ten
operations, and the spread is a maximum over few random draws, not a bound."""

FACTOR = 2.0
"""Units of eps that a right implementation may be off as a whole: single roundings mostly cancel
in the mean, those of a factor common to all elements do not."""

PEER = 4.0
"""How many times autograd's own error is acceptable: the same mathematics in another order."""

PEER_IN_FLOAT64 = 4.0
"""R in float64, where autograd is the truth itself and its own error is not seen: what formulas
with some cancellation in them, such as mish's, show in float32."""

PEER_LIMIT = 64.0
"""Beyond it autograd itself has gone wrong somewhere, and is no measure for the other elements."""

DRAWS = 3
"""Random draws for the spread; each costs one backward pass of the reference."""

ROUNDED_DRAWS = 6
"""Runs with every operation rounded, of each side, before a conviction."""

DRAWS_BEFORE_CONVICTION = 16
"""Draws added where an element seems wrong: several saved tensors move at random, and in a few
draws their effects on one element in a million cancel."""

LOST = 0.01
"""A derivative that is off by more than 1% of itself is called lost."""


def smallest(dtype: torch.dtype) -> float:
    """The smallest difference that counts: results below the smallest normal number may be flushed
    to zero, but for float16, whose subnormal numbers every processor keeps."""
    limits = torch.finfo(dtype)
    return limits.tiny * limits.eps if dtype == torch.float16 else limits.tiny


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

    @property
    def ok(self) -> bool:
        """Whether every element is right."""
        return not bool(self.bad.any())


def judge(
    yours: Tensor,
    peer: Tensor | None,
    truth: Tensor,
    spread: Tensor,
    dtype: torch.dtype,
    *,
    systematic: bool = True,
) -> Judgement:
    """Hold one tensor against the truth.

    Args:
        yours: in the dtype judged.
        peer: autograd's in the same dtype; None where there is none.
        truth: float64; elements that are not finite are not judged.
        spread: float64, ≥ 0: the truth's conditioning and uncertainty.
        dtype: the dtype judged.
        systematic: whether to look for a common factor as well; not among equal elements, whose
            rounding is equal too.
    """
    mine, known = yours.double(), truth.isfinite()
    scale = unit(truth, dtype) + spread
    error = _error(mine, truth, dtype)
    limit = (FLOOR * scale).clamp(min=smallest(dtype))
    off = _factor(mine, truth, scale)
    room = FACTOR * torch.finfo(dtype).eps + off.uncertainty
    peer_right = torch.ones_like(known)
    if peer is not None:
        theirs = peer.double()
        peer_error = _error(theirs, truth, dtype)
        ratio = torch.where(known & peer_error.isfinite(), peer_error / scale, 0.0)
        worst_ratio = min(ratio.max().item() if ratio.numel() else 0.0, PEER_LIMIT)
        if dtype == torch.float64:
            worst_ratio = max(worst_ratio, PEER_IN_FLOAT64)
        limit = torch.maximum((FLOOR + PEER * worst_ratio) * scale, PEER * peer_error.nan_to_num())
        limit = limit.clamp(min=smallest(dtype))
        room = max(room, PEER * _factor(theirs, truth, scale).deviation)
        peer_right = peer_error < truth.abs() / 2
        excused = ~theirs.isfinite()
    else:
        excused = torch.zeros_like(known)
    normal = (truth.abs() > spread) & (truth.abs() > 2 * torch.finfo(dtype).tiny) & peer_right
    lost = normal & ((mine == 0) | (mine * truth.sign() < 0)) & (error > unit(truth, dtype))
    bad = known & ((error > limit) | lost | ~mine.isfinite()) & ~excused
    if systematic and off.deviation > room and not bad.any():
        bad |= known & (error > scale)
    # An overflow that the dtype cannot avoid is no mistake.
    bad &= ~((truth.abs() > torch.finfo(dtype).max) & (mine == torch.inf * truth.sign()))
    return Judgement(
        bad=bad,
        limit=limit,
        yours=side(yours, truth, spread, dtype),
        autograd=side(peer, truth, spread, dtype) if peer is not None else None,
        worst=_worst(torch.where(known, error / limit, 0.0), bad),
    )


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


def side(values: Tensor, truth: Tensor, spread: Tensor, dtype: torch.dtype) -> Side:
    """The error of one side, counted over the elements whose truth is known."""
    known = truth.isfinite()
    mine = values.double()[known]
    truth, spread = truth[known], spread[known]
    error = _error(mine, truth, dtype)
    normal = (truth.abs() >= torch.finfo(dtype).tiny) & (truth.abs() > spread)
    finite = torch.where(error.isfinite(), error, 0.0)
    largest = truth.abs().max().item() if truth.numel() else 0.0

    def most(values: Tensor) -> float:
        return values.max().item() if values.numel() else 0.0

    return Side(
        max_ulp=most(finite / unit(truth, dtype)),
        max_abs=most(finite),
        max_rel=most(finite) / largest if largest else most(finite),
        nans=int((~mine.isfinite()).sum()),
        zeros=int((normal & (mine == 0)).sum()),
        signs=int((normal & (mine * truth.sign() < 0)).sum()),
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
    flat = int(excess.argmax())
    return tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), excess.shape))
