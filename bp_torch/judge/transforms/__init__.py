"""How a function fares under torch's own transforms: a rule that is right in eager reverse mode may
be dropped, refused or wrong elsewhere."""

from collections.abc import Callable
from dataclasses import replace

import torch

from bp_torch.judge.cases import Case
from bp_torch.judge.criteria import FEW, MOST_FOR_TRANSFORMS
from bp_torch.judge.distance import name_of
from bp_torch.judge.passes import Refused, each, outputs_of
from bp_torch.judge.rows import Outcome, TransformRow
from bp_torch.judge.transforms.table import transform_table


def try_transforms(
    case: Case, *, compile: bool, tell: Callable[[str], None]
) -> tuple[TransformRow, ...]:
    """The table of transforms on few elements: it speaks of rules, not of numbers.

    Args:
        case: of a function whose gradient has been found right.
        compile: also what needs a compiler: compile, its combinations, and export.
        tell: is told before each.
    """
    small = case
    if case.pointwise:
        small = _few_elements(case)
    if sum(tensor.numel() for tensor in small.inputs.values()) > MOST_FOR_TRANSFORMS:
        reason = f"more than {MOST_FOR_TRANSFORMS} elements: try fewer"
        return (TransformRow("all", name_of(case.dtype), Outcome.REFUSED, 1, reason),)
    table = transform_table(small, compile=compile, tell=tell)
    if all(row.outcome is not Outcome.WRONG for row in table):
        return table
    # Of a function that has been proven right its own gradient is as good a reference, where
    # autograd's was found less exact: only what contradicts both is wrong.
    alone = transform_table(replace(small, reference=None), compile=compile, tell=tell)
    return tuple(
        own if row.outcome is Outcome.WRONG else row for row, own in zip(table, alone, strict=True)
    )


def _few_elements(case: Case) -> Case:
    """The case at the first elements that have a value, where it takes them alone: what it closes
    over may need all."""
    try:
        whole = outputs_of(case.fn, *case.inputs.values())
        finite = torch.stack([output.isfinite() for output in whole]).all(0).flatten()
        few = replace(case, inputs=each(case.inputs, lambda t: t.flatten()[finite][:FEW]))
        cut = outputs_of(few.fn, *few.inputs.values())
    except Refused:
        return case
    # Nearly: the last place may depend on how many elements a kernel has before it.
    rtol = torch.finfo(case.dtype).eps ** 0.5
    pairs = zip(whole, cut, strict=True)
    same = all(torch.allclose(a.flatten()[finite][:FEW], b, rtol=rtol) for a, b in pairs)
    return few if same and finite.any() else case
