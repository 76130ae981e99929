"""Mistakes planted in the graph of the reference: one node passes on something else than its
derivative.

Nothing about the function has to be known for it: the planted mistake that gives your gradients is
yours.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from bp_torch.judge.criteria import (
    ALIKE,
    FEWEST_FITTED,
    MOST_NODES,
    MOST_NODES_WITH_FACTORS,
)
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.graph import Node, is_leaf, operation
from bp_torch.judge.graph import nodes as nodes_behind
from bp_torch.judge.mistakes.hypothesis import Hypothesis
from bp_torch.judge.mistakes.in_parts import InParts
from bp_torch.judge.mistakes.local import local_mistakes
from bp_torch.judge.passes import Tensors, differentiate, outputs_of

MIXING = ("softmax", "norm", "mm", "mv", "sum", "mean", "logsumexp", "cumsum")
"""Nodes whose derivative is no factor but a matrix: leaving it out loses terms, not a factor."""


class Graph:
    """The reference's graph, through which backward can go in another way."""

    def __init__(self, e: Evidence) -> None:
        self.e, self.exact = e, e.point.exact()
        self.leaves = self.exact.leaves()
        with InParts():
            self.outputs = outputs_of(self.exact, *self.leaves)
        self.nodes = [n for n in nodes_behind(self.outputs) if not is_leaf(n)][:MOST_NODES]

    def shapes(self) -> dict[Node, tuple[list[Any], list[Any]]]:
        """Of the gradients by each node's inputs, and by its outputs."""
        found: dict[Node, tuple[list[Any], list[Any]]] = {}

        def note(node: Node) -> Callable[..., None]:
            def hook(by_inputs: Gradients, by_outputs: Gradients) -> None:
                found[node] = tuple(  # type: ignore[assignment]
                    [None if g is None else g.shape for g in each]
                    for each in (by_inputs, by_outputs)
                )

            return hook

        handles = [node.register_hook(note(node)) for node in self.nodes]
        differentiate(self.outputs, self.exact.upstream, self.leaves, retain=True)
        for handle in handles:
            handle.remove()
        return found

    def mutated(self, *changes: tuple[Node, Callable[..., Any]]) -> Tensors:
        """The gradients where these nodes pass on what the changes make of it."""
        handles = [node.register_hook(change) for node, change in changes]
        try:
            found = differentiate(self.outputs, self.exact.upstream, self.leaves, retain=True)
        finally:
            for handle in handles:
                handle.remove()
        return self.e.of_the_bad(dict(zip(self.exact.wanted, found, strict=True)))


def nodes(e: Evidence) -> Iterator[Hypothesis]:
    """One node of the reference's graph passes on something else than its derivative."""
    graph = Graph(e)
    for node in graph.nodes:
        name = operation(node)
        local = local_mistakes(node, name)
        for mistake in local:
            guess = graph.mutated((node, _passing_on(mistake.derivative)))
            yield Hypothesis(mistake.word, f"{e.the_gradient} {mistake.text}", guess)
        edges = _edges(node)
        mixing = any(word in name for word in MIXING)
        if len(edges) == 1 and not mixing and not local:
            (k,) = edges
            text = f"{e.the_gradient} lacks the derivative of {name}"
            yield Hypothesis("missing-factor", text, graph.mutated((node, _handed_on(k))))
            text = f"{e.the_gradient} has the derivative of {name} once too often"
            yield Hypothesis("missing-factor", text, graph.mutated((node, _twice(k))))
        for k, argument in edges.items():
            without = graph.mutated((node, _nothing_through(k)))
            through = f"the term that comes through {name}{argument}"
            yield Hypothesis("missing-term", f"{e.the_gradient} lacks {through}", without)
            yield from _scaled_term(e, through, without)
            if argument:
                text = f"{e.the_gradient} takes {name} for its{argument.strip(',')} alone"
                yield Hypothesis("missing-factor", text, graph.mutated((node, _only_through(k))))


