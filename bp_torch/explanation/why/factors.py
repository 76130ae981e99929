"""Questions about the factors of the chain rule: σ′, x, the sign, ½ and 1/N, the bias."""

import torch

from bp_torch.costs import COSTS
from bp_torch.derivative import sigmoid, sigmoid_prime
from bp_torch.explanation.document import Formula, Sentences, Table
from bp_torch.explanation.notation import number
from bp_torch.explanation.step import Step
from bp_torch.explanation.why.experiment import (
    STEPS,
    Answer,
    H,
    LookedAt,
    cost_in_words,
    descent,
    looked_at,
    measured_slope,
)
from bp_torch.mistakes import gradients_with

SHOWN = 4
"""Weights of a neuron in a table."""


def sigma_prime(step: Step) -> Answer:
    """σ′ left out: what the cost does, what the formulas say, and whose gradient that is."""
    w = looked_at(step)
    measured = measured_slope(step, w.parameter, w.place)
    wrong = _gradient_with("without-sigma-prime", step, w)
    costs, wrong_costs = descent(step), descent(step, mistake="without-sigma-prime")
    numbers = {
        "measured": measured,
        "with": w.slope,
        "without": wrong,
        "cost with": costs[-1],
        "cost without": wrong_costs[-1],
    }
    rows = [
        (f"what C does when {w.label} moves", number(measured)),
        ("error · σ′ · input", number(w.slope)),
        ("error · input, σ′ left out", number(wrong)),
    ]
    after = (
        f"After {STEPS} steps the cost is {number(costs[-1])} with σ′ and "
        f"{cost_in_words(wrong_costs[-1])} without."
    )
    if step.cost == "quadratic":
        other = step.again(cost="cross-entropy").chain.gradients[w.parameter]
        numbers["cross-entropy"] = float(other.reshape(-1)[w.place])
        rows.append(("the cross-entropy's own gradient", number(numbers["cross-entropy"])))
        hidden = (
            " In a hidden layer σ′ stays with every cost; left out there, the steps follow none."
            if len(step.module.layers) > 1
            else " Whoever leaves it out has changed the cost, for a good one, without knowing it."
        )
        after = (
            "Without σ′ it is no nonsense: in the last layer it is, exactly, the gradient of "
            f"another cost, the cross-entropy, in which σ′ cancels.{hidden} {after}"
        )
    return Answer(
        (
            Sentences(
                "The error says how the cost answers to the output. But a weight does not move the "
                "output; it moves z, and of what z moves only the share σ′ = ŷ(1 − ŷ) arrives at "
                "the output. Leave it out, and the number is no longer the slope of this cost. "
                f"Move {w.label} a little and look:"
            ),
            Table(("", f"by {w.label}"), tuple(rows)),
            Sentences(after),
        ),
        numbers,
    )


def z_or_output(step: Step) -> Answer:
    """σ′ at z against ŷ put in its place."""
    z = step.chain.z.reshape(-1)[0]
    y_hat = sigmoid(z)
    measured = float((sigmoid(z + H) - sigmoid(z - H)) / (2 * H))
    at_z = float(sigmoid_prime(y_hat))
    at_output = float(sigmoid_prime(sigmoid(y_hat)))
    rows = (
        ("what ŷ does when z moves", number(measured)),
        ("ŷ(1 − ŷ)", number(at_z)),
        ("σ(ŷ)(1 − σ(ŷ)), ŷ put in for z", number(at_output)),
    )
    return Answer(
        (
            Sentences(
                "σ′(z): the slope of σ at the place where the neuron is, and that place is z. That "
                "the slope can be written with the output, ŷ(1 − ŷ), does not make it a slope at "
                f"ŷ. Here z = {number(float(z))} and ŷ = {number(float(y_hat))}:"
            ),
            Table(("", "slope"), rows),
        ),
        {"measured": measured, "at z": at_z, "at the output": at_output},
    )


