"""Questions about a network: the sum over paths, and which weights the hidden δ sees."""

import torch

from bp_torch.costs import COSTS
from bp_torch.explanation.document import Formula, Part, Sentences, Table
from bp_torch.explanation.notation import factor, number
from bp_torch.explanation.step import Step, descend_with
from bp_torch.explanation.why.experiment import (
    Answer,
    H,
    measured_slope,
    with_hidden_layer,
)
from bp_torch.mistakes import gradients_with

SHOWN = 6

OURS = (
    "Your model has no hidden layer; this is a small network with one, with fresh weights, on "
    "your samples. "
)


def paths(step: Step) -> Answer:
    """What each path contributes to ∂C/∂h, and what moving h shows."""
    step, own = with_hidden_layer(step)
    above, link, names = step.layers[-1]
    below = step.layers[-2]
    unit_name = below[2].units[0]
    weights, deltas = above.weight.detach()[:, 0], link.delta[0]
    terms = [float(w * d) for w, d in zip(weights, deltas, strict=True)]
    total = float(below[1].dC_dy_hat[0, 0])

    def cost_at(shift: float) -> float:
        hidden = below[1].y_hat.clone()
        hidden[0, 0] += shift
        with torch.no_grad():
            return float(COSTS[step.cost][0](above(hidden), step.y))

    measured = (cost_at(H) - cost_at(-H)) / (2 * H)
    rows = [
        (
            f"through {names.units[k]}",
            f"{number(float(weights[k]))}·{factor(float(deltas[k]))}",
            number(terms[k]),
        )
        for k in range(min(len(terms), SHOWN))
    ]
    if len(terms) > SHOWN:
        rows.append((f"{len(terms) - SHOWN} others", "", number(sum(terms[SHOWN:]))))
    rows += [("their sum", "", number(total)), (f"{unit_name} moved", "", number(measured))]
    first = "" if step.samples == 1 else " for the first sample"
    return Answer(
        (
            Sentences(
                ("" if own else OURS)
                + f"{unit_name} goes into {len(terms)} neuron{'s' if len(terms) > 1 else ''} of "
                f"the next layer. Move it, and all of them move, and each moves the cost; what "
                f"happens to the cost is all of it together. So the contributions are added"
                f"{first}:"
            ),
            Table(("path", "weight · δ", f"∂C/∂{unit_name}"), tuple(rows)),
            Sentences(
                "All paths of a network can be walked in one sweep: Wᵀδ adds them up layer by "
                "layer, and none is walked twice. That is what makes backpropagation cheap."
            ),
        ),
        {"sum": sum(terms), "total": total, "measured": measured, "first path": terms[0]},
    )


def updated_weights(step: Step) -> Answer:
    """The hidden layer's gradient with the weights of the step, and with updated ones."""
    step, own = with_hidden_layer(step)
    name = next(iter(step.chain.gradients))
    right = float(step.chain.gradients[name].view(-1)[0])
    wrong = float(
        gradients_with(
            "updated-weights",
            step.module,
            step.x,
            step.y,
            cost=step.cost,
            learning_rate=step.learning_rate,
        )[1][name].view(-1)[0]
    )
    measured = measured_slope(step, name, 0)
    _, costs = descend_with("updated-weights", step, steps=1)
    label = f"∂C/∂{step.layers[0][2].weight(0, 0)}"
    parts: list[Part] = [
        Sentences(
            ("" if own else OURS)
            + "After. The gradient is the slope at one place, the weights as they are; so all δ "
            "come first, with the weights of the step, and then everything is updated at once. "
            "Update the output weights before, and the hidden δ mixes two places."
        ),
        Table(
            ("", label),
            (
                ("what C does when it moves", number(measured, 9)),
                ("with the weights of the step", number(right, 9)),
                ("with updated weights", number(wrong, 9)),
            ),
        ),
        Formula(
            (
                f"C after the step {number(step.after.cost.item(), 9)}, with updated weights "
                f"{number(costs[-1], 9)}",
            )
        ),
        Sentences(
            "It learns all the same, nearly as well: that is why a much-read article could print "
            "an error of 0.291027924 for 0.291027774 and nobody noticed."
        ),
    ]
    return Answer(
        tuple(parts),
        {"measured": measured, "right": right, "updated": wrong},
    )
