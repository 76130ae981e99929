"""What the chapters of a story have in common: numbers, sums in as many lines as fit, the rest."""

from torch import Tensor

from bp_torch.explanation.document import Part, Sentences
from bp_torch.explanation.notation import factor, number
from bp_torch.explanation.step import Step

SHOWN = 4
"""Units, terms or samples that are written out one by one; what is beyond them is counted."""

WIDTH = 74
"""Characters of a line of a formula: with its indentation it fits into a terminal of 80."""


class Writer:
    """A step, and how its numbers are written."""

    def __init__(self, step: Step, decimals: int) -> None:
        self.step, self.decimals = step, decimals
        self.layers = step.layers
        self.alone = self.layers[-1][2].alone

    def n(self, value: float | Tensor) -> str:
        return number(_value(value), self.decimals)

    def f(self, value: float | Tensor) -> str:
        """Behind a sign, in brackets where negative."""
        return factor(_value(value), self.decimals)

    def products(self, ones: Tensor, others: Tensor) -> list[str]:
        """ "2·(−1)", and in brackets what stands behind a plus."""
        pairs = enumerate(zip(ones, others, strict=True))
        return [f"{self.f(a) if i else self.n(a)}·{self.f(b)}" for i, (a, b) in pairs]

    def sum_lines(
        self, lead: str, terms: list[str], *, keep: int = 0, total: str = "", rest: float = 0.0
    ) -> tuple[str, ...]:
        """ "C = a + b = 3", in as many lines as fit; of many terms the first, and the last `keep`.

        Args:
            total: what the sum comes to, if it is to be said; `rest` is the part of it that the
                terms have which are not shown.
        """
        if len(terms) - keep > SHOWN:
            hidden = len(terms) - keep - SHOWN
            others = f"{self.f(rest)} (the {hidden} others)" if total else f"(… {hidden} more)"
            terms = [*terms[:SHOWN], others, *terms[len(terms) - keep :]]
        lines, line = [], lead + terms[0]
        for text in [*(f"+ {term}" for term in terms[1:]), *([f"= {total}"] if total else [])]:
            if len(line) + 1 + len(text) > WIDTH:
                lines.append(line)
                line = " " * len(lead) + text
            else:
                line += " " + text
        return (*lines, line)


def flat(values: Tensor, sample: int = 0) -> Tensor:
    """One sample's numbers, also of a neuron, whose tensors have no axis for them."""
    return values[sample].reshape(-1)


def rows_of(weight: Tensor) -> Tensor:
    """A row for each unit."""
    return weight.reshape(-1, weight.shape[-1]).detach()


def and_more(count: int, what: str) -> list[Part]:
    """ "… and 3 neurons more"."""
    if count <= 0:
        return []
    return [Sentences(f"… and {count} {what}{'s' if count > 1 else ''} more, in the same way.")]


def _value(value: float | Tensor) -> float:
    return value.item() if isinstance(value, Tensor) else value
