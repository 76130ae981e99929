"""Questions about learning: saturation, the cross-entropy, depth, descent, and differences."""

import math

import torch

from bp_torch.costs import COSTS
from bp_torch.derivative import sigmoid, sigmoid_prime
from bp_torch.explanation.document import Chart, Formula, Sentences, Table
from bp_torch.explanation.notation import exponent_of, number
from bp_torch.explanation.step import Step, descend
from bp_torch.explanation.why import experiment
from bp_torch.explanation.why.experiment import (
    STEPS,
    Answer,
    cost_of,
    deep,
    looked_at,
    moved,
    rms,
)
from bp_torch.neuron import Neuron

SATURATED_STEPS = 300
POINTS = 60


def slow(step: Step) -> Answer:
    """A neuron that starts badly wrong: the reader's, pushed away from its target."""
    target = float(step.y.reshape(-1)[0])
    away = 1.0 if target < 0.5 else -1.0
    rows, numbers = [], {}
    for far in (0.0, 2.0, 4.0, 8.0):
        z = torch.tensor(away * far).double()
        y_hat = sigmoid(z)
        error, prime = float(y_hat) - target, float(sigmoid_prime(y_hat))
        rows.append((number(float(z)), number(error), number(prime), number(error * prime)))
        numbers[f"δ at {far:g}"] = error * prime
    curves, ends = {}, []
    for cost in ("quadratic", "cross-entropy"):
        outputs = _outputs_from_saturation(cost)
        curves[cost] = _curve(outputs)
        ends.append(outputs)
    half = [next((i for i, a in enumerate(outputs) if a < 0.5), None) for outputs in ends]
    numbers |= {"quadratic steps": _or_nan(half[0]), "cross-entropy steps": _or_nan(half[1])}
    return Answer(
        (
            Sentences(
                "Because σ is flat there. The further z lies on the wrong side, the larger the "
                "error and the smaller σ′; the step goes with their product δ, and σ′ wins. With "
                f"your target, {number(target)}, and the quadratic cost:"
            ),
            Table(("z", "error ŷ − y", "σ′(z)", "δ"), tuple(rows)),
            Sentences(
                f"Nielsen's neuron starts at w = b = 2 and is to turn 1 into 0. It gets below ½ "
                f"after {half[0]} steps with the quadratic cost, and after {half[1]} with the "
                f"cross-entropy, which cancels σ′. That helps, and so do small starting weights "
                f"and inputs brought to mean 0 and deviation 1, which keep z near 0."
            ),
            Chart("output from w = b = 2; it should be 0", "steps", curves),
        ),
        numbers,
    )


def _or_nan(steps: int | None) -> float:
    return float("nan") if steps is None else float(steps)


def _outputs_from_saturation(cost: str) -> list[float]:
    neuron = Neuron(1, dtype=torch.float64)
    with torch.no_grad():
        neuron.weight.fill_(2.0)
        neuron.bias.fill_(2.0)
    x, y = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    outputs = []
    for _ in range(SATURATED_STEPS + 1):
        outputs.append(float(neuron(x).detach()[0]))
        neuron = descend(neuron, x, y, cost=cost, learning_rate=0.15, steps=1)[0]  # type: ignore[assignment]
    return outputs


