"""Features brought to mean 0 and deviation 1, and a module brought back to raw features."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from bp_torch.neuron import Model
from bp_torch.training.data import Split


@dataclass(frozen=True, eq=False)
class Standardisation:
    """x ↦ (x − μ)/s, with the mean μ and deviation s of each feature in the training part.

    A feature that never varies has s = 1, so that it becomes 0.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "Standardisation":
        """Measured on x, (N, D)."""
        deviation = x.std(0, correction=0)
        # A constant column's deviation may come out as rounding noise instead of 0.
        constant = deviation <= torch.finfo(x.dtype).eps * x.abs().amax(0)
        return cls(mean=x.mean(0), deviation=torch.where(constant, 1.0, deviation))

    def __call__(self, x: Tensor) -> Tensor:
        """(x − μ)/s, shape and dtype of x."""
        return (x - self.mean) / self.deviation

    def prepare(self, raw: Split, module: Model) -> Split:
        """Standardised features, and targets, as the module takes them: in its dtype, on its
        device, a target for each output."""
        output = module.layers[-1].bias

        def features(x: Tensor) -> Tensor:
            return self(x).to(output)

        def targets(y: Tensor) -> Tensor:
            return y.reshape(len(y), *output.shape).to(output)

        return Split(
            x_train=features(raw.x_train),
            y_train=targets(raw.y_train),
            x_test=features(raw.x_test),
            y_test=targets(raw.y_test),
        )

    @torch.no_grad()
    def fold_into(self, module: Model) -> Model:
        """A copy of the module that takes raw features and gives the same outputs.

            w·(x − μ)/s + b = (w/s)·x + (b − (w/s)·μ)

        Computed in float64 and kept in float32 or float64: a raw feature may exceed what the
        lower precisions can hold.
        """
        lowest = module.layers[0].weight.dtype
        folded = copy.deepcopy(module).to(
            device="cpu", dtype=torch.promote_types(lowest, torch.float32)
        )
        first = folded.layers[0]
        weight = first.weight.double() / self.deviation.cpu()
        first.bias.copy_(first.bias.double() - weight @ self.mean.cpu())
        first.weight.copy_(weight)
        return folded
