"""The truth: the reference in float64, or differences of values where that cannot tell."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.judge.passes import Pass, Tensors


@dataclass(frozen=True, eq=False)
class Estimate:
    """A tensor that is known only so well."""

    value: Tensor
    """float64; NaN where it is not known."""
    spread: Tensor
    """float64, ≥ 0: conditioning and uncertainty, element by element."""

    def widened(self, spread: Tensor) -> "Estimate":
        """The same, trusted no further than this spread says; where it is infinite, not known."""
        unknown = spread == torch.inf
        return Estimate(
            self.value.masked_fill(unknown, torch.nan),
            torch.maximum(self.spread, spread.masked_fill(unknown, 0.0)),
        )


def widen(spread: Tensor, moved: Tensor, exact: Tensor) -> None:
    """Let `spread` hold this change as well, in place; what is not finite says nothing."""
    torch.maximum(spread, (moved - exact).abs().nan_to_num(0.0, 0.0), out=spread)


@dataclass(frozen=True, eq=False)
class Truth:
    """Outputs, and gradients by the names of the inputs."""

    outputs: tuple[Estimate, ...]
    gradients: dict[str, Estimate]

    def where_defined(self) -> "Truth":
        """Of a pointwise function: no gradient is known where a value is NaN."""
        if not self.outputs:
            return self
        defined = torch.stack([~each.value.isnan() for each in self.outputs]).all(0)
        return Truth(
            self.outputs,
            {
                name: Estimate(each.value.where(defined, torch.nan), each.spread)
                for name, each in self.gradients.items()
            },
        )

    def unsure_by(self, errors: Tensors) -> "Truth":
        """The same with the gradients trusted less by these."""
        known = {n: Estimate(e.value, e.spread + errors[n]) for n, e in self.gradients.items()}
        return Truth(self.outputs, known)

    def within(self, share: float) -> "Truth":
        """The same with the gradients trusted to this share of themselves."""
        return self.unsure_by({n: share * e.value.abs() for n, e in self.gradients.items()})

    def widened(self, spread: Pass) -> "Truth":
        """The same truth, trusted no further than this spread says."""
        return Truth(
            tuple(e.widened(s) for e, s in zip(self.outputs, spread.outputs, strict=True)),
            {name: e.widened(spread.gradients[name]) for name, e in self.gradients.items()},
        )
