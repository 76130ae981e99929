"""The gradient of a batch, and the right way to put it together from those of parts.

    ∂C/∂θ = Σₖ wₖ gₖ / Σₖ wₖ ,   gₖ = ∂Cₖ/∂θ of part k alone, wₖ its number of samples

where the cost is a mean over independent samples; where that mean is a weighted one, wₖ is the sum
of the weights in part k.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bp_torch.judge.passes import foreign_code
from bp_torch.splits.batch import Batch
from bp_torch.splits.cuts import Cut

Gradients = dict[str, Tensor]
"""∂C/∂θ by the name of θ; a parameter that got none is missing."""

Cost = Callable[[Any, Tensor], Tensor]
Weight = Callable[[Tensor], Any]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is differentiated: a cost of a module's outputs."""

    module: nn.Module
    cost: Cost
    weight: Weight
    """What a part with these targets counts."""

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Those that are learnt; one that is shared stands under its first name."""
        return {n: p for n, p in self.module.named_parameters() if p.requires_grad}

    def gradient(self, batch: Batch) -> Gradients:
        """By `backward`, as in training: autograd.grad does not go through every checkpoint.

        Raises Refused: module or cost raised, as BatchNorm does for a single sample.
        """
        self.clear()
        with foreign_code():
            backward_of_mean(self.module, self.cost, batch)
        return self.taken()

    def clear(self) -> None:
        """No gradient is there."""
        for parameter in self.module.parameters():
            parameter.grad = None

    def taken(self) -> Gradients:
        """The gradients that stand in the parameters, which have none afterwards."""
        found = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                found[name] = parameter.grad.detach().to_dense().clone()
        self.clear()
        return found

    def weight_of(self, batch: Batch) -> float:
        """What the part counts in the mean."""
        return float(self.weight(batch.y))


def backward_of_mean(module: nn.Module, cost: Cost, batch: Batch) -> None:
    """Run both passes; raises TypeError or ValueError where the cost is no number of the module's
    parameters."""
    value = cost(batch.output_of(module), batch.y)
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"cost(output, y) must be a tensor with one number, the mean over the samples; got "
            f"{f'shape {got}' if isinstance(value, Tensor) else got}"
        )
    if not value.requires_grad:
        raise ValueError(
            "the cost depends on no parameter that requires a gradient; do not detach the module's "
            "output, and leave a parameter unfrozen"
        )
    value.reshape(()).backward()


def in_parts(subject: Subject, batch: Batch, cut: Cut) -> tuple[Gradients, Gradients]:
    """The right way: Σ wₖ gₖ / Σ wₖ, and the running sum of the terms' sizes, Σ wₖ |gₖ| / Σ wₖ."""
    parts = [batch.part(places) for places in cut.parts]
    weights = [subject.weight_of(part) if len(part) else 0.0 for part in parts]
    total, size = Gradients(), Gradients()
    for part, weight in zip(parts, weights, strict=True):
        if weight:  # the mean over nothing is 0/0
            share = weight / sum(weights)
            for name, gradient in subject.gradient(part).items():
                total[name] = total.get(name, 0) + share * gradient
                size[name] = size.get(name, 0) + share * gradient.abs()
    return total, size


def on_each_rank(subject: Subject, batch: Batch) -> None:
    """The right way over ranks: Σ wₖ gₖ and Σ wₖ are added over them, and then divided.

    A rank without samples adds nothing, and takes part all the same: the others wait for it.
    """
    weight = subject.weight_of(batch) if len(batch) else 0.0
    own = subject.gradient(batch) if weight else {}
    total = torch.tensor([weight], dtype=torch.float64)
    dist.all_reduce(total)
    for name, parameter in subject.parameters.items():
        gradient = weight * own.get(name, torch.zeros_like(parameter))
        dist.all_reduce(gradient)
        parameter.grad = (gradient / total.item()).to(parameter.dtype)


def combined(weights: Sequence[float], gradients: Sequence[Gradients]) -> Gradients:
    """Σ wₖ gₖ."""
    total = Gradients()
    for weight, each in zip(weights, gradients, strict=True):
        if weight:
            for name, gradient in each.items():
                total[name] = total.get(name, 0) + weight * gradient
    return total


def wide(gradients: Gradients) -> Gradients:
    """The same numbers in float64, on the CPU."""
    return {name: gradient.double().cpu() for name, gradient in gradients.items()}
