"""Whether there is one gradient at all: whether the cost is a mean over independent samples."""

from dataclasses import dataclass
from enum import Enum, auto

import torch
from torch import Tensor, nn

from bp_torch.judge.passes import Refused
from bp_torch.splits.batch import Batch
from bp_torch.splits.cuts import Cut, uneven
from bp_torch.splits.gradients import Gradients, Subject, combined, wide
from bp_torch.splits.rounding import Tolerances, units_of, worst

LEAST_WEIGHT = -1e-6
"""A weight below it is none: the parts' gradients happen to span the whole one's."""


class Kind(Enum):
    """What the whole batch's gradient is of those of its parts."""

    MEAN = auto()
    """Σ wₖ gₖ / Σ wₖ with the weights that were given, or by samples."""
    WEIGHTED = auto()
    """Such a mean with other weights."""
    SUM = auto()
    """Σ gₖ."""
    COUPLED = auto()
    """Nothing of the kind."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The gradients of a batch's parts, and what each counts in the whole one."""

    gradients: list[Gradients]
    shares: list[float]


def kind_of(subject: Subject, batch: Batch, truth: Gradients, limits: Tolerances) -> Kind:
    """What it is where it is no mean by the weights given, from two uneven parts."""
    parts = [gradient_of_part(subject, batch, part) for part in uneven(len(batch), 2).parts]
    if worst(units_of(combined([1.0, 1.0], parts), truth, limits)) <= 1:
        return Kind.SUM
    shares = solved(parts, truth)
    if shares is None or min(shares) < LEAST_WEIGHT:
        return Kind.COUPLED
    fits = worst(units_of(combined(shares, parts), truth, limits)) <= 1
    return Kind.WEIGHTED if fits and abs(sum(shares) - 1) < -LEAST_WEIGHT else Kind.COUPLED


def parts_of(kind: Kind, subject: Subject, batch: Batch, cut: Cut, truth: Gradients) -> Parts:
    """The parts' gradients with the right weights."""
    gradients = [gradient_of_part(subject, batch, part) for part in cut.parts]
    weights = [subject.weight_of(batch.part(p)) if p else 0.0 for p in cut.parts]
    shares = [weight / (sum(weights) or 1.0) for weight in weights]
    if kind is Kind.SUM:
        shares = [1.0] * len(cut)
    elif kind is Kind.WEIGHTED:
        shares = solved(gradients, truth) or shares
    return Parts(gradients, shares)


def gradient_of_part(subject: Subject, batch: Batch, part: tuple[int, ...]) -> Gradients:
    """Nothing of no samples, of samples without weight, whose mean is 0/0, and of those that the
    module refuses."""
    if not part:
        return {}
    try:
        found = wide(subject.gradient(batch.part(part)))
    except Refused:
        return {}
    return found if all(g.isfinite().all() for g in found.values()) else {}


def solved(parts: list[Gradients], truth: Gradients) -> list[float] | None:
    """The cₖ of Σ cₖ gₖ that come nearest; None where the gradients leave them open."""
    names = list(truth)
    columns = [_flat(part, truth, names) for part in parts]
    there = [place for place, column in enumerate(columns) if column.any()]
    if not there:
        return None
    matrix = torch.stack([columns[place] for place in there], dim=1)
    scale = matrix.norm(dim=0)
    if matrix.shape[0] <= len(there):
        return None
    target = _flat(truth, truth, names)
    found = torch.linalg.lstsq(matrix / scale, target[:, None], driver="gelsd")
    if int(found.rank) < len(there):
        return None
    shares = [0.0] * len(parts)
    for place, value in zip(there, (found.solution[:, 0] / scale).tolist(), strict=True):
        shares[place] = value
    return shares


def _flat(gradients: Gradients, like: Gradients, names: list[str]) -> Tensor:
    pieces = [gradients.get(n, torch.zeros_like(like[n])).flatten() for n in names]
    return torch.cat(pieces)


def why_coupled(module: nn.Module) -> str:
    """Who couples the samples, by name."""
    norms = [
        f"{name or 'it'} ({type(each).__name__})"
        for name, each in module.named_modules()
        if isinstance(each, nn.modules.batchnorm._BatchNorm)
        and (each.training or each.running_mean is None)
    ]
    if norms:
        several = len(norms) > 1
        return (
            f"{', '.join(norms)} normalise{'' if several else 's'} each part by that part's own "
            f"mean and variance, so that no way of adding up gives the whole batch's gradient; "
            f"compare module.eval(), or a norm within the sample, such as GroupNorm, and over "
            f"ranks on GPUs SyncBatchNorm"
        )
    return (
        "the samples are not independent, so that no way of adding up gives the whole batch's "
        "gradient: the cost of one depends on the others, as in contrastive costs, in batch "
        "statistics and in costs that are divided by something other than the number of samples"
    )


def why_random(module: nn.Module) -> str:
    """Who draws random numbers, by name."""
    drawing = [
        f"{name or 'it'} ({type(each).__name__})"
        for name, each in module.named_modules()
        if each.training and "Dropout" in type(each).__name__
    ]
    who = (
        f"{', '.join(drawing)} drop{'s' if len(drawing) == 1 else ''} at random"
        if drawing
        else ("module or cost draw random numbers, or keep something from run to run")
    )
    return (
        f"two runs of the whole batch differ: {who}; compare module.eval(), or set the seed in the "
        f"module's forward"
    )
