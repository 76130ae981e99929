"""`compare_splits`: what a user calls, with all that can be asked."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from bp_torch import checks
from bp_torch.costs import COSTS
from bp_torch.splits.batch import batch_of
from bp_torch.splits.cuts import Sampler, divisors
from bp_torch.splits.gradients import Cost, Subject, Weight
from bp_torch.splits.proceedings import answer
from bp_torch.splits.record import Question
from bp_torch.splits.report import SplitsReport
from bp_torch.splits.ways import MOST_RANKS, Accumulate, OnRank, Plan

WRAPPERS = ("DistributedDataParallel", "FullyShardedDataParallel", "DataParallel", "ScriptModule")


def compare_splits(
    module: nn.Module,
    x: Any,
    y: Tensor,
    cost: str | Cost,
    *,
    accumulate: Accumulate | None = None,
    on_rank: OnRank | None = None,
    sampler: Sampler | None = None,
    weight: Weight | None = None,
    uneven: bool = True,
    empty: bool = False,
    ranks: Sequence[int] = (2, 3),
    timeout: float = 30.0,
    seed: int = 0,
) -> SplitsReport:
    """Hold the gradient of a batch in parts against that of the whole batch, in any split.

        ∂C/∂θ = Σₖ nₖ gₖ / N ,   gₖ the gradient of the mean over the nₖ samples of part k

    With neither `accumulate` nor `on_rank` the parts are put together like this, as uneven
    micro-batches, in other orders, over 1 to 8 simulated ranks and over real ones: where all of it
    gives one gradient, module and cost are a mean over independent samples. With them it is your
    way that is judged, and a mistake in it is named. The truth is the whole batch's gradient in
    float64, where the gap between rounding and any mistake is wide (`rounding` has the rule), and
    what is right there is run once more in the module's own dtype.

    Args:
        module: any module; it is lent to what is tried, in float64 as well, and comes back with
            parameters, gradients, buffers and modes as they were.
        x: its samples along the first axis: a tensor; a tuple or list, several arguments; or a
            dict, arguments by name.
        y: targets, (N, …), of any dtype.
        cost: cost(output, y) → the mean over the samples, as torch.nn.functional.mse_loss; or
            "quadratic" or "cross-entropy", as in `bp_torch.costs`.
        accumulate: accumulate(module, cost, parts), the body of a training loop over micro-batches
            [(x, y), …], after which the gradients stand in the parameters' .grad. They are none
            before.
        on_rank: on_rank(module, cost, x, y), run in real processes, forked here, in each of which
            torch.distributed is initialised with gloo: leaves the gradient that this rank steps
            with in .grad, by DistributedDataParallel or by all_reduce. x and y are the rank's part.
        sampler: sampler(n, rank, ranks) → the indices of that rank's samples, as
            lambda n, rank, ranks: DistributedSampler(range(n), ranks, rank, shuffle=False); None:
            one stretch after the other.
        weight: weight(y) → what a part counts in a weighted mean, as (y != -100).sum(); None: its
            number of samples.
        uneven: whether parts may be of several sizes; False: of one, as where a loader drops the
            last smaller batch.
        empty: whether a rank without samples is part of the verdict; it is tried all the same, with
            a warning where it goes wrong.
        ranks: numbers of real ranks.
        timeout: seconds after which a rank that is not done is killed, which is a finding.
        seed: of the random order.

    Returns:
        `SplitsReport`; report.verdict is "right"; "wrong", where your way or your sampler gives
        another gradient; or "inconclusive", where there is no one gradient, as with BatchNorm in
        training mode, or nothing could be told. A module whose samples are coupled has no mistake
        in it, and is not called wrong.

    Raises:
        TypeError, ValueError: what cannot be split, in one line.
        Whatever module, cost or accumulate raise in the module's own dtype, with a note. What
        on_rank raises is a reason of the report.

    Sources: Goyal et al. (2017), "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", §3;
    Higham (2002), "Accuracy and Stability of Numerical Algorithms", §4.2.
    """
    batch = batch_of(x, y)
    _require_module(module)
    for what, one in (("accumulate", accumulate), ("on_rank", on_rank), ("sampler", sampler)):
        if one is not None and not callable(one):
            raise TypeError(f"{what} must be a function, got {type(one).__name__}")
    numbers = _ranks(ranks, len(batch))
    if not uneven and sampler is None:
        numbers = _dividing(numbers, len(batch))
    if on_rank is not None and not numbers:
        raise ValueError(
            f"on_rank needs ranks that {len(batch)} samples can be split over"
            f"{'' if uneven else ' evenly'}; got ranks={ranks!r}"
        )
    subject = Subject(module, _cost(cost), partial(_counted, weight))
    return answer(
        Question(
            subject=subject,
            batch=batch,
            plan=Plan(uneven, numbers, sampler, checks.require_seed(seed)),
            accumulate=accumulate,
            on_rank=on_rank,
            empty=empty,
            timeout=checks.require_positive("timeout", timeout, "seconds for the ranks"),
        )
    )


def _cost(cost: str | Cost) -> Cost:
    if isinstance(cost, str):
        return checks.require_one_of("cost", cost, COSTS)[0]
    if isinstance(cost, type) or not callable(cost):
        raise TypeError(
            f"cost must be a function of (output, y), or one of {', '.join(COSTS)}; got {cost!r}"
        )
    return cost


def _counted(weight: Weight | None, y: Tensor) -> Any:
    return len(y) if weight is None else weight(y)


def _require_module(module: Any) -> None:
    if not isinstance(module, nn.Module):
        got = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise TypeError(f"module must be an nn.Module, got {got}")
    kinds = [each.__name__ for each in type(module).__mro__ if each.__name__ in WRAPPERS]
    if kinds:
        raise TypeError(
            f"module must be a plain one, got {kinds[0]}; pass the module inside, and wrap it in "
            f"on_rank"
        )
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter) or parameter.is_meta:
            raise ValueError(f"the parameter {name} holds no numbers yet; run the module once")
        if parameter.is_complex():
            raise TypeError(
                f"complex parameters are not supported, got {checks.describe(name, parameter)}"
            )
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError("no parameter of the module requires a gradient; unfreeze one")


def _ranks(ranks: Any, n: int) -> tuple[int, ...]:
    given = (ranks,) if isinstance(ranks, int) else tuple(ranks)
    found = tuple(checks.require_whole("ranks", each, 1, "processes") for each in given)
    if found and max(found) > min(n, MOST_RANKS):
        found = tuple(each for each in found if each <= min(n, MOST_RANKS))
        if len(given) == 1 or not found:
            raise ValueError(
                f"ranks must be at most {min(n, MOST_RANKS)}, for {n} samples; got {ranks!r}"
            )
    return found


def _dividing(ranks: tuple[int, ...], n: int) -> tuple[int, ...]:
    if not divisors(n, n - 1):
        raise ValueError(
            f"with uneven=False the samples must make equal parts, and {n} do not; pass {n - 1}"
        )
    return tuple(each for each in ranks if n % each == 0)