def reuse_output(step: Step) -> Answer:
    """σ applied twice against the output reused."""
    z = torch.tensor([0.0, 2.0, 4.0, 8.0, float(step.chain.z.reshape(-1)[0])]).double()
    y_hat = sigmoid(z)
    right, twice = sigmoid_prime(y_hat), sigmoid_prime(sigmoid(y_hat))
    rows = tuple(
        (number(a), number(b), number(c), number(d))
        for a, b, c, d in zip(*(v.tolist() for v in (z, y_hat, right, twice)), strict=True)
    )
    costs, wrong_costs = descent(step), descent(step, mistake="sigma-twice")
    return Answer(
        (
            Sentences(
                "Reuse it. A function like `def sigmoid_prime(a): return a * (1 - a)` wants the "
                "output a = σ(z); give it z, or let it apply σ to an output, and it answers for "
                "another place. With σ twice the slope can never get below 0.1966, so that a "
                "saturated neuron is not seen to be one (last row: yours):"
            ),
            Table(("z", "ŷ", "ŷ(1 − ŷ)", "σ twice"), rows),
            Sentences(
                f"After {STEPS} steps the cost is {number(costs[-1])} with the output reused, and "
                f"{cost_in_words(wrong_costs[-1])} with σ twice: it may learn all the same, so "
                f"that nobody notices. But a step off the slope is no gradient descent."
            ),
        ),
        {
            "least": float(twice.min()),
            "right": float(right[-1]),
            "twice": float(twice[-1]),
            "cost": costs[-1],
            "cost twice": wrong_costs[-1],
        },
    )


def by_what(step: Step) -> Answer:
    """Each derivative: of what, by what, its value, and what moving shows."""
    w = looked_at(step)
    link, names = step.layers[-1][1], step.layers[-1][2]
    shape = (step.samples, -1)
    z = link.z.reshape(shape)[0, w.unit]
    by_output = float(link.dC_dy_hat.reshape(shape)[0, w.unit])
    prime = float(link.dy_hat_dz.reshape(shape)[0, w.unit])
    x = float(link.dz_dw[0, w.input])

    def cost_at(shift: float) -> float:
        outputs = link.y_hat.clone()
        outputs.view(-1)[w.unit] += shift  # of the first sample
        return float(COSTS[step.cost][0](outputs, step.y))

    moved_output = (cost_at(H) - cost_at(-H)) / (2 * H)
    moved_z = float((sigmoid(z + H) - sigmoid(z - H)) / (2 * H))
    measured = measured_slope(step, w.parameter, w.place)
    output, z_name = names.units[w.unit], names.pre_activation(w.unit)
    rows = (
        (f"∂C/∂{output}", "cost", "output", number(by_output), number(moved_output)),
        (f"∂{output}/∂{z_name} = σ′", "output", "z", number(prime), number(moved_z)),
        (f"∂{z_name}/∂{w.label}", "z", "weight", number(x), number(x)),
        (f"∂C/∂{w.label}", "cost", "weight", number(w.slope), number(measured)),
    )
    summed = "" if step.samples == 1 else f" (The last row is summed over {step.samples} samples.)"
    return Answer(
        (
            Sentences(
                "A derivative is a question about two things: if this one moves a little, how much "
                "does that one move? Each factor asks it of neighbours in the chain w → z → ŷ → C; "
                "the gradient asks it of the two ends. In the last column the thing was moved by "
                f"{number(H)} and the other looked at.{summed}"
            ),
            Table(("", "of", "by", "formula", "moved"), rows),
        ),
        {
            "∂C/∂ŷ": by_output,
            "∂ŷ/∂z": prime,
            "∂z/∂w": x,
            "∂C/∂w": w.slope,
            "measured": measured,
            "measured ∂C/∂ŷ": moved_output,
            "measured ∂ŷ/∂z": moved_z,
        },
    )


def where_x_went(step: Step) -> Answer:
    """The factor x left out: every weight gets the bias's gradient."""
    w = looked_at(step)
    bias = w.parameter.removesuffix("weight") + "bias"
    names, link = step.layers[-1][2], step.layers[-1][1]
    shape = (-1, len(names.inputs))
    right = step.chain.gradients[w.parameter].reshape(shape)[w.unit]
    without_x = gradients_with("without-x", step.module, step.x, step.y, cost=step.cost)[1]
    wrong = without_x[w.parameter].reshape(shape)[w.unit]
    rows: list[tuple[str, ...]] = []
    numbers: dict[str, float] = {}
    for j in sorted({*range(min(len(right), SHOWN)), w.input}):
        measured = measured_slope(step, w.parameter, w.unit * len(right) + j)
        by_input = link.dz_dw[0, j].item(), measured, right[j].item(), wrong[j].item()
        rows.append((names.weight(w.unit, j), *map(number, by_input)))
        names_of_them = (f"input {j}", f"measured {j}", f"with {j}", f"without {j}")
        numbers |= dict(zip(names_of_them, by_input, strict=True))
    by_bias = float(step.chain.gradients[bias].reshape(-1)[w.unit])
    measured = measured_slope(step, bias, w.unit)
    rows.append((names.bias(w.unit), "1", number(measured), *[number(by_bias)] * 2))
    numbers["bias"] = by_bias
    first = "" if step.samples == 1 else ", of the first sample"
    return Answer(
        (
            Sentences(
                "It is the last factor: z = w·x + b, so when w moves by 1, z moves by x. ŷ(1 − ŷ) "
                "is ∂ŷ/∂z and ends at z; ∂ŷ/∂w = ŷ(1 − ŷ)·x goes on to the weight. Left out, every "
                "weight gets what belongs to the bias, whose input is 1."
            ),
            Table(("", f"its input{first}", "measured", "with x", "without x"), tuple(rows)),
        ),
        numbers,
    )


