"""Who tells the truth: a reference, the function's own forward, or differences of its values."""

from dataclasses import replace

from bp_torch.judge import criteria
from bp_torch.judge.cases import Case
from bp_torch.judge.passes import Point, Refused, outputs_of
from bp_torch.judge.trials import Draw, Role, Trial
from bp_torch.judge.truth import differences


def with_its_witness(case: Case, draw: Draw) -> Case:
    """The case without its own forward as the reference, where autograd cannot differentiate that:
    code of another library, without gradients, or in place."""
    if not case.own_forward:
        return case
    alone = replace(case, reference=None, own_forward=False)
    trial = Trial(Role.AS_GIVEN, case.inputs, case.wanted, draw.upstream)
    try:
        exact = trial.point(case.told_by).exact()
        sees = _autograd_sees(exact)
        off = differences.disagreement(exact, exact.run().gradients, draw) if sees else 1.0
    except Refused:
        return alone
    return case if off <= criteria.REFERENCE_DISAGREES else alone


def _autograd_sees(exact: Point) -> bool:
    leaves = exact.leaves()
    return any(output.requires_grad for output in outputs_of(exact, *leaves))
