"""What an answer is made of, and what the experiments have in common."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.chain_rule import backprop
from bp_torch.costs import COSTS
from bp_torch.explanation.document import Part
from bp_torch.explanation.notation import number
from bp_torch.explanation.step import Step, descend, take_step
from bp_torch.mistakes import Gradients, gradients_with
from bp_torch.neuron import Model, Network

STEPS = 100
"""Of a descent that is looked at."""

H = 1e-5
"""Half the width of a difference quotient: near ∛ε, where its two errors are about the same."""


@dataclass(frozen=True)
class Answer:
    """What an experiment on the reader's numbers shows, in words."""

    parts: tuple[Part, ...]
    numbers: dict[str, float]
    """What the experiment measured, by name: whatever the words say rests on these."""


@dataclass(frozen=True)
class LookedAt:
    """The weight that the experiments move: of the last layer's, the one with the largest slope."""

    parameter: str
    place: int
    """In the flattened weight."""
    unit: int
    input: int
    label: str
    slope: float
    """∂C/∂w by the chain rule."""


def looked_at(step: Step) -> LookedAt:
    """The weight of the last layer whose gradient is largest."""
    parameter = [name for name in step.chain.gradients if name.endswith("weight")][-1]
    gradient = step.chain.gradients[parameter].reshape(-1)
    place = int(gradient.abs().argmax())
    names = step.layers[-1][2]
    unit, j = divmod(place, len(names.inputs))
    return LookedAt(parameter, place, unit, j, names.weight(unit, j), float(gradient[place]))


def descent(
    step: Step,
    *,
    mistake: str | None = None,
    learning_rate: float | None = None,
    change: Callable[[str, Tensor], Tensor] = lambda name, gradient: gradient,
) -> list[float]:
    """The cost over `STEPS` steps from where the step begins, before each and after the last.

    Args:
        mistake: one to make in every gradient.
        change: of every gradient, by its parameter's name.
    """
    rate = step.learning_rate if learning_rate is None else learning_rate

    def gradients(module: Model) -> Gradients:
        batch = (module, step.x, step.y)
        if mistake is None:
            found = backprop(*batch, cost=step.cost).gradients
        else:
            found = gradients_with(mistake, *batch, cost=step.cost, learning_rate=rate)[1]
        return {name: change(name, gradient) for name, gradient in found.items()}

    return descend(
        step.module,
        step.x,
        step.y,
        cost=step.cost,
        learning_rate=rate,
        steps=STEPS,
        gradients=gradients,
    )[1]


def cost_of(step: Step, module: Model) -> float:
    """C of the step's batch with another module."""
    with torch.no_grad():
        return float(COSTS[step.cost][0](module(step.x), step.y))


def measured_slope(step: Step, parameter: str, place: int, h: float = H) -> float:
    """[C(θ + h) − C(θ − h)]/2h for one number θ: what the cost does, whatever a formula says."""
    plus, minus = (moved(step, parameter, place, by) for by in (h, -h))
    return (cost_of(step, plus) - cost_of(step, minus)) / (2 * h)


def moved(step: Step, parameter: str, place: int, by: float) -> Model:
    """A copy of the step's module with one number moved."""
    module = copy.deepcopy(step.module)
    with torch.no_grad():
        dict(module.named_parameters())[parameter].view(-1)[place] += by
    return module


def with_hidden_layer(step: Step) -> tuple[Step, bool]:
    """The step itself where its network has a hidden layer, else one of a small network on the
    same samples; and whether it is the reader's own."""
    if len(step.module.layers) > 1:
        return step, True
    return deep(step, (2,), outputs=2), False


def deep(step: Step, hidden: Sequence[int], outputs: int | None = None) -> Step:
    """A step of a network with these hidden layers, on the same samples. With more outputs than
    there are targets the further ones are to give the opposite."""
    targets = step.y.reshape(step.samples, -1)
    if outputs is not None and targets.shape[1] < outputs:
        targets = torch.cat([targets, 1 - targets], 1)[:, :outputs]
    generator = torch.Generator().manual_seed(0)
    sizes = [step.x.shape[1], *hidden, targets.shape[1]]
    network = Network(sizes, dtype=torch.float64, generator=generator)
    return take_step(network, step.x, targets, cost=step.cost, learning_rate=step.learning_rate)


def cost_in_words(value: float) -> str:
    """The number, also where there is none any more."""
    return number(value) if math.isfinite(value) else "no number any more"


def rms(values: Tensor) -> float:
    """√(mean of the squares)."""
    return float(values.square().mean().sqrt())