def sign(step: Step) -> Answer:
    """Downhill, and uphill with one sign turned."""
    down, up = descent(step), descent(step, mistake="wrong-sign")
    rows = (
        ("before", number(down[0]), number(up[0])),
        ("after 1 step", number(down[1]), number(up[1])),
        (f"after {STEPS} steps", number(down[-1]), number(up[-1])),
    )
    return Answer(
        (
            Sentences(
                "The gradient points uphill, so the step is w ← w − ν·∂C/∂w with ∂C/∂ŷ = ŷ − y. "
                "Books that write y − ŷ add instead: both signs are turned, and the step is the "
                "same. Turn one of them and the cost climbs:"
            ),
            Table(("C", "minus", "one sign turned"), rows),
            Sentences(
                "ŷ = 1/(1 + e^z) turns a sign as well, unseen: it is 1 − σ(z), falls where z "
                "grows, and has the same ŷ(1 − ŷ)."
            ),
        ),
        {"start": down[0], "down": down[1], "up": up[1], "down end": down[-1], "up end": up[-1]},
    )


def one_half(step: Step) -> Answer:
    """The same direction on other scales: a factor before the cost is one before ν."""
    w, n = looked_at(step), step.samples
    factors = ((f"1/(2N), N = {n}", 1.0), ("1/N", 2.0), ("½, no 1/N", float(n)), ("1", 2.0 * n))
    rows = tuple(
        (label, number(w.slope * factor), number(step.learning_rate / factor))
        for label, factor in factors
    )
    ends = [
        descent(
            step,
            learning_rate=step.learning_rate / factor,
            change=lambda name, gradient, factor=factor: factor * gradient,  # type: ignore[misc]
        )[-1]
        for factor in (1.0, 2.0 * n)
    ]
    what = "Σ(ŷ − y)²" if step.cost == "quadratic" else "2Σ −[y ln ŷ + (1 − y) ln(1 − ŷ)]"
    return Answer(
        (
            Sentences(
                "The one that belongs to your cost. A factor before the cost is a factor before "
                "the gradient: it changes the length of the step and not its direction, exactly as "
                "the learning rate does. The ½ only cancels the 2 of the square; the 1/N makes the "
                "step as long for a large batch as for a small one. Wrong is only to have it in "
                "the cost and not in the gradient."
            ),
            Table((f"C = … {what}", f"∂C/∂{w.label}", "ν, same step"), rows),
            Sentences(
                f"{STEPS} steps with the first and the last of these rows end at the costs "
                f"{number(ends[0])} and {number(ends[1])}, both counted with 1/(2N)."
            ),
        ),
        {"first": ends[0], "last": ends[1], "gradient": w.slope},
    )


def bias(step: Step) -> Answer:
    """The bias as a weight whose input is always 1, updated and held."""
    name = looked_at(step).parameter.removesuffix("weight") + "bias"
    by_hand = float(step.chain.gradients[name].reshape(-1)[0])
    measured = measured_slope(step, name, 0)
    costs = descent(step)
    held = descent(step, change=lambda name, g: g if name.endswith("weight") else 0 * g)
    return Answer(
        (
            Sentences(
                "Yes, in the same way. A bias is a weight whose input is always 1, so the last "
                "factor is 1 and its gradient is δ itself, summed over the samples. Without it σ "
                "could only be tilted and not be moved."
            ),
            Formula(
                (
                    f"∂C/∂b = Σ δ = {number(by_hand)}, measured {number(measured)}",
                    f"C after {STEPS} steps with the bias learning {number(costs[-1])}",
                    f"C after {STEPS} steps with the bias held     {number(held[-1])}",
                )
            ),
        ),
        {"by hand": by_hand, "measured": measured, "learning": costs[-1], "held": held[-1]},
    )


def _gradient_with(mistake: str, step: Step, w: LookedAt) -> float:
    found = gradients_with(mistake, step.module, step.x, step.y, cost=step.cost)[1]
    return float(found[w.parameter].reshape(-1)[w.place])
