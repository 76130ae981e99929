"""Wrong derivatives of one operation that people write, for σ, tanh and softmax."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.judge.graph import Node, saved_output
from bp_torch.judge.mistakes.hypothesis import Mistake


@dataclass(frozen=True)
class LocalMistake:
    """A wrong derivative of one operation: the word, what is wrong, and what then becomes of the
    upstream gradient."""

    word: Mistake
    text: str
    derivative: Callable[[Tensor], Tensor]


def local_mistakes(node: Node, name: str) -> list[LocalMistake]:
    """Those that people write for σ, tanh and softmax, from the output that was saved."""
    if name not in ("sigmoid", "tanh", "softmax"):
        return []
    y = saved_output(node)
    if name == "tanh":
        return [
            LocalMistake("missing-factor", "lacks the factor tanh′ = 1 − ŷ²", lambda g: g),
            LocalMistake(
                "missing-factor", "lacks the factor 1 − ŷ of tanh′", lambda g: g * (1 + y)
            ),
            LocalMistake(
                "missing-factor", "lacks the factor 1 + ŷ of tanh′", lambda g: g * (1 - y)
            ),
            LocalMistake(
                "output-for-input",
                "is taken at the output: tanh′(ŷ) in place of tanh′(z)",
                lambda g: g * (1 - torch.tanh(y) ** 2),
            ),
            LocalMistake(
                "output-for-input",
                "has tanh(ŷ), the function at its output, in place of tanh′(z)",
                lambda g: g * torch.tanh(y),
            ),
        ]
    if name == "softmax":
        return [
            LocalMistake("missing-term", "lacks the term −ŷ Σ g·ŷ of softmax", lambda g: g * y),
            LocalMistake(
                "reduction",
                "is reduced over the wrong axis",
                lambda g: y * (g - (g * y).sum(0, keepdim=True)),
            ),
        ]
    s = torch.sigmoid(y)
    return [
        LocalMistake("missing-factor", "lacks the factor σ′(z) = ŷ(1 − ŷ)", lambda g: g),
        LocalMistake("missing-factor", "lacks the factor 1 − ŷ of σ′(z)", lambda g: g * y),
        LocalMistake("missing-factor", "lacks the factor ŷ of σ′(z)", lambda g: g * (1 - y)),
        LocalMistake(
            "missing-factor",
            "has the factor σ′(z) once too often",
            lambda g: g * (y * (1 - y)) ** 2,
        ),
        LocalMistake(
            "output-for-input",
            "is taken at the output: σ′(ŷ) in place of σ′(z)",
            lambda g: g * s * (1 - s),
        ),
        LocalMistake(
            "output-for-input",
            "has σ(ŷ), the function at its output, in place of σ′(z)",
            lambda g: g * s,
        ),
    ]
