"""What a comparison shows about autograd itself."""

import torch
from torch import Tensor

from bp_torch.judge.criteria import FEWEST_LOST, LOST, WORSE
from bp_torch.judge.distance import name_of, unit
from bp_torch.judge.evidence import Evidence, Quantity
from bp_torch.judge.trials import Role
from bp_torch.judge.truth import Truth


def autograd_findings(e: Evidence) -> list[str]:
    """Where autograd loses the derivative, and where you are right and it is wrong."""
    if e.peer is None or e.quantity is not Quantity.GRADIENT:
        return []
    if e.role not in (Role.AS_GIVEN, Role.INTO_SATURATION):
        return []
    found = []
    for name, judgement in e.judgements.items():
        theirs, exact = e.peer.gradients[name], e.exact(name)
        if not theirs.numel():
            continue
        error = (theirs.double() - exact).abs()
        last_place = unit(exact, e.dtype)
        if e.case.pointwise and e.role is Role.INTO_SATURATION:
            # In float64 the truth is autograd's own: its spread tells what rounding leaves of it.
            unsure = e.truth.gradients[name].spread if theirs.dtype == exact.dtype else error
            found += _lost(e, name, unsure, theirs.double())
        mine = (e.mine(name) - exact).abs()
        worse = exact.isfinite() & ~judgement.bad & (error > WORSE * (mine + last_place))
        if worse.any():
            index = int((error / last_place).where(worse, 0.0).argmax())
            x = e.point.inputs[name]
            at = f" at {name} = {x.reshape(-1)[index]:.6g}" if e.case.pointwise else ""
            yours = (mine / last_place).reshape(-1)[index].item()
            peers = (error / last_place).reshape(-1)[index].item()
            found.append(
                f"{name_of(e.dtype)}: autograd is wrong and you are right: yours {yours:.1f} ULP, "
                f"autograd {peers:,.0f} ULP{at}"
            )
    return found


def _lost(e: Evidence, name: str, error: Tensor, theirs: Tensor) -> list[str]:
    """From which input on the derivative is more than 1% off, and from which it is 0."""
    x, exact = e.point.inputs[name].double(), e.exact(name)
    normal = exact.abs() >= torch.finfo(e.dtype).tiny
    lost, zero = normal & (error > LOST * exact.abs()), normal & (theirs == 0)
    found = []
    for side, sign in ((x > 0, ">"), (x < 0, "<")):
        if not (lost & side).any():
            continue
        first = x[lost & side].abs().min()
        beyond = side & normal & (x.abs() >= first)
        if (lost & beyond).sum() < max(FEWEST_LOST, beyond.sum().item() / 2):
            continue  # a kink, or a place where it passes through 0, and no loss
        minus = "−" if sign == "<" else ""
        text = f"more than 1% off for {name} {sign} {minus}{first:.3g}"
        if (zero & side).any():
            text += f", and 0 for {name} {sign} {minus}{x[zero & side].abs().min():.3g}"
        found.append(f"in {name_of(e.dtype)} autograd itself loses the derivative: {text}")
    return found


def corrections(truth: Truth, better: Truth) -> list[str]:
    """Where differences of values have mended autograd's gradient in float64."""
    found = []
    for name, estimate in truth.gradients.items():
        old, new = estimate.value, better.gradients[name].value
        mended = (old != new) & new.isfinite()
        if mended.any():
            off = ((old - new).abs() / new.abs())[mended].nan_to_num(0.0).max().item()
            found.append(
                f"autograd's own float64 gradient of {name} is off by up to {off:.2g} of itself; "
                f"where it is, differences of the reference's value are the truth"
            )
    return found