def several_nodes(e: Evidence) -> Iterator[Hypothesis]:
    """The same mistake in every σ, tanh or softmax; or two nodes in a row whose derivatives are
    left out."""
    graph = Graph(e)
    alike: dict[str, list[Node]] = {}
    for node in graph.nodes:
        alike.setdefault(operation(node), []).append(node)
    for name, group in alike.items():
        for mistakes in zip(*(local_mistakes(node, name) for node in group), strict=True):
            pairs = zip(group, mistakes, strict=True)
            guess = graph.mutated(*((node, _passing_on(m.derivative)) for node, m in pairs))
            text = f"{e.the_gradient} {mistakes[0].text}, in each {name}"
            yield Hypothesis(mistakes[0].word, text, guess)
    for node in graph.nodes:
        for k in _edges(node):
            child = node.next_functions[k][0]
            if child not in graph.nodes:
                continue
            for place in _edges(child):
                text = f"lacks the derivatives of {operation(node)} and {operation(child)}"
                guess = graph.mutated((node, _handed_on(k)), (child, _handed_on(place)))
                yield Hypothesis("missing-factor", f"{e.the_gradient} {text}", guess)


def factors_in_terms(e: Evidence) -> Iterator[Hypothesis]:
    """What comes to one argument of one node has an input as a factor too often, or too seldom."""
    factors = {
        name: tensor.detach().double()
        for name, tensor in {**e.point.inputs, **e.case.constants}.items()
        if tensor.is_floating_point() and tensor.numel() > 1
    }
    graph = Graph(e)
    shapes = graph.shapes()
    for node in [n for n in graph.nodes if n in shapes][:MOST_NODES_WITH_FACTORS]:
        by_inputs, by_outputs = shapes[node]
        for (k, argument), (name, factor) in product(_edges(node).items(), factors.items()):
            ways = []
            if len(by_outputs) == 1 and _fits_into(factor.shape, by_outputs[0]):
                ways.append(_of_another_upstream)
            if _fits_into(factor.shape, by_inputs[k]):
                ways.append(_times)
            through = f"the factor {name} in the term through {operation(node)}{argument}"
            for way in ways:
                guess = graph.mutated((node, way(node, k, factor)))
                text = f"{e.the_gradient} has {through} once too often"
                yield Hypothesis("missing-factor", text, guess)
                guess = graph.mutated((node, way(node, k, 1 / factor)))
                yield Hypothesis("missing-factor", f"{e.the_gradient} lacks {through}", guess)


def _edges(node: Node) -> dict[int, str]:
    """The arguments through which something flows on, and what they are called."""
    places = [k for k, (edge, _) in enumerate(node.next_functions) if edge is not None]
    return {k: f", argument {k + 1}" if len(places) > 1 else "" for k in places}


def _scaled_term(e: Evidence, through: str, without: Tensors) -> Iterator[Hypothesis]:
    """The same term times a factor, that which fits best, or a simple one near it."""
    term = {name: e.exact(name) - without[name] for name in e.bad}
    products = squares = rest = 0.0
    count = 0
    for name, t in term.items():
        known = e.exact(name).isfinite() & e.mine(name).isfinite()
        products += ((e.mine(name) - without[name]) * t)[known].sum().item()
        squares += t[known].square().sum().item()
        rest += without[name][known].square().sum().item()
        count += int(known.sum())
    if not squares or not rest or count < FEWEST_FITTED:
        return
    fitted = products / squares
    for c in (*(s for s in SIMPLE_FACTORS if abs(s - fitted) < ALIKE * abs(s)), fitted):
        what = "with the wrong sign" if c == -1 else f"times {c:.4g}"
        guess = {name: without[name] + c * t for name, t in term.items()}
        yield Hypothesis("scaled-term", f"{e.the_gradient} has {through} {what}", guess)
    if len(term) == 1:
        yield from _scaled_in_each_row(e, through, without, term)


