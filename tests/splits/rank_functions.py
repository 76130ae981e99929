"""What people run on every rank: right ways to one gradient, and planted mistakes."""

import contextlib
import os
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def everywhere(number):
    """Its sum over the ranks."""
    total = torch.tensor(float(number), dtype=torch.float64)
    dist.all_reduce(total)
    return total.item()


def ddp_weighted(module, cost, x, y):
    parallel = DistributedDataParallel(module)
    share = len(y) / everywhere(len(y))
    (cost(parallel(x), y) * share * dist.get_world_size()).backward()


def ddp(module, cost, x, y):
    parallel = DistributedDataParallel(module)
    cost(parallel(x), y).backward()


def ddp_dropped(module, cost, x, y):
    """Nobody keeps the wrapper, and the hooks go with it."""
    cost(DistributedDataParallel(module)(x), y).backward()


def ddp_accumulating(scale, synced=True):
    """Two micro-batches on each rank, of which the last is synchronised."""

    def on_rank(module, cost, x, y):
        parallel = DistributedDataParallel(module)
        total = everywhere(len(y))
        micro = list(zip(x.tensor_split(2), y.tensor_split(2), strict=True))
        for place, (a, b) in enumerate(micro):
            last = synced and place == len(micro) - 1
            with contextlib.nullcontext() if last else parallel.no_sync():
                factor = scale(len(b), total, dist.get_world_size())
                (cost(parallel(a), b) * factor).backward()

    return on_rank


def compressed(module, cost, x, y):
    """Gradients go over the wire in bfloat16."""
    cost(module(x), y).backward()
    for parameter in module.parameters():
        sent = parameter.grad.bfloat16()
        dist.all_reduce(sent)
        parameter.grad = sent.to(parameter.dtype) / dist.get_world_size()


def reducing(cost_factor, gradient_factor=lambda n, total, ranks: 1.0, skip=()):
    """By hand."""

    def on_rank(module, cost, x, y):
        n, total, ranks = len(y), everywhere(len(y)), dist.get_world_size()
        (cost(module(x), y) * cost_factor(n, total, ranks)).backward()
        for name, parameter in module.named_parameters():
            if name not in skip and parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad *= gradient_factor(n, total, ranks)

    return on_rank


weighted = reducing(lambda n, total, ranks: n / total)


class Accelerator:
    """In the form of the one that many use."""

    def __init__(self, gradient_accumulation_steps=1):
        self.steps = gradient_accumulation_steps
        self.ranks = int(os.environ["WORLD_SIZE"])

    def prepare(self, module):
        return DistributedDataParallel(module)

    def backward(self, loss):
        (loss / self.steps).backward()


def accelerated(module, cost, x, y):
    accelerator = Accelerator(gradient_accumulation_steps=2)
    model = accelerator.prepare(module)
    for a, b in zip(x.tensor_split(2), y.tensor_split(2), strict=True):
        share = len(b) * accelerator.ranks * accelerator.steps / everywhere(len(y))
        accelerator.backward(cost(model(a), b) * share)


def from_rank_0(module, cost, x, y):
    cost(module(x), y).backward()
    for parameter in module.parameters():
        dist.broadcast(parameter.grad, 0)


def at_least_one(module, cost, x, y):
    """A rank without samples counts as one."""
    share = len(y) / everywhere(max(1, len(y)))
    (cost(module(x), y) * share).backward()
    for parameter in module.parameters():
        dist.all_reduce(parameter.grad)


def nothing(module, cost, x, y):
    cost(module(x), y).backward()


def dies(module, cost, x, y):
    if dist.get_rank() == 1:
        os._exit(3)
    weighted(module, cost, x, y)


def sleeps(module, cost, x, y):
    if dist.get_rank() == 1:
        time.sleep(1000)
    weighted(module, cost, x, y)


def returns_early(module, cost, x, y):
    if dist.get_rank() == 1:
        return
    weighted(module, cost, x, y)


def raises(module, cost, x, y):
    if dist.get_rank() == 1:
        raise KeyError("no such thing")
    weighted(module, cost, x, y)


RIGHT = {
    "DDP, weighed": ddp_weighted,
    "DDP with no_sync": ddp_accumulating(lambda n, total, ranks: n / total * ranks),
    "accelerator": accelerated,
    "all_reduce, weighed": weighted,
    "all_reduce of sums": reducing(
        lambda n, total, ranks: float(n), lambda n, total, ranks: 1 / total
    ),
}

RIGHT_OF_EQUAL_PARTS = {
    "DDP": ddp,
    "all_reduce, compressed": compressed,
    "all_reduce, averaged": reducing(
        lambda n, total, ranks: 1.0, lambda n, total, ranks: 1 / ranks
    ),
}

WRONG = {
    "DDP, uneven": (ddp, "mean of means", "(7 and 3)"),
    "DDP that is not kept": (ddp_dropped, "not reduced", "or is dropped before backward"),
    "DDP, never synchronised": (
        ddp_accumulating(lambda n, total, ranks: n / total * ranks, synced=False),
        "not reduced",
        "all_reduce it",
    ),
    "DDP, accumulated and not divided": (
        ddp_accumulating(lambda n, total, ranks: 2 * n / total * ranks),
        "doubled",
        "2 times too large",
    ),
    "DDP, costs added": (
        ddp_accumulating(lambda n, total, ranks: n),
        "sum for mean",
        "5 times too large",
    ),
    "DDP averages what is averaged": (
        ddp_accumulating(lambda n, total, ranks: n / total),
        "divided twice",
        "2 times too small",
    ),
    "all_reduce, not divided": (
        reducing(lambda n, total, ranks: 1.0),
        "not divided",
        "the gradients of 2 ranks are added",
    ),
    "all_reduce of sums, not divided": (
        reducing(lambda n, total, ranks: float(n)),
        "sum for mean",
        "10 times too large",
    ),
    "one parameter not reduced": (
        reducing(lambda n, total, ranks: n / total, skip=("2.bias",)),
        "not reduced",
        "of 2.bias alone: each rank keeps",
    ),
    "one parameter divided by the ranks as well": (
        reducing(lambda n, total, ranks: n / total, lambda n, total, ranks: 1 / ranks),
        "divided twice",
        "2 times too small",
    ),
    "rank 0 for all": (from_rank_0, "first only", "the first of 2 ranks"),
    "nothing reduced": (nothing, "not reduced", "all_reduce it"),
}

FAILING = {
    "dies": (dies, "rank 1 died: the process ended itself, with status 3"),
    "sleeps": (sleeps, "ranks 0 and 1 do not end within 1 s"),
    "returns early": (returns_early, "rank 0 waits for another that has already returned"),
    "raises": (raises, "rank 1 raised KeyError: 'no such thing'"),
}
