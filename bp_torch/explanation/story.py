"""A step as a story: forward, how wrong, factor by factor, the product, the update."""

from collections.abc import Iterator

from torch import Tensor

from bp_torch.chain_rule import LayerChain
from bp_torch.explanation.document import Formula, Part, Section, Sentences, Table
from bp_torch.explanation.notation import LayerNames, factor, number
from bp_torch.explanation.step import Step
from bp_torch.neuron import Layer

SHOWN = 4
"""Units, terms or samples that are written out one by one; what is beyond them is counted."""

SHOWN_WEIGHTS = 12
"""Rows of a table of weights."""


def story(step: Step, decimals: int) -> tuple[Section, ...]:
    """The sections of the story, in the order in which a step happens."""
    return _Story(step, decimals).sections()


class _Story:
    def __init__(self, step: Step, decimals: int) -> None:
        self.step, self.decimals = step, decimals
        self.layers = step.layers
        self.alone = self.layers[-1][2].alone

    def sections(self) -> tuple[Section, ...]:
        return (
            *self._forward(),
            self._cost(),
            *self._factors(),
            self._where_the_formula_comes_from(),
            *self._hidden(),
            self._gradient(),
            self._update(),
            self._after(),
        )

    def n(self, value: float | Tensor) -> str:
        return number(_value(value), self.decimals)

    def f(self, value: float | Tensor) -> str:
        """Behind a sign, in brackets where negative."""
        return factor(_value(value), self.decimals)

    def _products(self, ones: Tensor, others: Tensor) -> list[str]:
        """ "2·(−1)", and in brackets what stands behind a plus."""
        pairs = enumerate(zip(ones, others, strict=True))
        return [f"{self.f(a) if i else self.n(a)}·{self.f(b)}" for i, (a, b) in pairs]

    # Forward.

    def _forward(self) -> Iterator[Section]:
        many = self.step.samples > 1
        sample = " (for the first sample)" if many else ""
        for place, (layer, link, names) in enumerate(self.layers, 1):
            heading = "What goes forward" if len(self.layers) == 1 else f"Forward, layer {place}"
            parts: list[Part] = []
            if place == 1:
                who = "The neuron multiplies" if self.alone else "Each neuron multiplies"
                parts.append(
                    Sentences(
                        f"{who} every input by a weight, and adds them up with its bias: that is "
                        f"z{sample}. σ then squeezes z into the range from 0 to 1: that is the "
                        f"output."
                    )
                )
            for unit in range(min(len(names.units), SHOWN)):
                parts.append(self._unit_forward(layer, link, names, unit))
            parts += _and_more(len(names.units) - SHOWN, "neuron")
            yield Section(heading, tuple(parts))

    def _unit_forward(self, layer: Layer, link: LayerChain, names: LayerNames, unit: int) -> Part:
        inputs, weights = link.dz_dw[0], _rows(layer.weight)[unit]
        terms = self._products(weights, inputs)
        symbols = [names.weight(unit, j) + "·" + names.inputs[j] for j in range(len(inputs))]
        bias = layer.bias.reshape(-1)[unit]
        z, out = _flat(link.z)[unit], _flat(link.y_hat)[unit]
        name, output = names.pre_activation(unit), names.units[unit]
        minus = self.n(-z)
        return Formula(
            (
                *_sum_lines(f"{name} = ", [*symbols, names.bias(unit)], keep=1),
                *_sum_lines(
                    " " * len(name) + " = ",
                    [*terms, self.f(bias)],
                    keep=1,
                    total=self.n(z),
                    left=float((weights * inputs)[SHOWN:].sum()),
                    decimals=self.decimals,
                ),
                f"{output} = σ({name}) = 1/(1 + e^({minus})) = {self.n(out)}",
            )
        )

    # The cost.

    def _cost(self) -> Section:
        step, link = self.step, self.layers[-1][1]
        names, n = self.layers[-1][2], self.step.samples
        outputs, targets = _flat(link.y_hat), step.y.reshape(n, -1)[0]
        first = "" if n == 1 else "the first sample's "
        if self.alone:
            said = f"The target is {self.n(targets[0])}, and {first}output {self.n(outputs[0])}."
        else:
            wanted = ", ".join(map(self.n, targets[:SHOWN]))
            came = ", ".join(map(self.n, outputs[:SHOWN]))
            more = " …" if len(outputs) > SHOWN else ""
            said = f"The targets are {wanted}{more}; {first}outputs are {came}{more}."
        if step.cost == "quadratic":
            symbols = [_half_square(output, "y" + output.lstrip("oŷ")) for output in names.units]
            terms = [
                f"½({self.n(o)} − {self.f(t)})²" for o, t in zip(outputs, targets, strict=True)
            ]
            why = (
                "The cost makes one number of it: half the square of how far off the output is. "
                "The ½ is there to cancel the 2 that the square leaves when it is differentiated."
            )
        else:
            symbols = [_cross_entropy(output, "y" + output.lstrip("oŷ")) for output in names.units]
            terms = [
                f"−[{self.f(t)}·ln {self.n(o)} + {self.f(1 - t)}·ln {self.n(1 - o)}]"
                for o, t in zip(outputs, targets, strict=True)
            ]
            why = (
                "The cross-entropy makes one number of it: how surprised one is by the target who "
                "took the output for its probability."
            )
        parts: list[Part] = [Sentences(f"{said} {why}")]
        if n == 1:
            total = self.n(step.chain.cost)
            parts.append(
                Formula(
                    (
                        *_sum_lines("C = ", symbols),
                        *_sum_lines(
                            "  = ",
                            terms,
                            total=total,
                            left=0.0 if len(terms) <= SHOWN else None,
                            decimals=self.decimals,
                        ),
                    )
                )
            )
        else:
            parts += [
                self._samples(),
                Formula((f"C = 1/{n} · (the sum over {n} samples) = {self.n(step.chain.cost)}",)),
            ]
        return Section("How wrong it is", tuple(parts))

    def _samples(self) -> Table:
        """The first samples, one row each, at the first output."""
        link, names = self.layers[-1][1], self.layers[-1][2]
        y = self.step.y.reshape(self.step.samples, -1)
        rows = tuple(
            (
                str(i + 1),
                self.n(_flat(link.z, i)[0]),
                self.n(_flat(link.y_hat, i)[0]),
                self.n(y[i, 0]),
                self.n(_flat(link.dy_hat_dz, i)[0]),
                self.n(_flat(link.delta, i)[0]),
            )
            for i in range(min(self.step.samples, SHOWN))
        )
        output = names.units[0]
        more = (("…", *[""] * 5),) if self.step.samples > SHOWN else ()
        return Table(
            ("sample", names.pre_activation(0), output, "target", "σ′(z)", "δ"), rows + more
        )

    # The factors of the last layer.

    def _factors(self) -> Iterator[Section]:
        _, link, names = self.layers[-1]
        n, step = self.step.samples, self.step
        output, z = names.units[0], names.pre_activation(0)
        y, out = step.y.reshape(n, -1)[0, 0], _flat(link.y_hat)[0]
        prime, by_output = _flat(link.dy_hat_dz)[0], _flat(link.dC_dy_hat)[0]
        of_many = "" if n == 1 else f"/{n}"
        target = "y" + output.lstrip("oŷ")
        if step.cost == "quadratic":
            formula = f"∂C/∂{output} = {_over(f'{output} − {target}', n)}"
            plugged = f"{_over(f'{self.n(out)} − {self.f(y)}', n)} = {self.n(by_output)}"
        else:
            formula = f"∂C/∂{output} = ({output} − {target})/({output}(1 − {output})){of_many}"
            plugged = (
                f"({self.n(out)} − {self.f(y)})/({self.n(out)}·{self.n(1 - out)}){of_many} = "
                f"{self.n(by_output)}"
            )
        x = link.dz_dw[0]
        which = "" if self.alone else f" The numbers are those of {output}."
        asked = names.weight(0, 0)
        yield Section(
            "The chain rule: three small questions",
            (
                Sentences(
                    f"How does the cost answer to a weight? Not directly: the weight moves z, z "
                    f"moves the output, and the output moves the cost. Each link is a derivative, "
                    f"and their product is the answer.{which}"
                ),
                Sentences(
                    f"1. If {output} grew by 1, at the present rate C would change by "
                    f"{self.n(by_output)}. {_direction(float(by_output), output)}"
                ),
                Formula((formula, " " * len(f"∂C/∂{output}") + f" = {plugged}")),
                Sentences(
                    f"2. If {z} grew by 1, {output} would grow by {self.n(prime)}: that is σ′(z), "
                    f"the slope of σ at z. {_how_steep(float(prime))}"
                ),
                Formula(
                    (
                        f"∂{output}/∂{z} = σ′({z}) = {output}(1 − {output})",
                        f"  = {self.n(out)}·{self.n(1 - out)} = {self.n(prime)}",
                    )
                ),
                Sentences(
                    f"3. If {asked} grew by 1, {z} would grow by {names.inputs[0]}, for that is "
                    f"what {asked} is multiplied with; and if the bias grew by 1, z would grow by "
                    f"1."
                ),
                Formula(
                    (f"∂{z}/∂{asked} = {names.inputs[0]} = {self.n(x[0])}",),
                ),
                Sentences(
                    "The first two belong to the neuron and not to a weight; their product has a "
                    "name, δ. It says how the cost answers to z."
                ),
                Formula(
                    (
                        f"{names.delta(0)} = ∂C/∂{output} · σ′({z})",
                        f"  = {self.n(by_output)}·{self.f(prime)} = {self.n(_flat(link.delta)[0])}",
                    )
                ),
                *self._other_deltas(link, names),
            ),
        )

    def _other_deltas(self, link: LayerChain, names: LayerNames) -> list[Part]:
        units = range(1, min(len(names.units), SHOWN))
        if not units:
            return []
        lines = tuple(
            f"{names.delta(k)} = {self.n(_flat(link.dC_dy_hat)[k])}"
            f"·{self.f(_flat(link.dy_hat_dz)[k])} = {self.n(_flat(link.delta)[k])}"
            for k in units
        )
        return [
            Sentences("The same for the other outputs:"),
            Formula(lines),
            *_and_more(len(names.units) - SHOWN, "output"),
        ]

    def _where_the_formula_comes_from(self) -> Section:
        link, names = self.layers[-1][1], self.layers[-1][2]
        z, out = float(_flat(link.z)[0]), float(_flat(link.y_hat)[0])
        e = (1 - out) / out if out else float("inf")  # e^{−z}, as the output has it
        u = 1 + e
        return Section(
            "Where σ′ = ŷ(1 − ŷ) comes from",
            (
                Sentences(
                    f"σ(z) = 1/(1 + e^(−z)) is differentiated in four lines, each with its number "
                    f"at {names.pre_activation(0)} = {self.n(z)}."
                ),
                Formula(
                    (
                        f"ŷ = 1/u,  u = 1 + e^(−z)            u = {self.n(u)}",
                        f"dŷ/du = −1/u²                       = {self.n(-1 / u**2)}",
                        f"du/dz = −e^(−z)                     = {self.n(-e)}",
                        f"dŷ/dz = e^(−z)/u² = (1/u)·(1 − 1/u) = {self.n(out)}·{self.n(1 - out)}"
                        f" = {self.n(out * (1 - out))}",
                    )
                ),
                Sentences(
                    "1/u is the output itself, so nothing new has to be computed: what went "
                    "forward gives the slope."
                ),
            ),
        )

    # The hidden layers, from the last one down.

    def _hidden(self) -> Iterator[Section]:
        for place in range(len(self.layers) - 2, -1, -1):
            link, names = self.layers[place][1:]
            above, above_link, above_names = self.layers[place + 1]
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
                weights = _rows(above.weight)[:, unit]
                deltas = _flat(above_link.delta)
                output = names.units[unit]
                symbols = [
                    f"{above_names.weight(k, unit)}·{above_names.delta(k)}"
                    for k in range(len(weights))
                ]
                terms = self._products(weights, deltas)
                lead = f"∂C/∂{output} = "
                prime = _flat(link.dy_hat_dz)[unit]
                out, by_output = _flat(link.y_hat)[unit], _flat(link.dC_dy_hat)[unit]
                parts.append(
                    Formula(
                        (
                            *_sum_lines(lead, symbols),
                            *_sum_lines(
                                " " * (len(lead) - 2) + "= ",
                                terms,
                                total=self.n(by_output),
                                left=float((weights * deltas)[SHOWN:].sum()),
                                decimals=self.decimals,
                            ),
                            f"σ′({names.pre_activation(unit)}) = {self.n(out)}·{self.n(1 - out)}"
                            f" = {self.n(prime)}",
                            f"{names.delta(unit)} = {self.n(by_output)}·{self.f(prime)}"
                            f" = {self.n(_flat(link.delta)[unit])}",
                        )
                    )
                )
            parts += _and_more(len(names.units) - SHOWN, "neuron")
            yield Section(f"Backward, to layer {place + 1}", tuple(parts))

    # Gradient, update, what came of it.

    def _gradient(self) -> Section:
        n = self.step.samples
        sums = "" if n == 1 else f", summed over the {n} samples"
        rows, truths = [], []
        for name, label, places in self._parameters():
            exact = self.step.truth(name, places)
            for i, place in enumerate(places):
                by_hand = self.step.chain.gradients[name].reshape(-1)[place]
                autograd = self.step.autograd[name].reshape(-1)[place]
                truths.append(exact is not None)
                rows.append(
                    (
                        label(place),
                        self._product(name, place),
                        self.n(by_hand),
                        self.n(autograd),
                        self.n(exact[i]) if exact is not None else "",
                    )
                )
        columns: tuple[str, ...] = ("", "δ · what it meets", "by hand", "autograd", "50 digits")
        keep = [0, *([1] if n == 1 else []), 2, 3, *([4] if all(truths) else [])]
        table = Table(
            tuple(columns[i] for i in keep), tuple(tuple(row[i] for i in keep) for row in rows)
        )
        beside = (
            "Beside it stands what PyTorch's autograd says, and the truth to fifty digits."
            if all(truths)
            else "Beside it stands what PyTorch's autograd says."
        )
        return Section(
            "Their product: the gradient",
            (
                Sentences(
                    f"For each weight, δ times what the weight is multiplied with{sums}; for a "
                    f"bias, δ times 1. {beside}"
                ),
                *self._sum_over_samples(),
                table,
                *self._left_out(),
            ),
        )

    def _sum_over_samples(self) -> list[Part]:
        """The first weight's gradient, term by term."""
        if self.step.samples == 1:
            return []
        _, link, names = self.layers[-1]
        deltas, x = link.delta.reshape(self.step.samples, -1)[:, 0], link.dz_dw[:, 0]
        lead = f"∂C/∂{names.weight(0, 0)} = "
        total = float((deltas * x).sum())
        lines = _sum_lines(
            lead,
            self._products(deltas[: SHOWN + 1], x[: SHOWN + 1])[: self.step.samples]
            + [""] * (self.step.samples - SHOWN - 1),
            total=self.n(total),
            left=float((deltas * x)[SHOWN:].sum()),
            decimals=self.decimals,
        )
        return [Formula(lines)]

    def _product(self, name: str, place: int) -> str:
        """ "0.143735·(−1)", of the first sample."""
        layer, link, _ = self.layers[_layer_of(name)]
        inputs = layer.weight.shape[-1]
        if name.endswith("bias"):
            return f"{self.n(_flat(link.delta)[place])}·1"
        delta, x = _flat(link.delta)[place // inputs], link.dz_dw[0, place % inputs]
        return f"{self.n(delta)}·{self.f(x)}"

    def _parameters(self) -> Iterator[tuple[str, "_Label", list[int]]]:
        """Each parameter's name, what its entries are called, and those that are shown."""
        left = SHOWN_WEIGHTS
        for place, (layer, _, names) in reversed(list(enumerate(self.layers))):
            prefix = "" if len(self.layers) == 1 and self.alone else f"layers.{place}."
            for kind, tensor in (("weight", layer.weight), ("bias", layer.bias)):
                count = min(tensor.numel(), max(left, 1))
                left -= count
                yield prefix + kind, _Label(names, kind, layer.weight.shape[-1]), [*range(count)]

    def _left_out(self) -> list[Part]:
        total = sum(p.numel() for p in self.step.module.parameters())
        shown = sum(len(places) for _, _, places in self._parameters())
        return _and_more(total - shown, "parameter")

    def _update(self) -> Section:
        rate = self.n(self.step.learning_rate)
        before, after = (dict(m.named_parameters()) for m in (self.step.module, self.step.updated))
        held = [name for name, p in before.items() if not p.requires_grad]
        rows = []
        for name, label, places in self._parameters():
            if name in held:
                continue
            for place in places:
                gradient = self.step.chain.gradients[name].reshape(-1)[place]
                rows.append(
                    (
                        label(place),
                        self.n(before[name].reshape(-1)[place]),
                        f"− {rate}·{self.f(gradient)}",
                        self.n(after[name].reshape(-1)[place]),
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
                *self._left_out(),
            ),
        )

    def _after(self) -> Section:
        before, after = self.step.chain.cost.item(), self.step.after.cost.item()
        squares = sum(
            float((g**2).sum())
            for name, g in self.step.chain.gradients.items()
            if dict(self.step.module.named_parameters())[name].requires_grad
        )
        expected = -self.step.learning_rate * squares
        change = after - before
        return Section(
            "What came of it",
            (
                Formula(
                    (
                        f"C before  {self.n(before)}",
                        f"C after   {self.n(after)}",
                        f"change    {self.n(change)}, where the gradient alone promised "
                        f"{self.n(expected)}",
                    )
                ),
                Sentences(_verdict(change, expected, float(self._steepest()))),
            ),
        )

    def _steepest(self) -> float:
        return float(_flat(self.layers[-1][1].dy_hat_dz).max())


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


def _value(value: float | Tensor) -> float:
    return value.item() if isinstance(value, Tensor) else value


def _layer_of(name: str) -> int:
    return int(name.split(".")[1]) if "." in name else 0


def _flat(values: Tensor, sample: int = 0) -> Tensor:
    """One sample's numbers, also of a neuron, whose tensors have no axis for them."""
    return values[sample].reshape(-1)


def _rows(weight: Tensor) -> Tensor:
    return weight.reshape(-1, weight.shape[-1]).detach()


def _sum_lines(
    lead: str,
    terms: list[str],
    *,
    keep: int = 0,
    total: str = "",
    left: float | None = None,
    decimals: int = 6,
) -> tuple[str, ...]:
    """ "C = a + b = 3", in as many lines as fit; of many terms the first, and the last `keep`."""
    if len(terms) - keep > SHOWN:
        hidden = len(terms) - keep - SHOWN
        rest = f"(… {hidden} more)"
        if total and left is not None:
            rest = f"{factor(left, decimals)} (the {hidden} others)"
        terms = [*terms[:SHOWN], rest, *terms[len(terms) - keep :]]
    lines, line = [], lead + terms[0]
    for text in [*(f"+ {term}" for term in terms[1:]), *([f"= {total}"] if total else [])]:
        if len(line) + 1 + len(text) > WIDTH:
            lines.append(line)
            line = " " * len(lead) + text
        else:
            line += " " + text
    return (*lines, line)


WIDTH = 74
"""Characters of a line of a formula: with its indentation it fits into a terminal of 80."""


def _and_more(count: int, what: str) -> list[Part]:
    if count <= 0:
        return []
    return [Sentences(f"… and {count} {what}{'s' if count > 1 else ''} more, in the same way.")]


def _some(units: tuple[str, ...]) -> str:
    if len(units) == 1:
        return units[0]
    if len(units) <= SHOWN:
        return ", ".join(units[:-1]) + " and " + units[-1]
    return f"{', '.join(units[:2])} … {units[-1]}"


def _half_square(output: str, target: str) -> str:
    return f"½({output} − {target})²"


def _cross_entropy(output: str, target: str) -> str:
    return f"−[{target}·ln {output} + (1 − {target})·ln(1 − {output})]"


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
