"""Steps that others have published, one that many copy from, and a small one of our own."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.explanation.document import Chart, Section, Sentences, Table
from bp_torch.explanation.notation import number
from bp_torch.explanation.step import Step, descend, descend_with, take_step
from bp_torch.mistakes import gradients_with
from bp_torch.neuron import Model, Network, Neuron

POINTS = 60
"""Of a curve in a chart."""


@dataclass(frozen=True)
class Example:
    """A step to explain, and what there is to say about it besides the story."""

    title: str
    step: Callable[[], Step]
    more: Callable[[Step], tuple[Section, ...]] = lambda step: ()
    decimals: int = 6


def neuron_of(weights: list[float], bias: float) -> Neuron:
    """A neuron with these weights, in float64."""
    neuron = Neuron(len(weights), dtype=torch.float64)
    with torch.no_grad():
        neuron.weight.copy_(_tensor(weights))
        neuron.bias.fill_(bias)
    return neuron


def curve(values: list[float]) -> tuple[tuple[float, float], ...]:
    """Values over steps as a chart takes them, thinned to what can be seen."""
    every = max(1, len(values) // POINTS)
    places = [*range(0, len(values) - 1, every), len(values) - 1]
    return tuple((float(i), values[i]) for i in places)


def _tensor(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Mazur.


def _mazur() -> Step:
    network = Network([2, 2, 2], dtype=torch.float64)
    values = (([[0.15, 0.20], [0.25, 0.30]], 0.35), ([[0.40, 0.45], [0.50, 0.55]], 0.60))
    with torch.no_grad():
        for layer, (weights, bias) in zip(network.layers, values, strict=True):
            layer.weight.copy_(_tensor(weights))
            layer.bias.fill_(bias)
            layer.bias.requires_grad_(False)
    return take_step(network, _tensor([0.05, 0.10]), _tensor([0.01, 0.99]), learning_rate=0.5)


MAZUR_PUBLISHED = 0.291027924
"""The error after one step, as the article has it."""


def _mazur_more(step: Step) -> tuple[Section, ...]:
    wrong, costs = descend_with("updated-weights", step, steps=1)
    del wrong
    right = step.after.cost.item()
    gradients = gradients_with(
        "updated-weights", step.module, step.x, step.y, learning_rate=step.learning_rate
    )[1]
    name = "layers.0.weight"
    return (
        Section(
            "Where the article's later figures went wrong",
            (
                Sentences(
                    f"Up to the updated weights the article's figures are those above. The error "
                    f"that it gives after this step is not: {MAZUR_PUBLISHED:.9f}, where it should "
                    f"be {number(right, 11)}. Its run computed the hidden neurons' δ from output "
                    f"weights that had already been updated; with that mistake one gets its figure."
                ),
                Table(
                    ("", "weights of the step", "updated weights"),
                    (
                        (
                            "∂C/∂w₁",
                            number(float(step.chain.gradients[name][0, 0]), 9),
                            number(float(gradients[name][0, 0]), 9),
                        ),
                        ("C after the step", number(right, 9), number(costs[-1], 9)),
                    ),
                ),
            ),
        ),
    )


# Nielsen.

NIELSEN_STEPS = 300


def _nielsen() -> Step:
    return take_step(neuron_of([2.0], 2.0), _tensor([[1.0]]), _tensor([0.0]), learning_rate=0.15)


def _nielsen_more(step: Step) -> tuple[Section, ...]:
    starts = {"w = 0.6, b = 0.9": (0.6, 0.9), "w = b = 2: saturated": (2.0, 2.0)}
    curves, rows = {}, []
    for name, (weight, bias) in starts.items():
        start = neuron_of([weight], bias)
        curves[name], first, last = _outputs(step, start, step.cost)
        rows.append((name, number(first, 7), number(last, 7)))
    name = "w = b = 2, cross-entropy"
    curves[name], first, last = _outputs(step, neuron_of([2.0], 2.0), "cross-entropy")
    rows.append((name, number(first, 7), number(last, 7)))
    return (
        Section(
            "Badly wrong, and slow to learn",
            (
                Sentences(
                    "Nielsen's neuron is to turn a 1 into a 0. Started at w = 0.6, b = 0.9 it is "
                    "off by 0.82 and learns at once; started at w = b = 2 it is off by more, 0.98, "
                    "and hardly moves at first. People learn fastest where they are badly wrong; "
                    "this neuron does not, for its slope σ′ is next to 0 there. The cross-entropy "
                    "cancels σ′, and the same start learns at once."
                ),
                Chart("the output over the steps; it should be 0", "steps", curves),
                Table(("start", "first output", f"after {NIELSEN_STEPS} steps"), tuple(rows)),
            ),
        ),
    )


def _outputs(
    step: Step, start: Model, cost: str
) -> tuple[tuple[tuple[float, float], ...], float, float]:
    """The output over the steps: C = ½ŷ² with the target 0, so ŷ is known from the weights."""
    outputs, module = [], start
    for _ in range(NIELSEN_STEPS):
        outputs.append(float(module(step.x).detach()[0]))
        module, _ = descend(
            module, step.x, step.y, cost=cost, learning_rate=step.learning_rate, steps=1
        )
    outputs.append(float(module(step.x).detach()[0]))
    return curve(outputs), outputs[0], outputs[-1]


# CS231n.


def _cs231n() -> Step:
    return take_step(neuron_of([2.0, -3.0], -3.0), _tensor([[-1.0, -2.0]]), _tensor([0.0]))


def _cs231n_more(step: Step) -> tuple[Section, ...]:
    prime, x = step.chain.dy_hat_dz[0], step.x[0]
    weight = step.module.layers[0].weight.detach()
    rows = [
        *((f"∂f/∂w{'₀₁'[j]}", "σ′·x" + "₀₁"[j], float(prime * x[j])) for j in range(2)),
        ("∂f/∂w₂", "σ′·1", float(prime)),
        *((f"∂f/∂x{'₀₁'[j]}", "σ′·w" + "₀₁"[j], float(prime * weight[j])) for j in range(2)),
    ]
    return (
        Section(
            "As the course has it",
            (
                Sentences(
                    "CS231n differentiates the output f = σ(w₀x₀ + w₁x₁ + w₂) itself and no cost: "
                    "the first factor is 1. It rounds each gate to two places, and so its "
                    "gradient of w₀ is −0.20."
                ),
                Table(("", "factors", "value"), tuple((a, b, number(v, 10)) for a, b, v in rows)),
            ),
        ),
    )


# The text that all this started from.


def _seed() -> Step:
    x = _tensor([[1.0, -2.0], [0.5, 1.5], [-1.0, 0.5], [2.0, 1.0]])
    return take_step(neuron_of([0.5, -1.0], 0.25), x, _tensor([1.0, 0.0, 1.0, 1.0]))


def _seed_more(step: Step) -> tuple[Section, ...]:
    right = step.chain.gradients["weight"]
    sections = []
    for heading, mistake, said in SLIPS:
        gradient = gradients_with(mistake, step.module, step.x, step.y)[1]["weight"]
        _, costs = descend_with(mistake, step, steps=100)
        _, right_costs = descend(
            step.module,
            step.x,
            step.y,
            cost=step.cost,
            learning_rate=step.learning_rate,
            steps=100,
        )
        rows = tuple(
            (
                f"∂C/∂w{'₁₂'[j]}",
                number(float(right[j])),
                number(float(gradient[j])),
                number(float(gradient[j] / right[j]), 3),
            )
            for j in range(2)
        )
        end = ("C after 100 steps", number(right_costs[-1]), number(costs[-1]), "")
        sections.append(
            Section(
                heading,
                (
                    Sentences(said(step)),
                    Table(("", "right", "with the slip", "ratio"), (*rows, end)),
                ),
            )
        )
    return tuple(sections)


def _minus_missing(step: Step) -> str:
    z = float(step.chain.z[0])
    right, wrong = float(step.chain.y_hat[0]), 1 - float(step.chain.y_hat[0])
    return (
        f"ŷ = 1/(1 + e^z), without the minus sign, is 1 − σ(z): at z = {number(z)} it gives "
        f"{number(wrong)} for {number(right)}. The trap is that y(1 − y) stays the same, "
        f"{number(right * wrong)}: the size of each factor looks right. But this ŷ falls where z "
        f"grows, so that ∂ŷ/∂z is −ŷ(1 − ŷ), and who writes ŷ(1 − ŷ) walks uphill."
    )


def _x_missing(step: Step) -> str:
    prime = float(step.chain.dy_hat_dz[0])
    return (
        f"∂ŷ/∂w = ŷ(1 − ŷ) is ∂ŷ/∂z, {number(prime)} for the first sample: the last factor, "
        f"∂z/∂w = x, is missing. It is one number for all weights, so each of them gets the "
        f"bias's gradient. Broadcasting hides it, and where every x is 1 it is even right."
    )


def _term_too_many(step: Step) -> str:
    n = step.samples
    return (
        f"Σ from i = 0 to N has N + 1 terms, here {n + 1} for {n} samples, and is divided by "
        f"{n}. Counted from 1, as samples are, index 0 − 1 is the last sample once more in Python."
    )


def _n_missing(step: Step) -> str:
    return (
        f"∂C/∂ŷ = ŷ − y is the derivative of N times the cost: the 1/N has gone, and every "
        f"gradient is {step.samples} times too large. With N = 1 nobody sees it; with more it is "
        f"a learning rate {step.samples} times as high."
    )


SLIPS: tuple[tuple[str, str, Callable[[Step], str]], ...] = (
    ("Slip 1: the minus sign in ŷ = 1/(1 + e^(−z))", "wrong-sign", _minus_missing),
    ("Slip 2: ∂ŷ/∂w = ŷ(1 − ŷ), and x has gone", "without-x", _x_missing),
    ("Slip 3: the sum runs from 0 to N", "one-term-too-many", _term_too_many),
    ("Slip 4: ∂C/∂ŷ = ŷ − y, and 1/N has gone", "without-1/N", _n_missing),
)


def _own() -> Step:
    return take_step(neuron_of([2.0, -3.0], -3.0), _tensor([[-1.0, -2.0]]), _tensor([0.0]))


EXAMPLES: dict[str, Example] = {
    "mazur": Example(
        'the network of Mazur\'s "A Step by Step Backpropagation Example"',
        _mazur,
        _mazur_more,
        decimals=9,
    ),
    "nielsen": Example(
        'the saturated neuron of Nielsen\'s "Neural Networks and Deep Learning", chapter 3',
        _nielsen,
        _nielsen_more,
    ),
    "cs231n": Example('the neuron of CS231n, "optimization-2"', _cs231n, _cs231n_more),
    "seed": Example("the four slips, on four samples", _seed, _seed_more),
}
