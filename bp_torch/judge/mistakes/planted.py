"""Mistakes planted in the reference while it runs backward: its saved tensors are replaced, or a
node of its graph passes on something else than its derivative.

Nothing about the function has to be known for it: the planted mistake that gives your gradients is
yours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bp_torch.judge.criteria import MOST_NODES
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.graph import Node, is_leaf, operation, saved_output
from bp_torch.judge.graph import nodes as nodes_behind
from bp_torch.judge.mistakes.hypothesis import Hypothesis, Mistake
from bp_torch.judge.passes import Tensors, differentiate, outputs_of

MIXING = ("softmax", "norm", "mm", "mv", "sum", "mean", "logsumexp", "cumsum")
"""Nodes whose derivative is no factor but a matrix: leaving it out loses terms, not a factor."""


def saved_replaced(e: Evidence) -> Iterator[Hypothesis]:
    """An input's factor is missing: wherever the reference saved that input, it finds ones."""
    for name, tensor in {**e.point.inputs, **e.case.constants}.items():
        if tensor.is_floating_point():
            guess = _with_saved(e, tensor, torch.ones_like)
            text = f"{e.the_gradient} lacks the factor {name}"
            yield Hypothesis("missing-factor", text, e.of_the_bad(guess))


def updated_weights(e: Evidence) -> Iterator[Hypothesis]:
    """A parameter was updated before the layers below saw it: w − ν ∂C/∂w in place of w."""
    for name, estimate in e.truth.gradients.items():
        if name in e.bad:
            continue
        parameter = e.point.inputs[name]
        one = _with_saved(e, parameter, lambda t, step=estimate.value: t - step)  # type: ignore[misc]
        numerator = denominator = 0.0
        for bad in e.bad:
            moved = one[bad] - e.exact(bad)
            numerator += ((e.mine(bad) - e.exact(bad)) * moved).sum().item()
            denominator += moved.square().sum().item()
        if not denominator:
            continue
        rate = numerator / denominator
        guess = {bad: e.exact(bad) + rate * (one[bad] - e.exact(bad)) for bad in e.bad}
        text = f"{e.the_gradient} comes from {name} already updated, with learning rate {rate:.3g}"
        yield Hypothesis("updated-weights", text, guess)


def _with_saved(e: Evidence, tensor: Tensor, change: Callable[[Tensor], Tensor]) -> Tensors:
    """The reference's gradients when it finds that tensor changed among those it saved."""
    exact, original = e.point.exact(), tensor.detach().double()

    def unpack(saved: Tensor) -> Tensor:
        if saved.dtype != original.dtype or saved.numel() != original.numel():
            return saved
        if saved.shape == original.shape and torch.equal(saved.detach(), original):
            return change(saved)
        if saved.ndim == original.ndim == 2 and torch.equal(saved.detach().mT, original):
            return change(saved.mT).mT
        return saved

    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        return exact.run().gradients


def nodes(e: Evidence) -> Iterator[Hypothesis]:
    """One node of the reference's graph passes on something else than its derivative."""
    exact = e.point.exact()
    leaves = exact.leaves()
    outputs = outputs_of(exact, *leaves)

    def mutated(node: Node, change: Callable[..., Any]) -> Tensors:
        handle = node.register_hook(change)
        try:
            found = differentiate(outputs, exact.upstream, leaves, retain=True)
        finally:
            handle.remove()
        return e.of_the_bad(dict(zip(exact.wanted, found, strict=True)))

    for node in [n for n in nodes_behind(outputs) if not is_leaf(n)][:MOST_NODES]:
        name = operation(node)
        local = _local_mistakes(node, name)
        for mistake in local:
            yield Hypothesis(
                mistake.word,
                f"{e.the_gradient} {mistake.text}",
                mutated(node, _passing_on(mistake.derivative)),
            )
        edges = [k for k, (edge, _) in enumerate(node.next_functions) if edge is not None]
        mixing = any(word in name for word in MIXING)
        if len(edges) == 1 and not mixing and not local:
            yield Hypothesis(
                "missing-factor",
                f"{e.the_gradient} lacks the derivative of {name}",
                mutated(node, _unchanged),
            )
        for k in edges:
            argument = f", argument {k + 1}" if len(edges) > 1 else ""
            yield Hypothesis(
                "missing-term",
                f"{e.the_gradient} lacks the term that comes through {name}{argument}",
                mutated(node, _nothing_through(k)),
            )


@dataclass(frozen=True)
class LocalMistake:
    """A wrong derivative of one operation: the word, what is wrong, and what then becomes of the
    upstream gradient."""

    word: Mistake
    text: str
    derivative: Callable[[Tensor], Tensor]


def _local_mistakes(node: Node, name: str) -> list[LocalMistake]:
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
    ]


# Hooks of a node: from the gradients by its inputs and by its outputs to others by its inputs.

Gradients = Sequence[Tensor | None]


def _passing_on(derivative: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    return lambda by_inputs, by_outputs: (derivative(by_outputs[0]), *by_inputs[1:])


def _unchanged(by_inputs: Gradients, by_outputs: Sequence[Tensor]) -> Any:
    if by_inputs[0] is None or by_inputs[0].shape != by_outputs[0].shape:
        return None
    return (by_outputs[0], *by_inputs[1:])


def _nothing_through(place: int) -> Callable[..., Any]:
    def change(by_inputs: Gradients, by_outputs: Sequence[Tensor]) -> Any:
        return tuple(
            torch.zeros_like(g) if g is not None and k == place else g
            for k, g in enumerate(by_inputs)
        )

    return change
