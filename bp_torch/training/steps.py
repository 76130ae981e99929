"""How a gradient becomes a step: momentum, penalties, one by one or in long stretches."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from bp_torch.dtypes import WIDE
from bp_torch.fused import sgd_epoch
from bp_torch.neuron import Model
from bp_torch.training.data import Rows, Samples
from bp_torch.training.gradients import NamedGradients, require_one_neuron

Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a gradient becomes a step."""

    learning_rate: float
    """ν, of the first epoch."""
    momentum: float = 0.0
    """μ in v ← μv + ∂C/∂w, w ← w − νv (torch.optim.SGD)."""
    l2: float = 0.0
    """λ in C + λ/2 Σw², over weights and not biases."""
    l1: float = 0.0
    """λ in C + λ Σ|w|: after each step |w| ← max(|w| − νλ, 0), which makes weights 0 (the proximal
    step; Parikh & Boyd 2014, "Proximal Algorithms", §6.5.2)."""
    schedule: Schedule = "constant"
    """Of ν over the epochs: constant, linear to a hundredth, or along a cosine to 0."""

    @property
    def is_plain(self) -> bool:
        """w ← w − ν ∂C/∂w and nothing else."""
        return not (self.momentum or self.l2 or self.l1)

    def rate(self, done: float) -> float:
        """ν where that share of the epochs is done."""
        shares = {
            "constant": 1.0,
            "linear": 1 - 0.99 * done,
            "cosine": (1 + math.cos(math.pi * done)) / 2,
        }
        return self.learning_rate * shares[self.schedule]


class Steps:
    """Makes the steps that a rule asks for.

    v ← μv + ∂C/∂w + λ₂w ,   w ← w − νv ,   |w| ← max(|w| − νλ₁, 0)
    """

    def __init__(self, module: Model, rule: Rule) -> None:
        self._module, self.rule = module, rule
        self._parameters = dict(module.named_parameters())
        self.rate = rule.learning_rate
        # Of one neuron in one piece, for the fused epoch: of the weights, and then of the bias.
        wide = WIDE[module.layers[-1].bias.dtype]
        sizes = [parameter.numel() for parameter in self._parameters.values()]
        self.velocity = module.layers[-1].bias.detach().new_zeros(sum(sizes), dtype=wide)
        """v of all parameters, one after another; in float32 at least."""
        pieces = zip(self._parameters.items(), self.velocity.split(sizes), strict=True)
        self._pieces = {name: piece.view(p.shape) for (name, p), piece in pieces}

    @torch.no_grad()
    def __call__(self, gradients: NamedGradients) -> None:
        """One step."""
        rule, rate = self.rule, self.rate
        for name, parameter in self._parameters.items():
            if rule.is_plain:
                parameter.sub_(rate * gradients[name])
                continue
            v, is_weight = self._pieces[name], name.endswith("weight")
            v.mul_(rule.momentum).add_(gradients[name])
            if is_weight:
                v.add_(parameter, alpha=rule.l2)
            parameter.sub_((rate * v).to(parameter))
            if is_weight and rule.l1:
                parameter.copy_(parameter.sign() * (parameter.abs() - rate * rule.l1).clamp(min=0))

    def walk(self, samples: Samples, rows: Rows, cost: str, batch_size: int) -> bool:
        """All steps of one neuron over those rows in one call; whether all is finite still. Where
        it is not nothing is changed."""
        neuron, rule = require_one_neuron(self._module), self.rule
        order = None
        if isinstance(rows, slice):
            samples = samples.at(rows)
        else:
            order = rows.to(samples.x.device)
        if samples.weight is not None and not samples.weight[order].any():
            return True  # nobody counts in them
        changed = [*neuron.parameters(), self.velocity]
        before = [each.detach().clone() for each in changed]
        with torch.no_grad():
            mean_cost = sgd_epoch(
                samples.x,
                samples.y,
                neuron.weight,
                neuron.bias,
                self.rate,
                batch_size,
                order,
                cost,
                sample_weight=samples.weight,
                momentum=rule.momentum,
                l2=rule.l2,
                l1=rule.l1,
                velocity=None if rule.is_plain else self.velocity,
            )
            if math.isfinite(mean_cost) and all(p.isfinite().all() for p in neuron.parameters()):
                return True
            for each, old in zip(changed, before, strict=True):
                each.copy_(old)
        return False
