"""The ways that are tried: ours, and the user's, on one process and on several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bp_torch.judge.passes import Refused, note
from bp_torch.splits.cuts import (
    Cut,
    Sampler,
    backwards,
    divisors,
    even,
    sampled,
    shuffled,
    strided,
    uneven,
)
from bp_torch.splits.gradients import Gradients, in_parts, on_each_rank, wide
from bp_torch.splits.ranks import Failure, on_ranks
from bp_torch.splits.report import Way
from bp_torch.splits.split import Tried, Unit
from bp_torch.splits.stage import Stage

Accumulate = Callable[[nn.Module, Any, list[tuple[Any, Tensor]]], object]
OnRank = Callable[[nn.Module, Any, Any, Tensor], object]

MOST_RANKS = 8
MOST_SINGLE = 32
"""Of so many samples each is a micro-batch of its own once."""


@dataclass(frozen=True)
class Plan:
    """What is asked for."""

    uneven: bool
    ranks: Sequence[int]
    sampler: Sampler | None
    seed: int

    def of_micro_batches(self, n: int) -> list[Cut]:
        """For the user's loop: uneven where it may be, and the whole batch in one part."""
        if self.uneven:
            return [uneven(n, min(n, k)) for k in (4, 3, 2)] + [even(n, 1)]
        return [even(n, k) for k in divisors(n, MOST_RANKS)[::-1] or [n]] + [even(n, 1)]

    def of_ranks(self, n: int) -> list[Cut]:
        """For processes."""
        if self.sampler is not None:
            return [sampled(self.sampler, n, ranks) for ranks in self.ranks]
        fair = [even(n, ranks) for ranks in self.ranks if n % ranks == 0]
        if not self.uneven:
            return fair
        return [uneven(n, min(n, ranks)) for ranks in self.ranks] + fair[:1]

    def ours(self, n: int) -> list[tuple[Way, Cut]]:
        """What the right way goes through in this process."""
        most = min(n, MOST_RANKS)
        cuts = [(Way.MICRO, uneven(n, min(n, k))) for k in (2, 4)]
        if n <= MOST_SINGLE:
            cuts.append((Way.MICRO, even(n, n)))
        if self.sampler is not None:
            return cuts + [(Way.SIMULATED, sampled(self.sampler, n, r)) for r in self.ranks]
        cuts += [(Way.SIMULATED, even(n, ranks)) for ranks in range(1, most + 1)]
        cuts.append((Way.SIMULATED, strided(n, min(n, 3))))
        return [*cuts, (Way.ORDER, shuffled(n, min(n, 3), self.seed)), (Way.ORDER, backwards(n, 2))]


def in_process(stage: Stage, cut: Cut) -> Gradients:
    """The right way, by micro-batches."""
    with stage.entered():
        total, _ = in_parts(stage.subject, stage.batch, cut)
        return wide(total)


def refusal(stage: Stage, cut: Cut) -> str:
    """Why the module does not take such parts, as BatchNorm no single sample; "" where it does."""
    try:
        in_process(stage, cut)
    except Refused as refused:
        return refused.reason
    return ""


def accumulated(stage: Stage, accumulate: Accumulate, cut: Cut) -> Tried:
    """The user's loop over micro-batches; raises what it raises."""
    subject = stage.subject
    parts = [stage.batch.part(places) for places in cut.parts]
    with stage.entered():
        before = [p.detach().clone() for p in subject.parameters.values()]
        subject.clear()
        try:
            accumulate(subject.module, subject.cost, [(part.x, part.y) for part in parts])
        except Exception as error:
            note(error, f"raised by accumulate, with micro-batches of {cut}")
            raise
        found = wide(subject.taken())
        moved = _moved(before, subject.parameters.values())
    return Tried(Unit.MICRO_BATCH, cut, [found], moved)


def on_real_ranks(
    stage: Stage, on_rank: OnRank | None, cut: Cut, timeout: float
) -> Tried | Failure:
    """The user's function on every rank, or ours, in processes of their own."""
    subject = stage.subject

    def job(rank: int) -> dict[str, Any]:
        part = stage.batch.part(cut.parts[rank])
        before = [p.detach().clone() for p in subject.parameters.values()]
        subject.clear()
        if on_rank is None:
            on_each_rank(subject, part)
        else:
            on_rank(subject.module, subject.cost, part.x, part.y)
        found = {n: g.numpy() for n, g in wide(subject.taken()).items()}
        return {"found": found, "moved": _moved(before, subject.parameters.values())}

    with stage.entered():
        results = on_ranks(len(cut), job, timeout)
    if isinstance(results, Failure):
        return results
    found = [{n: torch.from_numpy(g) for n, g in each["found"].items()} for each in results]
    return Tried(Unit.RANK, cut, found, any(each["moved"] for each in results))


def _moved(before: list[Tensor], parameters: Any) -> bool:
    return any(not torch.equal(old, p) for old, p in zip(before, parameters, strict=True))


def adds_to_what_is_there(stage: Stage, accumulate: Accumulate, found: Gradients) -> bool:
    """Whether a gradient that stands there before is in the one that is there afterwards."""
    cut = uneven(len(stage.batch), min(len(stage.batch), 4))
    parts = [stage.batch.part(places) for places in cut.parts]
    subject = stage.subject
    with stage.entered():
        for name, parameter in subject.parameters.items():
            if name in found:
                parameter.grad = torch.full_like(parameter, 0.5)
        accumulate(subject.module, subject.cost, [(part.x, part.y) for part in parts])
        after = wide(subject.taken())
    return any(
        name in after and after[name].numel() and (after[name] - g - 0.5).abs().max() < 1e-6
        for name, g in found.items()
    )
