"""What a comparison shows about autograd itself."""

import torch
from torch import Tensor

from bp_torch.judge.criteria import LOST
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.ulp import unit

FEWEST = 3
"""Lost elements on one side that make a region; one or two are a kink of the function."""

WORSE = 100.0
"""Autograd is called wrong where it is this many times further from the truth than you."""


def autograd_findings(e: Evidence) -> list[str]:
    """Where autograd loses the derivative, and where you are right and it is wrong."""
    if e.peer is None:
        return []
    dtype = str(e.dtype).removeprefix("torch.")
    found = []
    for place, judgement in enumerate(e.judgements):
        theirs = e.peer.gradients[place]
        if judgement is None or theirs is None or not theirs.numel():
            continue
        name, exact, spread = e.names[place], e.exact(place), e.truth.spreads[place]
        assert spread is not None
        error = (theirs.double() - exact).abs()
        last_place = unit(exact, e.dtype)
        if e.pointwise and e.trial == "into saturation":
            # In float64 the truth is autograd's own: its spread tells what rounding leaves of it.
            unsure = spread if theirs.dtype == exact.dtype else error
            found += _lost(e, place, unsure, theirs.double())
        mine = (e.mine(place) - exact).abs()
        worse = exact.isfinite() & ~judgement.bad & (error > WORSE * (mine + last_place))
        if worse.any():
            index = int((error / last_place).where(worse, 0.0).argmax())
            at = f" at {name} = {e.inputs[place].reshape(-1)[index]:.6g}" if e.pointwise else ""
            yours = (mine / last_place).reshape(-1)[index].item()
            peers = (error / last_place).reshape(-1)[index].item()
            found.append(
                f"{dtype}: autograd is wrong and you are right: yours {yours:.1f} ULP, "
                f"autograd {peers:,.0f} ULP{at}"
            )
    return found


def _lost(e: Evidence, place: int, error: Tensor, theirs: Tensor) -> list[str]:
    """From which input on the derivative is more than 1% off, and from which it is 0."""
    x, exact, name = e.inputs[place].double(), e.exact(place), e.names[place]
    normal = exact.abs() >= torch.finfo(e.dtype).tiny
    lost, zero = normal & (error > LOST * exact.abs()), normal & (theirs == 0)
    found = []
    for side, sign in ((x > 0, ">"), (x < 0, "<")):
        if not (lost & side).any():
            continue
        first = x[lost & side].abs().min()
        beyond = side & normal & (x.abs() >= first)
        if (lost & beyond).sum() < max(FEWEST, beyond.sum().item() / 2):
            continue  # a kink, or a place where it passes through 0, and no loss
        minus = "−" if sign == "<" else ""
        text = f"more than 1% off for {name} {sign} {minus}{first:.3g}"
        if (zero & side).any():
            text += f", and 0 for {name} {sign} {minus}{x[zero & side].abs().min():.3g}"
        dtype = str(e.dtype).removeprefix("torch.")
        found.append(f"in {dtype} autograd itself loses the derivative: {text}")
    return found
