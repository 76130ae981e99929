"""Samples to measure with, and how many of them: more than a cache holds."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.benchmark import Options
from benchmarks.machine import Cache, available_memory, last_level_cache

MIB = 2**20
# Of what is read from end to end again and again, a cache of a quarter of its size keeps a quarter
# at the best, and next to nothing where the oldest line goes first.
TIMES = 4
# The least that x is, in bytes: on a GPU so much that starting a kernel does not show beside it.
LEAST = {"cpu": 256 * MIB, "cuda": 4096 * MIB}
# The part of the available memory that x takes: JAX has a copy of it, and autograd takes up to
# 0.6 of it for its vectors.
SHARE = 4
QUICK = MIB // 4


@dataclass(frozen=True)
class Size:
    """How large x is, and what decided that; all in bytes."""

    x: int
    cache: Cache
    reason: str
    """Why it is no larger, where the cache asks for more."""

    @property
    def reached(self) -> bool:
        """Whether x is as many times the cache as it should be."""
        return self.x >= TIMES * self.cache.size

    @property
    def floats(self) -> int:
        """Elements of x in float32."""
        return self.x // 4

    def __str__(self) -> str:
        said = (
            f"x of {self.x / MIB:.5g} MiB, {self.x / self.cache.size:.2g} times the last-level "
            f"cache of {self.cache.size / MIB:.5g} MiB ({self.cache.source})"
        )
        if self.reached:
            return said
        return f"{said}, not {TIMES} times, so that part of it may come from there: {self.reason}"


def size(cache: Cache, available: int, least: int) -> Size:
    """At least `TIMES` the last-level cache, so that x is read from memory; as memory allows."""
    allowed = available // SHARE
    x = min(max(least, TIMES * cache.size), allowed)
    reason = f"of {available / MIB:.5g} MiB of memory it takes no more than one part in {SHARE}"
    return Size(x, cache, reason)


def size_here(options: Options) -> Size:
    """On this machine and device."""
    cache = last_level_cache(options.device)
    if options.quick:
        return Size(QUICK, cache, "--quick was asked for")
    return size(cache, available_memory(options.device), LEAST[options.device])


@dataclass(frozen=True, eq=False)
class Data:
    """Samples, and a neuron whose parameters want gradients."""

    x: Tensor
    y: Tensor
    weight: Tensor
    bias: Tensor

    @classmethod
    def draw(cls, samples: int, features: int, device: str = "cpu") -> "Data":
        """float32, z of variance 1."""
        generator = torch.Generator(device).manual_seed(0)
        options: dict[str, Any] = {"generator": generator, "device": device}
        weight = torch.randn(features, **options) / features**0.5
        return cls(
            torch.randn(samples, features, **options),
            torch.rand(samples, **options),
            weight.requires_grad_(),
            torch.zeros((), device=device, requires_grad=True),
        )

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """In the order in which steps take them."""
        return self.x, self.y, self.weight, self.bias
