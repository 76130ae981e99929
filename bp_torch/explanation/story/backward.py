"""Backward: the factors of the last layer, σ′ derived, and δ from layer to layer."""

from collections.abc import Iterator

from bp_torch.chain_rule import LayerChain
from bp_torch.explanation.document import Formula, Part, Section, Sentences
from bp_torch.explanation.notation import LayerNames
from bp_torch.explanation.story.forward import target_of
from bp_torch.explanation.story.writing import SHOWN, Writer, and_more, flat, rows_of


def factors(writer: Writer) -> Section:
    """Three questions, whose answers are the factors of δ and of the weight's gradient."""
    _, link, names = writer.layers[-1]
    n, step = writer.step.samples, writer.step
    output, z = names.units[0], names.pre_activation(0)
    y, out = step.y.reshape(n, -1)[0, 0], flat(link.y_hat)[0]
    prime, by_output, delta = (
        flat(values)[0] for values in (link.dy_hat_dz, link.dC_dy_hat, link.delta)
    )
    of_many = "" if n == 1 else f"/{n}"
    target = target_of(output)
    if step.cost == "quadratic":
        formula = f"∂C/∂{output} = {_over(f'{output} − {target}', n)}"
        plugged = f"{_over(f'{writer.n(out)} − {writer.f(y)}', n)} = {writer.n(by_output)}"
    else:
        formula = f"∂C/∂{output} = ({output} − {target})/({output}(1 − {output})){of_many}"
        plugged = (
            f"({writer.n(out)} − {writer.f(y)})/({writer.n(out)}·{writer.n(1 - out)}){of_many} = "
            f"{writer.n(by_output)}"
        )
    x = link.dz_dw[0]
    which = "" if writer.alone else f" The numbers are those of {output}."
    asked = names.weight(0, 0)
    return Section(
        "The chain rule: three small questions",
        (
            Sentences(
                f"How does the cost answer to a weight? Not directly: the weight moves z, z "
                f"moves the output, and the output moves the cost. Each link is a derivative, "
                f"and their product is the answer.{which}"
            ),
            Sentences(
                f"1. If {output} grew by 1, at the present rate C would change by "
                f"{writer.n(by_output)}. {_direction(float(by_output), output)}"
            ),
            Formula((formula, " " * len(f"∂C/∂{output}") + f" = {plugged}")),
            Sentences(
                f"2. If {z} grew by 1, {output} would grow by {writer.n(prime)}: that is σ′(z), "
                f"the slope of σ at z. {_how_steep(float(prime))}"
            ),
            Formula(
                (
                    f"∂{output}/∂{z} = σ′({z}) = {output}(1 − {output})",
                    f"  = {writer.n(out)}·{writer.n(1 - out)} = {writer.n(prime)}",
                )
            ),
            Sentences(
                f"3. If {asked} grew by 1, {z} would grow by {names.inputs[0]}, for that is "
                f"what {asked} is multiplied with; and if the bias grew by 1, z would grow by "
                f"1."
            ),
            Formula(
                (f"∂{z}/∂{asked} = {names.inputs[0]} = {writer.n(x[0])}",),
            ),
            Sentences(
                "The first two belong to the neuron and not to a weight; their product has a "
                "name, δ. It says how the cost answers to z."
            ),
            Formula(
                (
                    f"{names.delta(0)} = ∂C/∂{output} · σ′({z})",
                    f"  = {writer.n(by_output)}·{writer.f(prime)} = {writer.n(delta)}",
                )
            ),
            *_other_deltas(writer, link, names),
        ),
    )


def _other_deltas(writer: Writer, link: LayerChain, names: LayerNames) -> list[Part]:
    units = range(1, min(len(names.units), SHOWN))
    if not units:
        return []
    lines = tuple(
        f"{names.delta(k)} = {writer.n(flat(link.dC_dy_hat)[k])}"
        f"·{writer.f(flat(link.dy_hat_dz)[k])} = {writer.n(flat(link.delta)[k])}"
        for k in units
    )
    return [
        Sentences("The same for the other outputs:"),
        Formula(lines),
        *and_more(len(names.units) - SHOWN, "output"),
    ]


