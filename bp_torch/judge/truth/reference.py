"""The truth as autograd has it: the reference in float64 on the same numbers, and its spread."""

from dataclasses import replace

import torch
from torch import Tensor

from bp_torch.judge import criteria
from bp_torch.judge.passes import Point, each
from bp_torch.judge.trials import Draw
from bp_torch.judge.truth import Estimate, Truth, widen


def find_truth(
    exact: Point, dtype: torch.dtype, draw: Draw, *, draws: int, inputs_too: bool = False
) -> Truth:
    """What the function of this exact point gives, and how far `dtype` can tell it.

    The spread is the largest change of the result over a few draws in which each tensor saved for
    backward, and the upstream gradient, is off by half a last place of `dtype`; with `inputs_too`
    the inputs as well, as if they had been rounded.
    """
    result = exact.run()
    # In float64 itself 1 + eps/2 is 1: there a whole place.
    half_place = max(torch.finfo(dtype).eps / 2, torch.finfo(torch.float64).eps)

    def jitter(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        return tensor * (1 + half_place * draw.signs(tensor))

    outputs = [Estimate(output, torch.zeros_like(output)) for output in result.outputs]
    gradients = {n: Estimate(g, torch.zeros_like(g)) for n, g in result.gradients.items()}
    for _ in range(draws):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t, jitter):
            moved = exact.changed(jitter, inputs=inputs_too).run()
        for name, known in gradients.items():
            widen(known.spread, moved.gradients[name], known.value)
        if exact.directions is None:
            nudged = replace(exact, inputs=each(exact.inputs, jitter)).values()
            for known, value in zip(outputs, nudged, strict=True):
                widen(known.spread, value, known.value)
    for known in gradients.values():
        if not known.value.numel():
            continue
        largest = known.value.abs().nan_to_num(0.0, 0.0).max()
        if exact.directions is not None:
            known.spread.add_(criteria.SECOND_ROUNDINGS * half_place * largest)
        # An exact 0 in float64 may be an absorbed or underflown number: it says no more than that
        # the derivative is below the last place of the largest one.
        known.spread.add_(torch.finfo(torch.float64).eps * largest * (known.value == 0))
    return Truth(tuple(outputs), gradients)