def _scaled_in_each_row(
    e: Evidence, through: str, without: Tensors, term: Tensors
) -> Iterator[Hypothesis]:
    """The term times a factor of its own in each row, as where an ε stands in the wrong place."""
    ((name, t),) = term.items()
    if t.ndim < 2 or t.shape[-1] < FEWEST_FITTED:
        return
    squares = t.square().sum(-1, keepdim=True)
    c = ((e.mine(name) - without[name]) * t).sum(-1, keepdim=True) / squares
    if not c.isfinite().all():
        return
    text = (
        f"{e.the_gradient} has {through} times a factor of its own in each row, "
        f"{c.min().item():.3g} to {c.max().item():.3g}"
    )
    yield Hypothesis("scaled-term", text, {name: without[name] + c * t})


SIMPLE_FACTORS = (-1.0, 2.0, 0.5, -2.0, 3.0, 1 / 3, 4.0, 0.25, 1.5, -0.5)


# Hooks of a node: from the gradients by its inputs and by its outputs to others by its inputs.

Gradients = Sequence[Tensor | None]


def _passing_on(derivative: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    return lambda by_inputs, by_outputs: (derivative(by_outputs[0]), *by_inputs[1:])


def _handed_on(place: int) -> Callable[..., Any]:
    """To one argument the upstream gradient itself, spread or summed to its shape."""

    def change(by_inputs: Gradients, by_outputs: Sequence[Tensor]) -> Any:
        was, g = by_inputs[place], by_outputs[0]
        if was is None or g is None:
            return None
        if _fits_into(g.shape, was.shape):
            g = g.expand(was.shape)
        elif _fits_into(was.shape, g.shape):
            g = g.sum_to_size(was.shape)
        else:
            return None
        return (*by_inputs[:place], g, *by_inputs[place + 1 :])

    return change


def _twice(place: int) -> Callable[..., Any]:
    """The factor between what comes and what goes, of an operation on single elements, squared."""

    def change(by_inputs: Gradients, by_outputs: Sequence[Tensor]) -> Any:
        passed, g = by_inputs[place], by_outputs[0]
        if passed is None or g is None or passed.shape != g.shape:
            return None
        again = passed * (passed / g).nan_to_num(0.0)
        return (*by_inputs[:place], again, *by_inputs[place + 1 :])

    return change


def _nothing_through(place: int) -> Callable[..., Any]:
    def change(by_inputs: Gradients, by_outputs: Sequence[Tensor]) -> Any:
        return tuple(
            torch.zeros_like(g) if g is not None and k == place else g
            for k, g in enumerate(by_inputs)
        )

    return change


def _only_through(place: int) -> Callable[..., Any]:
    def change(by_inputs: Gradients, by_outputs: Sequence[Tensor]) -> Any:
        g = by_outputs[0]
        kept = by_inputs[place]
        if kept is None or kept.shape != g.shape:
            return None
        return tuple(
            g if k == place else None if t is None else torch.zeros_like(t)
            for k, t in enumerate(by_inputs)
        )

    return change


def _of_another_upstream(node: Node, place: int, factor: Tensor) -> Callable[..., Any]:
    """What comes to one argument as if the upstream gradient had one factor more."""

    def change(by_inputs: Gradients, by_outputs: Sequence[Tensor]) -> Any:
        moved = node(by_outputs[0] * factor)
        through = moved[place] if isinstance(moved, tuple) else moved
        was = by_inputs[place]
        if was is None or through is None:
            return None
        # As the engine does for what was broadcast.
        return (*by_inputs[:place], through.sum_to_size(was.shape), *by_inputs[place + 1 :])

    return change


def _times(node: Node, place: int, factor: Tensor) -> Callable[..., Any]:
    """What comes to one argument times a factor."""

    def change(by_inputs: Gradients, by_outputs: Sequence[Tensor]) -> Any:
        g = by_inputs[place]
        return None if g is None else (*by_inputs[:place], g * factor, *by_inputs[place + 1 :])

    return change


def _fits_into(small: torch.Size, large: torch.Size | None) -> bool:
    if large is None:
        return False
    try:
        return bool(torch.broadcast_shapes(small, large) == large)
    except RuntimeError:
        return False
