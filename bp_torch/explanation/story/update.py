"""The gradient beside autograd's and the truth, the update, and what came of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from bp_torch.explanation.document import Formula, Part, Section, Sentences, Table
from bp_torch.explanation.notation import LayerNames
from bp_torch.explanation.story.writing import SHOWN, Writer, and_more, flat

LOST = (
    "They do not agree: where ŷ rounds to 1, ŷ(1 − ŷ) loses its digits, by hand as in autograd. "
    'Computed from z nothing is lost; a module made with derivative="accurate" does that.'
)

SHOWN_WEIGHTS = 12
"""Rows of a table of weights."""


def gradient(writer: Writer) -> Section:
    """Each parameter's gradient, by hand, by autograd, and to fifty digits."""
    n = writer.step.samples
    entries = list(_entries(writer))
    known = all(entry.truth is not None for entry in entries)
    columns = {
        "": [entry.label for entry in entries],
        "δ · what it meets": [entry.product for entry in entries],
        "by hand": [writer.n(entry.by_hand) for entry in entries],
        "autograd": [writer.n(entry.autograd) for entry in entries],
        "50 digits": [writer.n(entry.truth or 0.0) for entry in entries],
    }
    if n > 1:
        del columns["δ · what it meets"]
    if not known:
        del columns["50 digits"]
    sums = "" if n == 1 else f", summed over the {n} samples"
    beside = ", and the truth to fifty digits" if known else ""
    return Section(
        "Their product: the gradient",
        (
            Sentences(
                f"For each weight, δ times what the weight is multiplied with{sums}; for a bias, δ "
                f"times 1. Beside it stands what PyTorch's autograd says{beside}."
            ),
            *_sum_over_samples(writer),
            Table(tuple(columns), tuple(zip(*columns.values(), strict=True))),
            *([Sentences(LOST)] if any(map(_is_lost, entries)) else []),
            *_left_out(writer),
        ),
    )


@dataclass(frozen=True)
class _Entry:
    """One number's gradient, by three ways."""

    label: str
    product: str
    by_hand: float
    autograd: float
    truth: float | None


def _entries(writer: Writer) -> Iterator[_Entry]:
    step = writer.step
    for name, label, places in _parameters(writer):
        exact = step.truth(name, places)
        by_hand, autograd = (g[name].reshape(-1) for g in (step.chain.gradients, step.autograd))
        for i, place in enumerate(places):
            yield _Entry(
                label(place),
                _product(writer, name, place),
                float(by_hand[place]),
                float(autograd[place]),
                None if exact is None else exact[i],
            )


def _is_lost(entry: _Entry) -> bool:
    return entry.truth is not None and abs(entry.by_hand - entry.truth) > 1e-6 * abs(entry.truth)


def _sum_over_samples(writer: Writer) -> list[Part]:
    """The first weight's gradient, term by term."""
    if writer.step.samples == 1:
        return []
    _, link, names = writer.layers[-1]
    n = writer.step.samples
    deltas, x = link.delta.reshape(n, -1)[:, 0], link.dz_dw[:, 0]
    products = deltas * x
    lines = writer.sum_lines(
        f"∂C/∂{names.weight(0, 0)} = ",
        [*writer.products(deltas[:SHOWN], x[:SHOWN]), *[""] * (n - SHOWN)],  # the rest is counted
        total=writer.n(products.sum()),
        rest=float(products[SHOWN:].sum()),
    )
    return [Formula(lines)]


