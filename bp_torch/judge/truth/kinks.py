"""Where a gradient jumps: at ties of a maximum or a sort, at corners, at the edge of a clamp, there
is no one derivative, and of a tie each order is right."""

from dataclasses import replace

import torch
from torch import Tensor

from bp_torch.judge import criteria
from bp_torch.judge.passes import Pass, Point, each
from bp_torch.judge.trials import Draw
from bp_torch.judge.truth import widen


def jumps(exact: Point, draw: Draw) -> Pass:
    """How far each gradient jumps where the inputs move by next to nothing; 0 where it moves with
    them."""
    at_rest = exact.run()
    found = each(at_rest.gradients, torch.zeros_like)

    def nudged(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return tensor + criteria.NUDGE * tensor.abs().clamp(min=1.0) * draw.normal(tensor)

    for _ in range(criteria.NUDGES):
        moved = replace(exact, inputs=each(exact.inputs, nudged)).run()
        for name, most in found.items():
            here, there = at_rest.gradients[name], moved.gradients[name]
            larger = torch.maximum(here.abs(), there.abs())
            jumped = (there - here).abs() > criteria.KINK * larger
            widen(most, there.where(jumped, here), here)
    return Pass(tuple(map(torch.zeros_like, at_rest.outputs)), found)
