"""What a mistake would look like: its word, its sentence, and the gradients that it would give."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from bp_torch.judge.evidence import Evidence
from bp_torch.judge.passes import Tensors

Mistake = Literal[
    "sign",
    "factor",
    "missing-factor",
    "output-for-input",
    "upstream-ignored",
    "transposed",
    "swapped",
    "reduction",
    "missing-term",
    "scaled-term",
    "copied",
    "stale-value",
    "surrogate",
    "constants",
    "region",
    "overflow",
    "precision",
    "side-effect",
    "storage-order",
    "nondeterministic",
    "second-derivative",
    "forward",
    "updated-weights",
    "transform",
    "not-explained",
]


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A mistake, the sentence that names it, and the gradients it would give, by the inputs' names;
    where there is none, the truth."""

    mistake: Mistake
    sentence: str
    gradients: Mapping[str, Tensor]


Family: TypeAlias = Callable[[Evidence], Iterator[Hypothesis]]
"""Hypotheses of one kind, lazily, since each costs a pass; `Refused` where there is none."""


def fitted(exact: Tensors, mine: Tensors) -> float | None:
    """The one factor between two sets of gradients that fits best; None where there is none."""
    products = squares = 0.0
    for name, t in exact.items():
        usable = t.isfinite() & mine[name].isfinite()
        products += (t * mine[name])[usable].sum().item()
        squares += t[usable].square().sum().item()
    return products / squares if squares else None


def changed(e: Evidence, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The truth changed, for every gradient that is wrong."""
    return {name: change(e.exact(name)) for name in e.bad}
