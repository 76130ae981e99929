"""One trial judged, with everything that a diagnosis can look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto

import torch
from torch import Tensor

from bp_torch.judge.cases import Case
from bp_torch.judge.criteria import EXPLAINED, FLOOR
from bp_torch.judge.distance import unit
from bp_torch.judge.judgement import Judgement
from bp_torch.judge.passes import Pass, Point, Refused, Tensors, each
from bp_torch.judge.trials import Role
from bp_torch.judge.truth import Estimate, Truth


class Quantity(Enum):
    """What was judged."""

    VALUE = auto()
    GRADIENT = auto()
    SECOND_DERIVATIVE = auto()

    @property
    def order(self) -> int:
        """That of the derivative that a verdict on it speaks of."""
        return 2 if self is Quantity.SECOND_DERIVATIVE else 1


@dataclass(frozen=True, eq=False)
class Evidence:
    """A trial's two sides, its truth, and the judgement on each gradient by the input's name."""

    case: Case
    role: Role
    point: Point
    """The reference, or without one the function itself, at the trial's inputs."""
    yours: Pass
    peer: Pass | None
    truth: Truth
    judgements: dict[str, Judgement]
    of_values: list[Judgement] = field(default_factory=list)
    """On each output, where there is a reference to tell it."""

    @property
    def bad_value(self) -> int | None:
        """The number of the first output that is wrong."""
        wrong = [number for number, judgement in enumerate(self.of_values) if not judgement.ok]
        return wrong[0] if wrong else None

    @property
    def quantity(self) -> Quantity:
        """What the judgements are on."""
        second = self.point.directions is not None
        return Quantity.SECOND_DERIVATIVE if second else Quantity.GRADIENT

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that is judged."""
        return self.case.dtype

    @property
    def bad(self) -> list[str]:
        """The inputs whose gradient is wrong."""
        return [name for name, judgement in self.judgements.items() if not judgement.ok]

    @property
    def the_gradient(self) -> str:
        """ "the gradient of x" or "the gradient of x and w", of those that are wrong."""
        return f"the gradient of {' and '.join(self.bad)}"

    def mine(self, name: str) -> Tensor:
        """Your gradient by that input, in float64."""
        return self.yours.gradients[name].double()

    def exact(self, name: str) -> Tensor:
        """The truth for it."""
        return self.truth.gradients[name].value

    def alone(self, name: str) -> "Evidence":
        """The same with that input's gradient as the only wrong one; the others that are wrong are
        left out."""
        kept = {n: j for n, j in self.judgements.items() if j.ok or n == name}
        return replace(self, judgements=kept)

    def sampled(self, most: int) -> "Evidence":
        """Of a large pointwise function so many elements, half of them wrong where there are so
        many; all of it where it cannot be cut."""
        if not self.case.pointwise or self.mine(self.bad[0]).numel() <= most:
            return self
        wrong = torch.stack([self.judgements[name].bad.flatten() for name in self.bad]).any(0)
        bad, good = wrong.nonzero()[: most // 2, 0], (~wrong).nonzero()[: most // 2, 0]
        places = torch.cat((bad, good)).sort().values

        def cut(tensor: Tensor) -> Tensor:
            return tensor.flatten()[places]

        def cut_estimate(known: Estimate) -> Estimate:
            return Estimate(cut(known.value), cut(known.spread))

        def cut_pass(one: Pass) -> Pass:
            return Pass(tuple(map(cut, one.outputs)), each(one.gradients, cut))

        point = replace(self.point.changed(cut, inputs=False), inputs=each(self.point.inputs, cut))
        try:
            fits = [o.shape for o in point.values()] == [g.shape for g in point.upstream]
        except Refused:  # it closes over something of the whole shape
            fits = False
        if not fits:
            return self
        return replace(
            self,
            point=point,
            yours=cut_pass(self.yours),
            peer=None if self.peer is None else cut_pass(self.peer),
            truth=Truth(
                tuple(map(cut_estimate, self.truth.outputs)),
                {name: cut_estimate(known) for name, known in self.truth.gradients.items()},
            ),
            judgements={
                name: replace(j, bad=cut(j.bad), limit=cut(j.limit))
                for name, j in self.judgements.items()
            },
        )

    def explained_by(self, predicted: Mapping[str, Tensor]) -> float | None:
        """How much of the error is left if these are your gradients, as a share of it.

        None where the prediction does not fit to within rounding for every input, or leaves more
        than `EXPLAINED`. What is not predicted is taken for the truth.
        """
        left = total = 0.0
        for name, judgement in self.judgements.items():
            mine, exact = self.mine(name), self.exact(name)
            guess = predicted.get(name, exact).double()
            if guess.shape != mine.shape or not guess.isfinite().all():
                return None
            known = exact.isfinite()
            mine, exact, guess = mine[known], exact[known], guess[known]
            if not mine.numel():
                continue
            size = guess.abs() if self.case.pointwise else guess.abs().max().expand_as(guess)
            # A gradient that is larger throughout has been rounded more coarsely throughout.
            larger = (
                guess.abs().max() / exact.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
            ).clamp(min=1.0)
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

    def of_the_bad(self, gradients: Tensors) -> Tensors:
        """Only those that are wrong."""
        return {name: gradients[name] for name in self.bad}
