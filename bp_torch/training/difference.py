"""How far a gradient by hand is from autograd's."""

from dataclasses import dataclass

from bp_torch.judge.distance import ulp_distance
from bp_torch.training.gradients import NamedGradients


@dataclass(frozen=True)
class Difference:
    """The largest difference between the gradient by hand and autograd's, over steps compared."""

    max_ulp: float = 0.0
    max_abs: float = 0.0
    steps: int = 0

    def __or__(self, other: "Difference") -> "Difference":
        """The larger of both."""
        return Difference(
            max_ulp=max(self.max_ulp, other.max_ulp),
            max_abs=max(self.max_abs, other.max_abs),
            steps=self.steps + other.steps,
        )


def difference_of(by_hand: NamedGradients, reference: NamedGradients) -> Difference:
    """The largest difference over all parameters, in ULP of the reference and absolute."""
    pairs = [(by_hand[name], reference[name]) for name in reference]
    return Difference(
        max_ulp=max(ulp_distance(h, r).max().item() for h, r in pairs),
        max_abs=max((h.double() - r.double()).abs().max().item() for h, r in pairs),
        steps=1,
    )
