"""Mistakes planted in the reference while it runs backward: its saved tensors are replaced, or a
node of its graph passes on something else than its derivative."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from bp_torch.judge.evaluate import double, leaves, run
from bp_torch.judge.evidence import Evidence, Hypothesis, needed

MIXING = ("softmax", "norm", "mm", "mv", "sum", "mean", "logsumexp", "cumsum")
"""Nodes whose derivative is no factor but a matrix: leaving it out loses terms, not a factor."""

MOST_NODES = 200
"""Of a larger graph only the nodes nearest the outputs are mutated, at a backward pass each."""


def saved_replaced(e: Evidence) -> Iterator[Hypothesis]:
    """An input's factor is missing: wherever the reference saved that input, it finds ones."""
    for place, name in enumerate(e.names):
        if e.inputs[place].is_floating_point():
            guess = _with_saved(e, place, torch.ones_like)
            text = f"{e.the_gradient} lacks the factor {name}"
            yield Hypothesis("missing-factor", text, e.only_bad(guess))


def _with_saved(
    e: Evidence, place: int, change: Callable[[Tensor], Tensor]
) -> Sequence[Tensor | None]:
    """The reference's gradients when it finds input `place` changed among its saved tensors."""
    inputs = double(e.inputs)
    original = inputs[place]

    def unpack(saved: Tensor) -> Tensor:
        if saved.dtype != original.dtype or saved.numel() != original.numel():
            return saved
        if saved.shape == original.shape and torch.equal(saved.detach(), original):
            return change(saved)
        if saved.ndim == original.ndim == 2 and torch.equal(saved.detach().mT, original):
            return change(saved.mT).mT
        return saved

    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        return run(needed(e.reference), inputs, e.wanted, double(e.upstream)).gradients


def nodes(e: Evidence) -> Iterator[Hypothesis]:
    """One node of the reference's graph passes on something else than its derivative."""
    arguments = leaves(double(e.inputs), e.wanted)
    pairs = [
        (o, g)
        for o, g in zip(needed(e.reference)(*arguments), double(e.upstream), strict=True)
        if o.requires_grad
    ]
    sources = [a for a in arguments if a.requires_grad]

    def mutated(node: Any, change: Callable[..., Any]) -> list[Tensor | None]:
        handle = node.register_hook(change)
        try:
            found = torch.autograd.grad(
                [o for o, _ in pairs],
                sources,
                [g for _, g in pairs],
                retain_graph=True,
                allow_unused=True,
            )
        finally:
            handle.remove()
        left = iter(found)
        gradients: list[Tensor | None] = []
        for argument in arguments:
            gradient = next(left) if argument.requires_grad else None
            if argument.requires_grad and gradient is None:
                gradient = torch.zeros_like(argument)
            gradients.append(gradient)
        return e.only_bad(gradients)

    for node in _graph([o for o, _ in pairs])[:MOST_NODES]:
        name = node.name().removesuffix("0").removesuffix("Backward").lower()
        for text, mistake, local in _local_derivatives(node, name):
            yield Hypothesis(
                mistake,
                f"{e.the_gradient} {text}",
                mutated(node, lambda gi, go, local=local: (local(go[0]), *gi[1:])),
            )
        edges = [k for k, (edge, _) in enumerate(node.next_functions) if edge is not None]
        mixing = any(word in name for word in MIXING)
        if len(edges) == 1 and not mixing and not _local_derivatives(node, name):
            yield Hypothesis(
                "missing-factor",
                f"{e.the_gradient} lacks the derivative of {name}",
                mutated(node, _pass_on),
            )
        for k in edges:
            yield Hypothesis(
                "missing-term",
                f"{e.the_gradient} lacks the term that comes through {name}"
                + (f", argument {k + 1}" if len(edges) > 1 else ""),
                mutated(
                    node,
                    lambda gi, go, k=k: tuple(
                        None if g is None else torch.zeros_like(g) if i == k else g
                        for i, g in enumerate(gi)
                    ),
                ),
            )


def _local_derivatives(node: Any, name: str) -> list[tuple[str, str, Callable[[Tensor], Tensor]]]:
    """Wrong derivatives that people write for σ, tanh and softmax, from the output that was saved:
    what is wrong, which mistake that is, and what then becomes of the upstream gradient."""
    if name not in ("sigmoid", "tanh", "softmax"):
        return []
    y = node._saved_result.detach()
    if name == "tanh":
        return [
            ("lacks the factor tanh′ = 1 − ŷ²", "missing-factor", lambda g: g),
            ("lacks the factor 1 − ŷ of tanh′", "missing-factor", lambda g: g * (1 + y)),
            ("lacks the factor 1 + ŷ of tanh′", "missing-factor", lambda g: g * (1 - y)),
            (
                "is taken at the output: tanh′(ŷ) in place of tanh′(z)",
                "output-for-input",
                lambda g: g * (1 - torch.tanh(y) ** 2),
            ),
        ]
    if name == "softmax":
        return [
            ("lacks the term −ŷ Σ g·ŷ of softmax", "missing-term", lambda g: g * y),
            (
                "is reduced over the wrong axis",
                "reduction",
                lambda g: y * (g - (g * y).sum(0, keepdim=True)),
            ),
        ]
    s = torch.sigmoid(y)
    return [
        ("lacks the factor σ′(z) = ŷ(1 − ŷ)", "missing-factor", lambda g: g),
        ("lacks the factor 1 − ŷ of σ′(z)", "missing-factor", lambda g: g * y),
        ("lacks the factor ŷ of σ′(z)", "missing-factor", lambda g: g * (1 - y)),
        ("has the factor σ′(z) once too often", "missing-factor", lambda g: g * (y * (1 - y)) ** 2),
        (
            "is taken at the output: σ′(ŷ) in place of σ′(z)",
            "output-for-input",
            lambda g: g * s * (1 - s),
        ),
    ]


def _pass_on(grad_inputs: Sequence[Tensor | None], grad_outputs: Sequence[Tensor]) -> Any:
    if grad_inputs[0] is None or grad_inputs[0].shape != grad_outputs[0].shape:
        return None
    return (grad_outputs[0], *grad_inputs[1:])


def _graph(outputs: Sequence[Tensor]) -> list[Any]:
    """The nodes of the graph but the leaves, from the outputs down."""
    seen: dict[Any, None] = {}
    waiting = [o.grad_fn for o in outputs]
    while waiting:
        node = waiting.pop(0)
        if node is None or node in seen or node.name().endswith("AccumulateGrad"):
            continue
        seen[node] = None
        waiting += [edge for edge, _ in node.next_functions]
    return list(seen)


def updated_weights(e: Evidence) -> Iterator[Hypothesis]:
    """A parameter was updated before the layers below saw it: w − ν ∂C/∂w in place of w."""
    for place, name in enumerate(e.names):
        step = e.truth.gradients[place]
        if step is None or place in e.bad:
            continue

        def updated(t: Tensor, step: Tensor = step) -> Tensor:
            return t - step

        one = _with_saved(e, place, updated)
        numerator = denominator = 0.0
        for k in e.bad:
            moved = needed(one[k]) - e.exact(k)
            numerator += ((e.mine(k) - e.exact(k)) * moved).sum().item()
            denominator += moved.square().sum().item()
        if not denominator:
            continue
        rate = numerator / denominator
        guess = [
            None if t is None else e.exact(k) + rate * (t - e.exact(k)) for k, t in enumerate(one)
        ]
        text = f"{e.the_gradient} comes from {name} already updated, with learning rate {rate:.3g}"
        yield Hypothesis("updated-weights", text, e.only_bad(guess))
