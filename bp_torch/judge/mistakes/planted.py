"""Mistakes planted in the reference while it runs backward: its saved tensors are replaced, or a
node of its graph passes on something else than its derivative.

Nothing about the function has to be known for it: the planted mistake that gives your gradients is
yours.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bp_torch.judge.criteria import ALIKE, FEWEST_FITTED, MOST_NODES, MOST_PLACES
from bp_torch.judge.evidence import Evidence
from bp_torch.judge.graph import Node, is_leaf, operation, saved_output
from bp_torch.judge.graph import nodes as nodes_behind
from bp_torch.judge.mistakes.hypothesis import Hypothesis, Mistake
from bp_torch.judge.mistakes.in_parts import InParts
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


def saved_replaced_once(e: Evidence) -> Iterator[Hypothesis]:
    """An input's factor is missing in one of the places where the reference saved that input."""
    for name, tensor in {**e.point.inputs, **e.case.constants}.items():
        if not tensor.is_floating_point():
            continue
        for place in range(min(_times_saved(e, tensor), MOST_PLACES)):
            guess = _with_saved(e, tensor, torch.ones_like, only=place)
            text = f"{e.the_gradient} lacks the factor {name} in one of its terms"
            yield Hypothesis("missing-factor", text, e.of_the_bad(guess))


def without_masks(e: Evidence) -> Iterator[Hypothesis]:
    """Backward sees through a mask: as if the reference had masked nothing."""
    exact = e.point.exact()
    with WithoutMasks() as mode:
        guess = exact.run().gradients
    if mode.masked:
        text = f"{e.the_gradient} lacks the mask: it is as if nothing were masked"
        yield Hypothesis("missing-factor", text, e.of_the_bad(guess))


class WithoutMasks(TorchFunctionMode):
    """Under this mode masked_fill, where and the like leave everything as it is."""

    masked = False

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call, or hand on what would have been masked."""
        name = getattr(func, "__name__", "")
        if name in ("masked_fill", "masked_fill_") and isinstance(args[0], Tensor):
            self.masked = True
            return args[0]
        if name == "where" and len(args) == 3:
            tensors = [t for t in args[1:] if isinstance(t, Tensor) and t.requires_grad]
            if len(tensors) == 1:
                self.masked = True
                return tensors[0]
        return func(*args, **(kwargs or {}))


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
        if rate <= 0 or sum(e.mine(bad).numel() for bad in e.bad) < FEWEST_FITTED:
            continue
        guess = {bad: e.exact(bad) + rate * (one[bad] - e.exact(bad)) for bad in e.bad}
        text = f"{e.the_gradient} comes from {name} already updated, with learning rate {rate:.3g}"
        yield Hypothesis("updated-weights", text, guess)


def _times_saved(e: Evidence, tensor: Tensor) -> int:
    """How often the reference unpacks that tensor on its way back; 0 for once, which is no choice
    between places."""
    times = 0

    def count(saved: Tensor) -> Tensor:
        nonlocal times
        times += 1
        return saved

    _with_saved(e, tensor, count)
    return times if times > 1 else 0


def _with_saved(
    e: Evidence, tensor: Tensor, change: Callable[[Tensor], Tensor], only: int | None = None
) -> Tensors:
    """The reference's gradients when it finds that tensor changed among those it saved, every time
    or at one time only."""
    exact, original = e.point.exact(), tensor.detach().double()
    times = itertools.count()

    def unpack(saved: Tensor) -> Tensor:
        changed = matching(saved)
        if changed is saved or only is None:
            return changed
        return changed if next(times) == only else saved

    def matching(saved: Tensor) -> Tensor:
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
    with InParts():
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
            without = mutated(node, _nothing_through(k))
            through = f"the term that comes through {name}{argument}"
            yield Hypothesis("missing-term", f"{e.the_gradient} lacks {through}", without)
            yield from _scaled_term(e, through, without)


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
