"""One step of gradient descent with everything that can be said of its numbers."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch import checks, fifty_digits
from bp_torch.chain_rule import Chain, LayerChain, backprop
from bp_torch.costs import COSTS
from bp_torch.explanation.notation import LayerNames, names_of
from bp_torch.mistakes import Gradients, gradients_with
from bp_torch.neuron import Layer, Model

MOST_TERMS = 100_000
"""Products that fifty digits are worked out of for one number: some two seconds."""


@dataclass(frozen=True, eq=False)
class Step:
    """A step and what it was made from, in float64: what happens before, and what after it."""

    module: Model
    """As it is before the step: a copy."""
    x: Tensor
    y: Tensor
    cost: str
    learning_rate: float
    chain: Chain
    autograd: Gradients
    """The same gradients by torch's autograd, through torch.sigmoid."""
    updated: Model
    after: Chain

    @property
    def samples(self) -> int:
        """N."""
        return len(self.x)

    @property
    def layers(self) -> list[tuple[Layer, LayerChain, LayerNames]]:
        """Each layer with its link of the chain, and what its numbers are called."""
        names = names_of(self.module.layers)
        return list(zip(self.module.layers, self.chain.layers, names, strict=True))

    @property
    def is_one_neuron(self) -> bool:
        """Whether the module is a single neuron, with one output and no hidden layer."""
        return self.chain.y_hat[0].numel() == 1 and len(self.module.layers) == 1

    def truth(self, name: str, places: list[int]) -> list[float] | None:
        """∂C/∂θ for entries of the parameter of that name, to fifty digits; None for a step with
        too many terms to work them out in a moment, or so saturated that there are no digits."""
        parameters = dict(self.module.named_parameters())
        tensors = [parameter.detach() for parameter in parameters.values()]
        numbers = [value for tensor in tensors for value in tensor.reshape(-1).tolist()]
        digits = max(fifty_digits.digits_for(link.z) for link in self.chain.layers)
        work = self.samples * len(numbers) * len(places) * digits / fifty_digits.DIGITS
        if work > MOST_TERMS:
            return None
        names = list(parameters)
        first = sum(t.numel() for t in tensors[: names.index(name)])
        cost = fifty_digits.model_cost(self.x, self.y, tensors, self.cost)
        found = fifty_digits.derivatives(cost, numbers, [first + place for place in places], digits)
        return found if all(map(math.isfinite, found)) else None

    def again(
        self, *, x: Tensor | None = None, module: Model | None = None, cost: str | None = None
    ) -> "Step":
        """The same step with another input, module or cost."""
        return take_step(
            self.module if module is None else module,
            self.x if x is None else x,
            self.y,
            cost=cost or self.cost,
            learning_rate=self.learning_rate,
        )


def take_step(
    module: Model, x: Tensor, y: Tensor, *, cost: str = "quadratic", learning_rate: float = 1.0
) -> Step:
    """Work one step out. The module stays as it is; see `explain` for the arguments."""
    checks.require_model(module, Model)
    before: Model = copy.deepcopy(module).double().cpu()
    x, y = _as_batch(x, y, before)
    chain = backprop(before, x, y, cost=cost)
    updated = descend(before, x, y, cost=cost, learning_rate=learning_rate, steps=1)[0]
    return Step(
        module=before,
        x=x,
        y=y,
        cost=cost,
        learning_rate=learning_rate,
        chain=chain,
        autograd=_autograd(before, x, y, cost),
        updated=updated,
        after=backprop(updated, x, y, cost=cost),
    )


def descend(
    module: Model,
    x: Tensor,
    y: Tensor,
    *,
    cost: str,
    learning_rate: float,
    steps: int,
    gradients: Callable[[Model], Gradients] | None = None,
) -> tuple[Model, list[float]]:
    """Steps of gradient descent on one batch, w ← w − ν ∂C/∂w.

    Args:
        gradients: by another way than `backprop`; what it gives may be wrong.

    Returns:
        A module with the weights after the last step, and the cost before each step and after the
        last. Parameters that do not require a gradient are held.
    """
    module = copy.deepcopy(module)
    costs = []
    for _ in range(steps):
        chain = backprop(module, x, y, cost=cost)
        costs.append(chain.cost.item())
        by_name = chain.gradients if gradients is None else gradients(module)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    parameter.sub_(learning_rate * by_name[name])
    with torch.no_grad():
        costs.append(COSTS[cost][0](module(x), y).item())
    return module, costs


def descend_with(mistake: str, step: Step, *, steps: int) -> tuple[Model, list[float]]:
    """`descend` from a step's start with that mistake in every gradient."""
    return descend(
        step.module,
        step.x,
        step.y,
        cost=step.cost,
        learning_rate=step.learning_rate,
        steps=steps,
        gradients=lambda module: gradients_with(
            mistake, module, step.x, step.y, cost=step.cost, learning_rate=step.learning_rate
        )[1],
    )


def _as_batch(x: Tensor, y: Tensor, module: Model) -> tuple[Tensor, Tensor]:
    """Both as a batch in float64; a single sample becomes a batch of one."""
    checks.require_floating("x", x)
    checks.require_floating("y", y)
    x, y = x.detach().double().cpu(), y.detach().double().cpu()
    if x.ndim == 1:
        x = x[None]
        outputs = module.layers[-1].bias.shape
        if y.shape == outputs:
            y = y[None]
    return x, y


def _autograd(module: Model, x: Tensor, y: Tensor, cost: str) -> Gradients:
    a = x
    parameters = {n: p.detach().requires_grad_() for n, p in module.named_parameters()}
    values = list(parameters.values())
    for weight, bias in zip(values[::2], values[1::2], strict=True):
        a = torch.sigmoid(a @ weight.t() + bias)
    found = torch.autograd.grad(COSTS[cost][0](a, y), values)
    return dict(zip(parameters, found, strict=True))