def _curve(values: list[float]) -> tuple[tuple[float, float], ...]:
    every = max(1, len(values) // POINTS)
    return tuple((float(i), v) for i, v in enumerate(values) if i % every == 0)


def cross_entropy(step: Step) -> Answer:
    """Both costs' factors over z, with the reader's target."""
    y = step.y.reshape(-1)[:1]
    rows, numbers = [], {}
    for z in (-6.0, -2.0, 0.0, 2.0, 6.0, float(step.chain.z.reshape(-1)[0])):
        y_hat = sigmoid(torch.tensor([z]).double())
        prime = float(sigmoid_prime(y_hat))
        quadratic = float(COSTS["quadratic"][1](y_hat, y))
        cross = float(COSTS["cross-entropy"][1](y_hat, y))
        rows.append((z, prime, quadratic * prime, cross, cross * prime, float(y_hat - y)))
    numbers = {"δ": rows[-1][4], "error": rows[-1][5], "quadratic δ": rows[-1][2]}
    return Answer(
        (
            Sentences(
                "Its derivative by the output is steep exactly where σ is flat: it has "
                "ŷ(1 − ŷ) below the line, and σ′ = ŷ(1 − ŷ) above it. What is left is the error."
            ),
            Formula(
                (
                    "∂C/∂ŷ = (ŷ − y)/(ŷ(1 − ŷ))",
                    "δ = ∂C/∂ŷ · σ′(z)",
                    "  = (ŷ − y)/(ŷ(1 − ŷ)) · ŷ(1 − ŷ) = ŷ − y",
                )
            ),
            Table(
                ("z", "σ′(z)", "½-square δ", "entropy ∂C/∂ŷ", "entropy δ", "ŷ − y"),
                tuple(tuple(number(v, 4) for v in row) for row in rows),
            ),
            Sentences(
                f"The target is yours, {number(float(y))}, and the last row is your z. It is no "
                f"trick: of all costs it is the one that makes δ the plain error. In a hidden "
                f"layer nothing cancels: σ′ stays there with every cost."
            ),
        ),
        numbers,
    )


def vanishing(step: Step) -> Answer:
    """Five layers: what is left of δ in each of them."""
    network = deep(step, (2, 2, 2, 2))
    deltas = [rms(link.delta) for link in network.chain.layers]
    primes = [float(link.dy_hat_dz.mean()) for link in network.chain.layers]
    rows, numbers = [], {}
    for place in range(len(deltas) - 1, -1, -1):
        shrunk = "" if place == len(deltas) - 1 else number(deltas[place] / deltas[place + 1], 3)
        rows.append((f"layer {place + 1}", number(primes[place]), number(deltas[place]), shrunk))
        numbers[f"δ {place + 1}"], numbers[f"σ′ {place + 1}"] = deltas[place], primes[place]
    total = deltas[0] / deltas[-1] if deltas[-1] else 0.0
    numbers["left"] = total
    points = tuple((float(i + 1), math.log10(d)) for i, d in enumerate(deltas) if d > 0)
    chart = (Chart("log₁₀ of δ in each layer", "layer", {"δ": points}),) if points else ()
    return Answer(
        (
            Sentences(
                "Each layer on the way back multiplies δ with σ′, which is at most ¼, and with "
                "weights. Unless the weights are large, five layers leave next to nothing: ¼⁵ is "
                "below 0.001. Here are your samples in a network of five layers with fresh weights:"
            ),
            Table(("", "σ′, mean", "δ, root mean square", "of the layer above"), tuple(rows)),
            *chart,
            Sentences(
                f"The first layer gets {number(total, 5)} of what the last one gets, and learns "
                f"that much more slowly. That is why deep networks use other functions than σ in "
                f"their hidden layers."
            ),
        ),
        numbers,
    )


def descent(step: Step) -> Answer:
    """Backpropagation gives the gradient, descent uses it; what it costs to get it otherwise."""
    parameters = sum(p.numel() for p in step.module.parameters())
    costs, w = experiment.descent(step), looked_at(step)
    autograd = float(step.autograd[w.parameter].reshape(-1)[w.place])
    return Answer(
        (
            Sentences(
                "No. Backpropagation is how the gradient is computed: the chain rule, from the "
                "cost backwards, each δ used for all that lies below it. Gradient descent is what "
                "is done with it: w ← w − ν·∂C/∂w. Either works without the other: the gradient "
                "can be had by moving each parameter in turn, and Adam or Newton's method use "
                "the same gradient in another way."
            ),
            Formula(
                (
                    f"parameters of your model              {parameters}",
                    f"passes for the gradient by moving     {2 * parameters} forward",
                    "passes for it by backpropagation      1 forward, 1 backward",
                    f"descent with it: C before {number(costs[0])}, after {STEPS} steps "
                    f"{number(costs[-1])}",
                )
            ),
        ),
        {
            "parameters": float(parameters),
            "passes": 2.0 * parameters,
            "by hand": w.slope,
            "autograd": autograd,
            "start": costs[0],
            "end": costs[-1],
        },
    )


def differences(step: Step) -> Answer:
    """Difference quotients from h = 10⁻¹ to 10⁻¹³ against the truth, and their two errors."""
    w = looked_at(step)
    exact = step.truth(w.parameter, [w.place])
    truth = w.slope if exact is None else exact[0]
    here, rows, numbers = cost_of(step, step.module), [], {"truth": truth}
    curves: dict[str, list[tuple[float, float]]] = {"one-sided": [], "central": []}
    for exponent in range(1, 14):
        h = 10.0**-exponent
        up, down = (cost_of(step, moved(step, w.parameter, w.place, by)) for by in (h, -h))
        errors = {
            "one-sided": abs((up - here) / h - truth),
            "central": abs((up - down) / (2 * h) - truth),
        }
        rows.append(
            (f"10{_power(-exponent)}", *(number(errors[k]) for k in ("one-sided", "central")))
        )
        for kind, error in errors.items():
            numbers[f"{kind} {exponent}"] = error
            if error > 0:
                curves[kind].append((float(-exponent), math.log10(error)))
    drawn = {kind: tuple(reversed(points)) for kind, points in curves.items() if points}
    title = "log₁₀ of the error over log₁₀ of h"
    chart = (Chart(title, "log₁₀ h", drawn),) if drawn else ()
    best = min(range(1, 14), key=lambda e: numbers[f"central {e}"])
    numbers["best"] = float(best)
    return Answer(
        (
            Sentences(
                "A difference quotient has two errors. One is the curve's: it shrinks with h, or "
                "with h² where one looks to both sides. The other is the computer's: a cost has "
                "16 digits, two costs that lie close together share most of them, and what is "
                "left is divided by h, so that this error grows as 10⁻¹⁶/h. Smaller than their "
                "meeting point, near 10⁻⁵ to both sides and 10⁻⁸ to one, h makes it worse."
            ),
            Table(("h", "error, one-sided", "error, central"), tuple(rows)),
            *chart,
            Sentences(
                f"To both sides the best of these is h = 10{_power(-best)}; with 10⁻¹³, which "
                f"looks so careful, the error is {number(numbers['central 13'])}. The truth, "
                f"∂C/∂{w.label} = {number(truth)}, is the chain rule's at the price of one pass."
            ),
        ),
        numbers,
    )


def _power(exponent: int) -> str:
    return exponent_of(str(exponent))