def where_the_formula_comes_from(writer: Writer) -> Section:
    """σ′ = ŷ(1 − ŷ), derived in four lines."""
    link, names = writer.layers[-1][1], writer.layers[-1][2]
    z, out = float(flat(link.z)[0]), float(flat(link.y_hat)[0])
    e = (1 - out) / out if out else float("inf")  # e^{−z}, as the output has it
    u = 1 + e
    return Section(
        "Where σ′ = ŷ(1 − ŷ) comes from",
        (
            Sentences(
                f"σ(z) = 1/(1 + e^(−z)) is differentiated in four lines, each with its number "
                f"at {names.pre_activation(0)} = {writer.n(z)}."
            ),
            Formula(
                (
                    f"ŷ = 1/u,  u = 1 + e^(−z)            u = {writer.n(u)}",
                    f"dŷ/du = −1/u²                       = {writer.n(-out * out)}",
                    f"du/dz = −e^(−z)                     = {writer.n(-e)}",
                    f"dŷ/dz = e^(−z)/u² = (1/u)·(1 − 1/u) = {writer.n(out)}·{writer.n(1 - out)}"
                    f" = {writer.n(out * (1 - out))}",
                )
            ),
            Sentences(
                "1/u is the output itself, so nothing new has to be computed: what went "
                "forward gives the slope."
            ),
        ),
    )


def hidden(writer: Writer) -> Iterator[Section]:
    """δ of each hidden layer, from the last one down, as a sum over paths."""
    for place in range(len(writer.layers) - 2, -1, -1):
        link, names = writer.layers[place][1:]
        above, above_link, above_names = writer.layers[place + 1]
        several = len(above_names.units) > 1
        paths = "along each path, and the paths are added up" if several else "along one path"
        parts: list[Part] = [
            Sentences(
                f"A hidden neuron has no target of its own. Its output goes on to "
                f"{_some(above_names.units)}, and changes the cost {paths}: each weight on the "
                f"way times the δ at its end. Then σ′ of the hidden neuron itself, as before. "
                f"The weights are those of this step, not updated ones."
            )
        ]
        for unit in range(min(len(names.units), SHOWN)):
            weights = rows_of(above.weight)[:, unit]
            deltas = flat(above_link.delta)
            output = names.units[unit]
            symbols = [
                f"{above_names.weight(k, unit)}·{above_names.delta(k)}" for k in range(len(weights))
            ]
            terms = writer.products(weights, deltas)
            lead = f"∂C/∂{output} = "
            prime = flat(link.dy_hat_dz)[unit]
            out, by_output = flat(link.y_hat)[unit], flat(link.dC_dy_hat)[unit]
            parts.append(
                Formula(
                    (
                        *writer.sum_lines(lead, symbols),
                        *writer.sum_lines(
                            " " * (len(lead) - 2) + "= ",
                            terms,
                            total=writer.n(by_output),
                            rest=float((weights * deltas)[SHOWN:].sum()),
                        ),
                        f"σ′({names.pre_activation(unit)}) = {writer.n(out)}·{writer.n(1 - out)}"
                        f" = {writer.n(prime)}",
                        f"{names.delta(unit)} = {writer.n(by_output)}·{writer.f(prime)}"
                        f" = {writer.n(flat(link.delta)[unit])}",
                    )
                )
            )
        parts += and_more(len(names.units) - SHOWN, "neuron")
        yield Section(f"Backward, to layer {place + 1}", tuple(parts))


def _some(units: tuple[str, ...]) -> str:
    if len(units) == 1:
        return units[0]
    if len(units) <= SHOWN:
        return ", ".join(units[:-1]) + " and " + units[-1]
    return f"{', '.join(units[:2])} … {units[-1]}"


def _over(difference: str, n: int) -> str:
    """A difference divided by the number of samples, where there are several."""
    return f"({difference})/{n}" if n > 1 else difference


def _direction(by_output: float, output: str) -> str:
    if by_output == 0:
        return "The output is where it should be: there is nothing to learn."
    way = "large" if by_output > 0 else "small"
    return f"So {output} is too {way}."


def _how_steep(prime: float) -> str:
    if prime == 0:
        return "It is 0: whatever happens to z, the output stays, and nothing is learnt."
    if prime < 0.01:
        return (
            "That is next to nothing: the neuron is saturated, and hardly learns, however wrong "
            "it is."
        )
    share = prime / 0.25
    return f"It is never more than ¼, at z = 0; here it is {share:.0%} of that."
