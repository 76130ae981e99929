"""One trial that failed, with everything a diagnosis can look at."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from bp_torch.judge.criteria import FLOOR, Judgement
from bp_torch.judge.evaluate import Pass, Truth
from bp_torch.judge.problem import Function
from bp_torch.judge.ulp import unit

Value = TypeVar("Value")

TINY = 1e-300

EXPLAINED = 0.05
"""A hypothesis must account for all but this share of the error, besides fitting to rounding."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """A trial's two sides and its truth, for every input; None where none was wanted."""

    trial: str
    what: str
    dtype: torch.dtype
    names: tuple[str, ...]
    reference: Function | None
    inputs: tuple[Tensor, ...]
    wanted: tuple[bool, ...]
    upstream: tuple[Tensor, ...]
    yours: Pass
    peer: Pass | None
    truth: Truth
    judgements: tuple[Judgement | None, ...]
    pointwise: bool

    @property
    def bad(self) -> list[int]:
        """The inputs whose gradient is wrong."""
        return [k for k, j in enumerate(self.judgements) if j is not None and not j.ok]

    @property
    def the_gradient(self) -> str:
        """ "the gradient of x" or "the gradient of x and w", of those that are wrong."""
        return f"the gradient of {' and '.join(self.names[place] for place in self.bad)}"

    def mine(self, place: int) -> Tensor:
        """Your gradient by that input, in float64."""
        gradient = self.yours.gradients[place]
        assert gradient is not None
        return gradient.double()

    def exact(self, place: int) -> Tensor:
        """The truth for it."""
        gradient = self.truth.gradients[place]
        assert gradient is not None
        return gradient

    def alone(self, place: int) -> "Evidence":
        """The same with that input's gradient as the only wrong one; other wrong ones are left
        out."""
        kept = [j if k == place or (j and j.ok) else None for k, j in enumerate(self.judgements)]
        return replace(self, judgements=tuple(kept))

    def explained_by(self, predicted: Sequence[Tensor | None]) -> float | None:
        """How much of the error is left if these are your gradients, as a share of it.

        None where the prediction does not fit to within rounding for every input, or leaves more
        than `EXPLAINED`. A missing prediction stands for the truth.
        """
        left = total = 0.0
        for place, judgement in enumerate(self.judgements):
            if judgement is None:
                continue
            mine, exact = self.mine(place), self.exact(place)
            guess = predicted[place]
            guess = exact if guess is None else guess.double()
            if guess.shape != mine.shape or not guess.isfinite().all():
                return None
            known = exact.isfinite()
            mine, exact, guess = mine[known], exact[known], guess[known]
            if not mine.numel():
                continue
            size = guess.abs() if self.pointwise else guess.abs().max().expand_as(guess)
            # A gradient that is larger throughout has been rounded more coarsely throughout.
            larger = (guess.abs().max() / exact.abs().max().clamp(min=TINY)).clamp(min=1.0)
            room = judgement.limit[known] * larger + FLOOR * (
                unit(guess, self.dtype) + torch.finfo(self.dtype).eps * size
            )
            error = (mine - guess).abs()
            if not bool((error <= room).all()):
                return None
            wrong = judgement.bad[known]
            left += error[wrong].sum().item()
            total += (mine - exact).abs()[wrong].sum().item()
        share = left / total if total else 1.0
        return share if share <= EXPLAINED else None

    def only_bad(self, change: Sequence[Tensor | None]) -> list[Tensor | None]:
        """These predictions for the inputs whose gradient is wrong, the truth for the others."""
        return [t if place in self.bad else None for place, t in enumerate(change)]


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A mistake, the sentence that names it, and the gradients it would give (None: the truth)."""

    mistake: str
    sentence: str
    gradients: Sequence[Tensor | None]


def needed(value: Value | None) -> Value:
    """The value, where it is known to be there."""
    assert value is not None
    return value
