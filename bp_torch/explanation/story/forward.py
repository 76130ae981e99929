"""Forward: what each layer makes of its input, and how wrong the last one is."""

from collections.abc import Iterator

from torch import Tensor

from bp_torch.chain_rule import LayerChain
from bp_torch.costs import COSTS
from bp_torch.explanation.document import Formula, Part, Section, Sentences, Table
from bp_torch.explanation.notation import LayerNames
from bp_torch.explanation.story.writing import SHOWN, Writer, and_more, flat, rows_of
from bp_torch.neuron import Layer


def forward(writer: Writer) -> Iterator[Section]:
    """z and the output of each layer."""
    many = writer.step.samples > 1
    sample = " (for the first sample)" if many else ""
    for place, (layer, link, names) in enumerate(writer.layers, 1):
        heading = "What goes forward" if len(writer.layers) == 1 else f"Forward, layer {place}"
        parts: list[Part] = []
        if place == 1:
            who = "The neuron multiplies" if writer.alone else "Each neuron multiplies"
            parts.append(
                Sentences(
                    f"{who} every input by a weight, and adds them up with its bias: that is "
                    f"z{sample}. σ then squeezes z into the range from 0 to 1: that is the "
                    f"output."
                )
            )
        for unit in range(min(len(names.units), SHOWN)):
            parts.append(_unit_forward(writer, layer, link, names, unit))
        parts += and_more(len(names.units) - SHOWN, "neuron")
        yield Section(heading, tuple(parts))


def _unit_forward(
    writer: Writer, layer: Layer, link: LayerChain, names: LayerNames, unit: int
) -> Part:
    inputs, weights = link.dz_dw[0], rows_of(layer.weight)[unit]
    terms = writer.products(weights, inputs)
    symbols = [names.weight(unit, j) + "·" + names.inputs[j] for j in range(len(inputs))]
    bias = layer.bias.reshape(-1)[unit]
    z, out = flat(link.z)[unit], flat(link.y_hat)[unit]
    name, output = names.pre_activation(unit), names.units[unit]
    minus = writer.n(-z)
    return Formula(
        (
            *writer.sum_lines(f"{name} = ", [*symbols, names.bias(unit)], keep=1),
            *writer.sum_lines(
                " " * len(name) + " = ",
                [*terms, writer.f(bias)],
                keep=1,
                total=writer.n(z),
                rest=float((weights * inputs)[SHOWN:].sum()),
            ),
            f"{output} = σ({name}) = 1/(1 + e^({minus})) = {writer.n(out)}",
        )
    )


WHY = {
    "quadratic": (
        "The cost makes one number of it: half the square of how far off the output is. The ½ is "
        "there to cancel the 2 that the square leaves when it is differentiated."
    ),
    "cross-entropy": (
        "The cross-entropy makes one number of it: how surprised one is by the target who took "
        "the output for its probability."
    ),
}


def cost(writer: Writer) -> Section:
    """The cost of what came out, and what it is for."""
    step, (_, link, names) = writer.step, writer.layers[-1]
    n = step.samples
    outputs, targets = flat(link.y_hat), step.y.reshape(n, -1)[0]
    whose = "" if n == 1 else " of the first sample"
    if writer.alone:
        came = f"The target{whose} is {writer.n(targets[0])}; the output is {writer.n(outputs[0])}."
    else:
        wanted, got = (_list(writer, values) for values in (targets, outputs))
        came = f"The targets{whose} are {wanted}; the outputs are {got}."
    parts: list[Part] = [Sentences(f"{came} {WHY[step.cost]}")]
    total = writer.n(step.chain.cost)
    if n > 1:
        said = f"C = 1/{n} · (the sum over {n} samples) = {total}"
        return Section("How wrong it is", (*parts, _samples(writer), Formula((said,))))
    beyond = outputs[SHOWN:], targets[SHOWN:]
    others = sum(float(COSTS[step.cost][0](o, t)) for o, t in zip(*beyond, strict=True))
    lines = (
        *writer.sum_lines("C = ", [_symbols(step.cost, output) for output in names.units]),
        *writer.sum_lines(
            "  = ",
            [_numbers(writer, o, t) for o, t in zip(outputs, targets, strict=True)],
            total=total,
            rest=others,
        ),
    )
    return Section("How wrong it is", (*parts, Formula(lines)))


def _list(writer: Writer, values: Tensor) -> str:
    return ", ".join(map(writer.n, values[:SHOWN])) + (" …" if len(values) > SHOWN else "")


def target_of(output: str) -> str:
    """ "y" of "ŷ", "y₁" of "o₁"."""
    return "y" + output.lstrip("oŷ")


def _symbols(cost: str, output: str) -> str:
    target = target_of(output)
    if cost == "quadratic":
        return f"½({output} − {target})²"
    return f"−[{target}·ln {output} + (1 − {target})·ln(1 − {output})]"


def _numbers(writer: Writer, output: Tensor, target: Tensor) -> str:
    o, t = writer.n(output), writer.f(target)
    if writer.step.cost == "quadratic":
        return f"½({o} − {t})²"
    return f"−[{t}·ln {o} + {writer.f(1 - target)}·ln {writer.n(1 - output)}]"


def _samples(writer: Writer) -> Table:
    """The first samples, one row each, at the first output."""
    link, names = writer.layers[-1][1], writer.layers[-1][2]
    y = writer.step.y.reshape(writer.step.samples, -1)
    rows = tuple(
        (
            str(i + 1),
            writer.n(flat(link.z, i)[0]),
            writer.n(flat(link.y_hat, i)[0]),
            writer.n(y[i, 0]),
            writer.n(flat(link.dy_hat_dz, i)[0]),
            writer.n(flat(link.delta, i)[0]),
        )
        for i in range(min(writer.step.samples, SHOWN))
    )
    output = names.units[0]
    more = (("…", *[""] * 5),) if writer.step.samples > SHOWN else ()
    return Table(("sample", names.pre_activation(0), output, "target", "σ′(z)", "δ"), rows + more)