def _product(writer: Writer, name: str, place: int) -> str:
    """ "0.143735·(−1)", of the first sample."""
    layer, link, _ = writer.layers[_layer_of(name)]
    inputs = layer.weight.shape[-1]
    if name.endswith("bias"):
        return f"{writer.n(flat(link.delta)[place])}·1"
    delta, x = flat(link.delta)[place // inputs], link.dz_dw[0, place % inputs]
    return f"{writer.n(delta)}·{writer.f(x)}"


def _parameters(writer: Writer) -> Iterator[tuple[str, "_Label", list[int]]]:
    """Each parameter's name, what its entries are called, and those that are shown."""
    left = SHOWN_WEIGHTS
    for place, (layer, _, names) in reversed(list(enumerate(writer.layers))):
        prefix = "" if len(writer.layers) == 1 and writer.alone else f"layers.{place}."
        for kind, tensor in (("weight", layer.weight), ("bias", layer.bias)):
            count = min(tensor.numel(), max(left, 1))
            left -= count
            yield prefix + kind, _Label(names, kind, layer.weight.shape[-1]), [*range(count)]


def _left_out(writer: Writer) -> list[Part]:
    total = sum(p.numel() for p in writer.step.module.parameters())
    shown = sum(len(places) for _, _, places in _parameters(writer))
    return and_more(total - shown, "parameter")


def update(writer: Writer) -> Section:
    """Each parameter before and after."""
    rate = writer.n(writer.step.learning_rate)
    before, after = (dict(m.named_parameters()) for m in (writer.step.module, writer.step.updated))
    held = [name for name, p in before.items() if not p.requires_grad]
    rows = []
    for name, label, places in _parameters(writer):
        if name in held:
            continue
        for place in places:
            gradient = writer.step.chain.gradients[name].reshape(-1)[place]
            rows.append(
                (
                    label(place),
                    writer.n(before[name].reshape(-1)[place]),
                    f"− {rate}·{writer.f(gradient)}",
                    writer.n(after[name].reshape(-1)[place]),
                )
            )
    kept = " The biases are held where they are." if held else ""
    return Section(
        "The update",
        (
            Sentences(
                f"The gradient points to where the cost grows, so each number takes a step "
                f"the other way: w ← w − ν·∂C/∂w, with the learning rate ν = {rate}.{kept}"
            ),
            Table(("", "before", "step", "after"), tuple(rows)),
            *_left_out(writer),
        ),
    )


def after(writer: Writer) -> Section:
    """The cost before and after, beside what the gradient promised."""
    before, after = writer.step.chain.cost.item(), writer.step.after.cost.item()
    squares = sum(
        float((g**2).sum())
        for name, g in writer.step.chain.gradients.items()
        if dict(writer.step.module.named_parameters())[name].requires_grad
    )
    expected = -writer.step.learning_rate * squares
    change = after - before
    return Section(
        "What came of it",
        (
            Formula(
                (
                    f"C before  {writer.n(before)}",
                    f"C after   {writer.n(after)}",
                    f"change    {writer.n(change)}, where the gradient alone promised "
                    f"{writer.n(expected)}",
                )
            ),
            Sentences(_verdict(change, expected, float(_steepest(writer)))),
        ),
    )


def _steepest(writer: Writer) -> float:
    return float(flat(writer.layers[-1][1].dy_hat_dz).max())


class _Label:
    """What the entries of a parameter are called."""

    def __init__(self, names: LayerNames, kind: str, inputs: int) -> None:
        self.names, self.kind, self.inputs = names, kind, inputs

    def __call__(self, place: int) -> str:
        names = self.names
        if self.kind == "bias":
            return names.bias(place)
        unit, j = divmod(place, self.inputs)
        way = "" if names.alone else f" ({names.inputs[j]}→{names.units[unit]})"
        return names.weight(unit, j) + way


def _layer_of(name: str) -> int:
    return int(name.split(".")[1]) if "." in name else 0


def _verdict(change: float, expected: float, prime: float) -> str:
    if expected == 0 and change == 0:
        return "The gradient is 0, and nothing has changed."
    if change > 0:
        return (
            "The cost has grown: the step was too long. The gradient says what happens to a small "
            "step; try a smaller learning rate."
        )
    ratio = change / expected if expected else 0
    met = f"The cost has fallen by {ratio:.1%} of what the gradient promised: "
    if prime < 0.01:
        return f"{met}and that is little, however far off the output is, since σ′ is small."
    return f"{met}it is exact for a tiny step only, since the slopes change on the way."
