"""Training loops over micro-batches as people write them: right ones, and planted mistakes."""

from collections.abc import Callable
from typing import Any

import torch

import bp_torch as bp


def output_of(module: Any, x: Any) -> Any:
    if isinstance(x, dict):
        return module(**x)
    return module(*x) if isinstance(x, tuple) else module(x)


def looping(scale: Callable[..., Any]) -> Callable[..., None]:
    """A loop that scales the cost of each micro-batch by what `scale` makes of what the part
    counts, all count, the number of parts and the part's own."""

    def accumulate(module, cost, parts, weight=len):
        total = sum(weight(y) for _, y in parts)
        for place, (x, y) in enumerate(parts):
            factor = scale(weight(y), total, len(parts), place)
            if factor is not None:
                (cost(output_of(module, x), y) * factor).backward()

    return accumulate


right = looping(lambda n, total, k, place: n / total)


def zero_grad_in_the_loop(module, cost, parts):
    for x, y in parts:
        module.zero_grad()
        cost(output_of(module, x), y).backward()


def step_in_the_loop(module, cost, parts):
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    total = sum(len(y) for _, y in parts)
    for x, y in parts:
        (cost(output_of(module, x), y) * len(y) / total).backward()
        optimizer.step()


def padded(module, cost, parts):
    """Every micro-batch is made as long as the longest, by its own first samples."""
    longest = max(len(y) for _, y in parts)
    for x, y in parts:
        rows = (list(range(len(y))) * longest)[:longest]
        (cost(module(x[rows]), y[rows]) / len(parts)).backward()


def one_sample_twice(module, cost, parts):
    total = sum(len(y) for _, y in parts)
    for x, y in parts:
        rows = [0, *range(len(y))]
        (cost(module(x[rows]), y[rows]) * len(rows) / total).backward()


def batches_of_three(module, cost, parts):
    """Cuts anew into batches of three, and leaves what is over."""
    x, y = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    batches = len(y) // 3
    for place in range(batches):
        rows = slice(3 * place, 3 * place + 3)
        (cost(module(x[rows]), y[rows]) / batches).backward()


WRONG: dict[str, tuple[Callable[..., Any], str, str]] = {
    "never divided": (looping(lambda n, total, k, place: 1), "not divided", "some 4 times too"),
    "mean of means": (
        looping(lambda n, total, k, place: 1 / k),
        "mean of means",
        "(5, 3, 2 and 1)",
    ),
    "sum for mean": (looping(lambda n, total, k, place: n), "sum for mean", "11 times too large"),
    "sum, divided by parts": (
        looping(lambda n, total, k, place: n / k),
        "sum for mean",
        "2.75 times too large",
    ),
    "divided twice": (
        looping(lambda n, total, k, place: n / total / k),
        "divided twice",
        "4 times too small",
    ),
    "mean of means, divided twice": (
        looping(lambda n, total, k, place: 1 / k**2),
        "divided twice",
        "4 times too small",
    ),
    "a mean divided by all": (
        looping(lambda n, total, k, place: 1 / total),
        "divided twice",
        "2.75 times too small",
    ),
    "divided by all twice": (
        looping(lambda n, total, k, place: n / total**2),
        "divided twice",
        "11 times too small",
    ),
    "last left out": (
        looping(lambda n, total, k, place: n / total if place < k - 1 or k == 1 else None),
        "last dropped",
        "(1 of 11 samples)",
    ),
    "last left out of the mean of means": (
        looping(lambda n, total, k, place: 1 / max(1, k - 1) if place < k - 1 or k == 1 else None),
        "last dropped",
        "(1 of 11 samples)",
    ),
    "first alone": (
        looping(lambda n, total, k, place: 1 if place == 0 else None),
        "first only",
        "the first of 4 micro-batches",
    ),
    "zero_grad in the loop": (zero_grad_in_the_loop, "last only", "zero_grad() inside the loop"),
    "doubled": (looping(lambda n, total, k, place: 2 * n / total), "doubled", "2 times too large"),
    "step in the loop": (step_in_the_loop, "step inside", "step once"),
    "not unscaled": (
        looping(lambda n, total, k, place: 2.0**16 * n / total),
        "not unscaled",
        "65536 = 2^16",
    ),
    "clipped": (looping(lambda n, total, k, place: 0.37 * n / total), "factor", "2.7027 times too"),
    "wrong sign": (looping(lambda n, total, k, place: -n / total), "sign", "its sign is wrong"),
    "weighed by place": (
        looping(lambda n, total, k, place: (place + 1) / 10),
        "weights",
        "count 0.1, 0.2, 0.3 and 0.4",
    ),
    "padded": (padded, "padded", "padded to 5 samples each"),
    "one sample twice": (one_sample_twice, "samples", "0, 5, 8 and 10 count 2, 2, 2 and 2 times"),
    "batches of three": (batches_of_three, "samples", "samples 9 and 10 count nothing"),
}
__all__ = ["WRONG", "bp", "looping", "output_of", "right"]
