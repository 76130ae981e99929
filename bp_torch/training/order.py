"""Which samples a step learns from: a function of the seed, the epoch and the place alone.

Nothing that was drawn before has to be known, so a run can go on at any step, and each of many
processes draws only its own share.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from bp_torch.training.data import Rows

NUMBERS_PER_BLOCK = 2**22
"""Of features that are shuffled together: larger data are read block by block, in a random order of
blocks, so that a disk is read in long stretches. Every block is a cross-section of the table."""


NOTHING = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class Block:
    """Neighbouring samples, in the order in which some parts of their batches take them."""

    epoch: int
    number: int
    whole: Tensor
    """(batches of full size, samples of these parts)."""
    tail: Tensor
    """Of the last batch where it is smaller, else nothing."""
    as_they_lie: slice | None = None
    """Where a batch is all there is: the order does not matter, and nothing is copied."""

    def rows(self, first: int, last: int) -> Rows:
        """Of the batches from `first` to before `last`."""
        if self.as_they_lie is not None:
            return self.as_they_lie
        rows = self.whole[first:last].reshape(-1)
        ends_in_tail = last > len(self.whole) and len(self.tail)
        return torch.cat([rows, self.tail]) if ends_in_tail else rows


@dataclass(frozen=True)
class Order:
    """The order of samples in every epoch.

    A batch is made of parts, whose sizes are the same in every full batch. The samples of a block
    are dealt out to the parts in long pieces, and each part walks its own in a random order.
    """

    samples: int
    features: int
    batch_size: int
    seed: int
    parts: tuple[int, ...]
    """Sizes, which add up to the batch size."""

    @property
    def is_one_batch(self) -> bool:
        """Whether a batch is all there is."""
        return self.batch_size >= self.samples

    def blocks(self, epoch: int) -> list[int]:
        """The blocks in the order in which they are walked."""
        last = 0 if self.is_one_batch else -(-self.samples // self._rows) - 1
        # The last block, which may be smaller, stays last: all batches but the last are full.
        drawn = torch.randperm(last, generator=self._generator(epoch, -1, 0)) if last else ()
        return [*map(int, drawn), last]

    def batches(self, block: int) -> int:
        """How many there are in that block."""
        return -(-self._size(block) // self.batch_size)

    def block(self, epoch: int, number: int, mine: range) -> Block:
        """The samples of a block in the order of an epoch, those that go to some of the parts."""
        full, rest = divmod(self._size(number), self.batch_size)
        if self.is_one_batch:
            starts = list(accumulate(self.parts, initial=0))
            straight = slice(starts[mine.start], starts[mine.stop])
            return Block(epoch, number, NOTHING.view(0, 0), NOTHING, straight)
        tails = tail_of(self.parts, rest)
        sizes = [full * part + tail for part, tail in zip(self.parts, tails, strict=True)]
        starts = list(accumulate(sizes, initial=number * self._rows))
        whole, last = [], []
        for part in mine:
            drawn = torch.randperm(sizes[part], generator=self._generator(epoch, number, part))
            drawn += starts[part]
            in_full = full * self.parts[part]
            whole.append(drawn[:in_full].view(full, self.parts[part]))
            last.append(drawn[in_full:])
        if not whole:
            return Block(epoch, number, NOTHING.view(1, 0).expand(full, 0), NOTHING)
        if len(whole) == 1:
            return Block(epoch, number, whole[0], last[0])
        return Block(epoch, number, torch.cat(whole, 1), torch.cat(last))

    @property
    def _rows(self) -> int:
        """Samples in a block: so many batches."""
        return max(1, NUMBERS_PER_BLOCK // self.features // self.batch_size) * self.batch_size

    def _size(self, block: int) -> int:
        if self.is_one_batch:
            return self.samples
        return min(self._rows, self.samples - block * self._rows)

    def _generator(self, *place: int) -> torch.Generator:
        said = " ".join(map(str, (self.seed, *place))).encode()
        key = hashlib.blake2b(said, digest_size=4).digest()  # torch's generator takes 32 bits
        return torch.Generator().manual_seed(int.from_bytes(key, "little"))


def tail_of(parts: Sequence[int], rest: int) -> list[int]:
    """How many of the last batch's samples go to each part: the first parts are filled first."""
    filled = accumulate(parts, initial=0)
    return [max(0, min(part, rest - before)) for part, before in zip(parts, filled, strict=False)]
