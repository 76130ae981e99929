"""Ways of cutting N samples into parts."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import index

import torch

Sampler = Callable[[int, int, int], Iterable[int]]
"""(number of samples, rank, ranks) → the samples of that rank."""

SHOWN = 6
"""Sizes of parts, or samples, that are listed; of more the text says how many."""


@dataclass(frozen=True)
class Cut:
    """Which samples are together, in which order."""

    parts: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples in each part."""
        return tuple(map(len, self.parts))

    @property
    def is_even(self) -> bool:
        """Whether all parts have one size."""
        return len(set(self.sizes)) <= 1

    def counts(self, n: int) -> list[int]:
        """How often each of the n samples is there."""
        found = Counter(place for part in self.parts for place in part)
        return [found[place] for place in range(n)]

    def __str__(self) -> str:
        """ "4, 3, 2 and 1", or "5 × 2"."""
        if self.is_even and len(self) > 2:
            return f"{len(self)} × {self.sizes[0]}"
        return listed(self.sizes)


def listed(items: Iterable[object]) -> str:
    """ "1, 2 and 3", of many the first ones."""
    texts = [str(item) for item in items]
    if len(texts) > SHOWN:
        texts = [*texts[: SHOWN - 1], f"{len(texts) - SHOWN + 1} more"]
    return ", ".join(texts[:-1]) + (" and " if len(texts) > 1 else "") + texts[-1]


def even(n: int, parts: int) -> Cut:
    """One after the other, sizes as equal as can be."""
    return _in_order([n // parts + (place < n % parts) for place in range(parts)])


def uneven(n: int, parts: int) -> Cut:
    """One after the other, the first the largest: sizes as k : k − 1 : … : 1, where n allows it."""
    shares = range(parts, 0, -1)
    sizes = [max(1, n * share // sum(shares)) for share in shares]
    sizes[0] += n - sum(sizes)
    return _in_order(sizes) if sizes[0] > 0 else even(n, parts)


def strided(n: int, parts: int) -> Cut:
    """Every k-th sample, as a DistributedSampler deals them out."""
    return Cut(tuple(tuple(range(first, n, parts)) for first in range(parts)))


def shuffled(n: int, parts: int, seed: int) -> Cut:
    """Uneven parts of the samples in a random order."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return Cut(tuple(tuple(order[i] for i in part) for part in uneven(n, parts).parts))


def backwards(n: int, parts: int) -> Cut:
    """From the last sample to the first."""
    return Cut(tuple(tuple(n - 1 - i for i in part) for part in uneven(n, parts).parts))


def sampled(sampler: Sampler, n: int, ranks: int) -> Cut:
    """The parts that a sampler gives; raises ValueError for indices that are none of n samples."""
    parts = tuple(tuple(index(i) for i in sampler(n, rank, ranks)) for rank in range(ranks))
    for place in (i for part in parts for i in part):
        if not 0 <= place < n:
            raise ValueError(
                f"sampler(n, rank, ranks) must give indices from 0 to n − 1, got {place} of {n} "
                f"samples over {ranks} ranks"
            )
    return Cut(parts)


def divisors(n: int, most: int) -> list[int]:
    """Into how many equal parts, of two at least and at most so many, n samples can be cut."""
    return [parts for parts in range(2, most + 1) if n % parts == 0]


def _in_order(sizes: Sequence[int]) -> Cut:
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return Cut(tuple(tuple(range(e - s, e)) for s, e in zip(sizes, ends, strict=True)))
