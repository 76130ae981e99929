"""How the work on a batch is shared out: in one piece, in parts with one sum, or in local steps.

A batch is cut into parts, and each process has some of them, always the same: it reads no others.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from bp_torch.dtypes import WIDE
from bp_torch.fused import chunk_sums, rows_per_chunk
from bp_torch.neuron import Model, Neuron
from bp_torch.training.data import Samples
from bp_torch.training.exact_sum import Numbers, exact_total
from bp_torch.training.gradients import CostAndGradients, NamedGradients
from bp_torch.training.order import Block, Order
from bp_torch.training.processes import Processes
from bp_torch.training.steps import Steps

GradientOf = Callable[[Model, Samples, str], CostAndGradients]
"""The cost of some samples and its gradients, as means over them."""


ON_GPU = 64
"""Times as large are the parts there: a small one would not keep it busy."""


def parts_of(batch: int, features: int, device: str = "cpu") -> tuple[int, ...]:
    """The parts of a batch, by its size, width and kind of device alone: what one thread takes at
    once."""
    most = rows_per_chunk(features) * (1 if device == "cpu" else ON_GPU)
    return tuple(min(most, batch - start) for start in range(0, batch, most))


def equal_parts(batch: int, number: int) -> tuple[int, ...]:
    """As many parts of a batch, as equal as they can be."""
    return tuple(batch * (k + 1) // number - batch * k // number for k in range(number))


@dataclass(eq=False, kw_only=True)
class Whole:
    """Every batch in one piece, by one process."""

    module: Model
    samples: Samples
    steps: Steps
    cost: str
    gradient_of: GradientOf
    fused: bool
    """Whether that is the fused gradient of one neuron."""
    order: Order

    def block(self, epoch: int, number: int) -> Block:
        """The samples of a block that this process works on."""
        return self.order.block(epoch, number, range(1))

    def most(self, steps: int) -> float:
        """Steps that may be made in one call, where so many have been made."""
        return float("inf") if self.fused else 0

    def stretch(self, block: Block, first: int, last: int) -> bool:
        """Make the steps of those batches in one call; False where it diverges, and then nothing is
        changed."""
        size = self.order.batch_size
        return self.steps.walk(self.samples, block.rows(first, last), self.cost, size)

    def gradient(
        self, block: Block, batch: int, seen: bool
    ) -> tuple[Samples, CostAndGradients | None]:
        """A batch, whole where it is to be seen, with its cost and gradients; None: nobody counts
        in it."""
        found = self.samples.at(block.rows(batch, batch + 1))
        counts = len(found) and (found.weight is None or bool(found.weight.any()))
        return found, self.gradient_of(self.module, found, self.cost) if counts else None

    def settle(self, steps: int, ends_epoch: bool) -> bool:
        """After a step or a stretch: whether all processes have the same weights now."""
        return True


@dataclass(eq=False, kw_only=True)
class Shared(Whole):
    """Every batch in parts, whose sums are added up to the same bits for any number of processes.

        ∂C/∂w = 1/N Σ over processes Σ over parts Σ over samples sᵢ ∂cᵢ/∂w ,   N = Σ sᵢ

    so the cost and its gradient are those of the whole batch, however many samples each has.
    """

    processes: Processes

    def __post_init__(self) -> None:
        parts, one, of = len(self.order.parts), self.processes.rank, self.processes.size
        self._mine = range(parts * one // of, parts * (one + 1) // of)
        is_double = WIDE[self.module.layers[0].weight.dtype] == torch.float64
        self._precision = 56 if is_double else 32

    def block(self, epoch: int, number: int) -> Block:
        """See `Whole`."""
        return self.order.block(epoch, number, self._mine)

    def most(self, steps: int) -> float:
        """See `Whole`."""
        return 0

    def gradient(
        self, block: Block, batch: int, seen: bool
    ) -> tuple[Samples, CostAndGradients | None]:
        """See `Whole`."""
        mine = self.samples.at(block.rows(batch, batch + 1))
        total, wished = exact_total(
            self._sums(mine),
            self.processes.add,
            precision=self._precision,
            wish=self.processes.wishes(),
        )
        self.processes.note(wished)
        found = mine
        if seen and self.processes.is_first and len(self._mine) < len(self.order.parts):
            every = range(len(self.order.parts))
            rows = self.order.block(block.epoch, block.number, every).rows(batch, batch + 1)
            found = self.samples.at(rows)
        return found, self._means(total) if total[-1] != 0 else None

    def _sums(self, mine: Samples) -> Numbers:
        """Of each part: Σ sᵢ ∂cᵢ/∂θ for every parameter θ, Σ sᵢ cᵢ, and Σ sᵢ."""
        module, parameters = self.module, sum(p.numel() for p in self.module.parameters())
        if not len(mine) or (mine.weight is not None and not mine.weight.any()):
            return np.zeros((0, parameters + 2))  # nobody counts in it
        if self.fused and isinstance(module, Neuron) and mine.x.is_cpu:
            weights = module.weight, module.bias
            return chunk_sums(mine.x, mine.y, *weights, self.cost, sample_weight=mine.weight)
        size = self.order.parts[0]
        parts = [mine.at(slice(start, start + size)) for start in range(0, len(mine), size)]
        return np.stack([self._sums_of(part, parameters) for part in parts])

    def _sums_of(self, part: Samples, parameters: int) -> Numbers:
        n = float(len(part)) if part.weight is None else part.weight.double().sum().item()
        if n == 0:
            return np.zeros(parameters + 2)
        value, gradients = self.gradient_of(self.module, part, self.cost)
        named = [gradients[name].flatten() for name, _ in self.module.named_parameters()]
        means = torch.cat([*named, value.reshape(1).to(named[0])]).double().cpu().numpy()
        return np.append(n * means, n)

    def _means(self, total: Numbers) -> CostAndGradients:
        means = torch.from_numpy(total[:-1] / total[-1])
        parameters = dict(self.module.named_parameters())
        pieces = means[:-1].split([parameter.numel() for parameter in parameters.values()])
        gradients: NamedGradients = {
            name: piece.view(parameter.shape).to(parameter)
            for (name, parameter), piece in zip(parameters.items(), pieces, strict=True)
        }
        return means[-1], gradients


@dataclass(eq=False, kw_only=True)
class Local(Whole):
    """Local steps: each process makes them on its own part of every batch, and every so many steps
    all take the mean of their weights, by how many samples each has learnt from.

    It is another algorithm than gradient descent on the whole batch, and what comes of it depends
    on the number of processes. Source: McMahan et al. (2017), "Communication-Efficient Learning of
    Deep Networks from Decentralized Data", Algorithm 1.
    """

    processes: Processes
    every: int
    """Steps between two means."""

    def __post_init__(self) -> None:
        self._learnt = 0

    def block(self, epoch: int, number: int) -> Block:
        """See `Whole`."""
        rank = self.processes.rank
        return self.order.block(epoch, number, range(rank, rank + 1))

    def most(self, steps: int) -> float:
        """See `Whole`."""
        return self.every - steps % self.every if self.fused else 0

    def stretch(self, block: Block, first: int, last: int) -> bool:
        """See `Whole`."""
        rows, size = block.rows(first, last), self.order.parts[self.processes.rank]
        learnt = len(self.samples.at(rows).y)
        if learnt and not self.steps.walk(self.samples, rows, self.cost, size):
            return False
        self._learnt += learnt
        return True

    def gradient(
        self, block: Block, batch: int, seen: bool
    ) -> tuple[Samples, CostAndGradients | None]:
        """See `Whole`."""
        found, made = super().gradient(block, batch, seen)
        self._learnt += len(found)
        return found, made

    @torch.no_grad()
    def settle(self, steps: int, ends_epoch: bool) -> bool:
        """See `Whole`."""
        if steps % self.every and not ends_epoch:
            return False
        own = [*self.module.parameters(), self.steps.velocity]
        numbers = torch.cat([each.flatten().double().cpu() for each in own]).numpy()
        row = np.append(self._learnt * numbers, self._learnt)
        total, wished = exact_total(row[None], self.processes.add, wish=self.processes.wishes())
        self.processes.note(wished)
        self._learnt = 0
        if total[-1]:
            means = torch.from_numpy(total[:-1] / total[-1])
            for each, mean in zip(own, means.split([e.numel() for e in own]), strict=True):
                each.copy_(mean.view(each.shape))
        return True
