"""What could explain a wrong gradient: the gradients that each known mistake would give.

Most come from the reference with a mistake planted in its backward (`mutations`), so that nothing
about the function has to be known: the planted mistake that gives your gradients is yours.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from bp_torch.judge.evaluate import double, run
from bp_torch.judge.evidence import Evidence, Hypothesis, needed
from bp_torch.judge.mutations import nodes, saved_replaced, updated_weights

MOST_SAMPLES = 256
"""Per-sample gradients cost a backward pass each; beyond this many they are not tried."""


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    """All of them, from the most to the least specific; lazily, since each costs a pass."""
    families = [_signs_and_places, _known_factors, _precision, _any_factor]
    if e.reference is not None:
        families = [
            _signs_and_places,
            _upstream_ignored,
            _known_factors,
            _pointwise,
            saved_replaced,
            _diagonal,
            nodes,
            _samples,
            _wrong_axis,
            updated_weights,
            _precision,
            _any_factor,
        ]
    for family in families:
        try:
            yield from family(e)
        except Exception:
            continue  # The reference refuses what this family tries: then it explains nothing.


def _map(e: Evidence, change: Callable[[Tensor], Tensor]) -> list[Tensor | None]:
    return [change(e.exact(k)) if k in e.bad else None for k in range(len(e.inputs))]


def _signs_and_places(e: Evidence) -> Iterator[Hypothesis]:
    yield Hypothesis("sign", f"{e.the_gradient} has the wrong sign", _map(e, torch.neg))
    for i in e.bad:
        for j in e.bad:
            if i < j and e.exact(i).shape == e.exact(j).shape:
                swapped = [None] * len(e.inputs)
                both: list[Tensor | None] = list(swapped)
                both[i], both[j] = e.exact(j), e.exact(i)
                text = f"the gradients of {e.names[i]} and {e.names[j]} are swapped"
                yield Hypothesis("swapped", text, both)
    if all(e.exact(k).ndim == 2 for k in e.bad):
        yield Hypothesis("transposed", f"{e.the_gradient} is transposed", _map(e, lambda t: t.mT))


def _known_factors(e: Evidence) -> Iterator[Hypothesis]:
    """Factors that are forgotten or taken twice: ½, 2, and the sizes of the inputs."""
    words = {
        0.0: "zero everywhere",
        2.0: "twice the truth: a factor ½ is missing, as of ½(ŷ − y)²",
        0.5: "half the truth: a factor 2 is missing, as of the derivative of a square",
    }
    for name, tensor in zip(e.names, e.inputs, strict=True):
        for axis, size in enumerate(tensor.shape):
            if size < 2:
                continue
            origin = f"the size {size} of dimension {axis} of {name}"
            for c, why in (
                (size, f"a division by {origin} is missing"),
                (1 / size, f"divided by {origin} once too often"),
                ((size + 1) / size, f"(N + 1)/N with N = {origin}, one term too many"),
            ):
                words.setdefault(c, f"{c:.6g} times the truth: {why}")
    for c, text in words.items():
        guess = _map(e, lambda t: c * t)  # noqa: B023, used before c moves on
        yield Hypothesis("factor", f"{e.the_gradient} is {text}", guess)


def _any_factor(e: Evidence) -> Iterator[Hypothesis]:
    """One factor for all wrong gradients, the one that fits best."""
    if sum(e.exact(k).numel() for k in e.bad) < 2:
        return  # One number is a multiple of any other: that names nothing.
    products = squares = 0.0
    for k in e.bad:
        usable = e.exact(k).isfinite() & e.mine(k).isfinite()
        exact, mine = e.exact(k)[usable], e.mine(k)[usable]
        products += (exact * mine).sum().item()
        squares += exact.square().sum().item()
    if squares:
        c = products / squares
        text = f"{e.the_gradient} is {c:.6g} times the truth, a constant factor"
        yield Hypothesis("factor", text, _map(e, lambda t: c * t))


def _upstream_ignored(e: Evidence) -> Iterator[Hypothesis]:
    ones = [torch.ones_like(g) for g in double(e.upstream)]
    local = run(needed(e.reference), double(e.inputs), e.wanted, ones)
    text = f"{e.the_gradient} ignores the upstream gradient: it is the local derivative alone"
    yield Hypothesis("upstream-ignored", text, e.only_bad(local.gradients))


def _pointwise(e: Evidence) -> Iterator[Hypothesis]:
    """Factors and terms that are simple functions of the inputs or of the output."""
    if not e.pointwise or len(e.upstream) > 1:
        return
    inputs, (y, *_), (g, *_) = double(e.inputs), e.truth.outputs, double(e.upstream)
    if len(inputs) == 1 and inputs[0].shape == y.shape:
        at_output = run(needed(e.reference), [y], e.wanted, [g])
        text = f"{e.the_gradient} is taken at the output: f′(f(x)) in place of f′(x)"
        yield Hypothesis("output-for-input", text, at_output.gradients)
    simple = dict(_simple_functions(e, inputs, y))
    for name, h in simple.items():
        lacking = _map(e, lambda t: torch.where(h == 0, 0.0, t / h))  # noqa: B023
        yield Hypothesis("missing-factor", f"{e.the_gradient} lacks the factor {name}", lacking)
    for name, h in simple.items():
        text = f"{e.the_gradient} has the factor {name} once too often"
        yield Hypothesis("missing-factor", text, _map(e, lambda t: t * h))  # noqa: B023
    for name, h in simple.items():
        for term, word in ((g * h, name), (-g * h, f"−{name}")):
            text = f"{e.the_gradient} lacks a term: upstream · ({word})"
            yield Hypothesis("missing-term", text, _map(e, lambda t: t - term))  # noqa: B023


def _simple_functions(
    e: Evidence, inputs: Sequence[Tensor], y: Tensor
) -> Iterator[tuple[str, Tensor]]:
    s = torch.sigmoid(inputs[0])
    yield "1 − ŷ (ŷ: the output)", 1 - y
    yield "ŷ (the output)", y
    yield "ŷ(1 − ŷ) (ŷ: the output)", y * (1 - y)
    yield "1 − ŷ² (ŷ: the output)", 1 - y * y
    yield "1 + ŷ (ŷ: the output)", 1 + y
    for name, x in zip(e.names, inputs, strict=True):
        yield name, x
        yield f"{name}²", x * x
    first = e.names[0]
    yield f"σ({first})", s
    yield f"1 − σ({first})", 1 - s
    yield f"σ′({first})", s * (1 - s)
    yield f"{first} · σ′({first})", inputs[0] * s * (1 - s)
    yield f"tanh({first})", torch.tanh(inputs[0])


def _samples(e: Evidence) -> Iterator[Hypothesis]:
    """A reduction over the batch that is not the sum over it."""
    inputs, (g, *more) = double(e.inputs), double(e.upstream)
    if more or not g.ndim or not 1 < g.shape[0] <= MOST_SAMPLES:
        return
    per_sample: list[Sequence[Tensor | None]] = []
    for sample in range(g.shape[0]):
        alone = torch.zeros_like(g)
        alone[sample] = g[sample]
        per_sample.append(run(needed(e.reference), inputs, e.wanted, [alone]).gradients)
    stacked = {k: torch.stack([p[k] for p in per_sample]) for k in e.bad}  # type: ignore[misc]

    def reduce(change: Callable[[Tensor], Tensor]) -> list[Tensor | None]:
        return [change(stacked[k]) if k in stacked else None for k in range(len(inputs))]

    ways: list[tuple[str, Callable[[Tensor], Tensor]]] = [
        ("takes the first sample alone, in place of the sum over samples", lambda u: u[0]),
        ("takes the last sample alone, in place of the sum over samples", lambda u: u[-1]),
        ("takes the maximum over samples in place of the sum", lambda u: u.amax(0)),
        ("takes the minimum over samples in place of the sum", lambda u: u.amin(0)),
        ("leaves out the first sample of the sum", lambda u: u[1:].sum(0)),
        ("leaves out the last sample of the sum", lambda u: u[:-1].sum(0)),
        ("has the first sample twice in its sum", lambda u: u.sum(0) + u[0]),
        ("has the last sample twice in its sum", lambda u: u.sum(0) + u[-1]),
    ]
    if all(u.ndim == 2 and u.shape[0] == u.shape[1] for u in stacked.values()):
        ways.append(("is summed over the wrong axis", lambda u: u.sum(1)))
    for text, change in ways:
        yield Hypothesis("reduction", f"{e.the_gradient} {text}", reduce(change))


def _wrong_axis(e: Evidence) -> Iterator[Hypothesis]:
    """The reference along the other axis of a matrix, in its backward alone."""
    inputs, (g, *more) = double(e.inputs), double(e.upstream)
    if len(inputs) == 1 and inputs[0].ndim == 2 and g.shape == inputs[0].shape and not more:
        turned = run(needed(e.reference), [inputs[0].mT], e.wanted, [g.mT]).gradients[0]
        text = f"{e.the_gradient} is reduced over the wrong axis"
        yield Hypothesis("reduction", text, [needed(turned).mT])


def _diagonal(e: Evidence) -> Iterator[Hypothesis]:
    """Only the diagonal of the Jacobian, or the upstream gradient handed on as it is."""
    (y, *_), (g, *_) = e.truth.outputs, double(e.upstream)
    if not all(e.exact(k).shape == y.shape for k in e.bad) or e.pointwise:
        return
    text = f"{e.the_gradient} is the upstream gradient itself: the other terms are missing"
    yield Hypothesis("missing-term", text, [g if k in e.bad else None for k in range(len(e.names))])
    if y.numel() > MOST_SAMPLES:
        return
    inputs = double(e.inputs)
    diagonals = [torch.zeros_like(y) for _ in inputs]
    for element in range(y.numel()):
        one = torch.zeros_like(y)
        one.view(-1)[element] = 1
        for k in e.bad:
            column = run(needed(e.reference), inputs, e.wanted, [one]).gradients[k]
            diagonals[k].view(-1)[element] = needed(column).reshape(-1)[element]
    text = (
        f"{e.the_gradient} has only the diagonal of the Jacobian: what each output owes to the "
        f"other inputs is missing"
    )
    yield Hypothesis(
        "missing-term", text, [g * d if k in e.bad else None for k, d in enumerate(diagonals)]
    )


def _precision(e: Evidence) -> Iterator[Hypothesis]:
    """Your own numbers, where they carry no more digits than a coarser dtype has."""
    for coarse in (torch.bfloat16, torch.float16, torch.float32):  # the coarsest that fits
        if torch.finfo(coarse).eps <= torch.finfo(e.dtype).eps:
            continue
        if all(_has_digits_of(e, k, coarse) for k in e.bad):
            name = str(coarse).removeprefix("torch.")
            text = (
                f"{e.the_gradient} has lost precision: its numbers carry only the digits of {name}"
            )
            yield Hypothesis(
                "precision", text, [e.mine(k) if k in e.bad else None for k in range(len(e.names))]
            )
            return


def _has_digits_of(e: Evidence, place: int, coarse: torch.dtype) -> bool:
    """Whether the gradient, or gradient/upstream, is that of the coarse dtype, near the truth."""
    mine, exact = e.mine(place), e.exact(place)
    size = exact.abs() if e.pointwise else exact.abs().max()
    spread = needed(e.truth.spreads[place])
    coarser = torch.finfo(coarse).eps / torch.finfo(e.dtype).eps
    near = (mine - exact).abs() <= 8 * torch.finfo(coarse).eps * size + 8 * coarser * spread
    if not bool(near.all()):
        return False
    candidates = [mine]
    if len(e.upstream) == 1 and e.upstream[0].shape == mine.shape:
        candidates.append(mine / e.upstream[0].double())
    last = 4 * torch.finfo(e.dtype).eps
    return any(
        bool(((c.to(coarse).double() - c).abs() <= last * c.abs()).double().mean() > 0.95)
        for c in candidates
    )
