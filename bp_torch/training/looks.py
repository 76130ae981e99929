"""Which steps of a run are looked at: by its configuration alone, so every process knows."""

from dataclasses import dataclass

from bp_torch.training.config import STEPS_PER_LOOK, Config
from bp_torch.training.descent import steps_per_epoch

EARLY = frozenset((0, *(4**k for k in range(24))))
"""Steps that are looked at besides. At every power of two, looking took 11% of the time of steps
that are made one by one where the data are larger; so it takes less than a tenth."""


@dataclass(frozen=True)
class Looks:
    """When a run is compared with autograd, and when TensorBoard gets a record."""

    check_every: int
    """Steps; 0: never."""
    log_every: int
    has_early_ones: bool
    steps: int
    """Of the whole run."""
    steps_per_epoch: int

    @classmethod
    def of(cls, config: Config, samples: int) -> "Looks":
        """As the configuration asks, of so many samples to learn from."""
        epoch = steps_per_epoch(samples, config.batch_size)
        by_default = max(STEPS_PER_LOOK, epoch)
        return cls(
            check_every=epoch if config.check_every is None else config.check_every,
            log_every=by_default if config.log_every is None else config.log_every,
            has_early_ones=config.log_every is None,
            steps=epoch * config.epochs,
            steps_per_epoch=epoch,
        )

    def next_seen(self, step: int) -> int:
        """The first step from that one on that is compared or logged."""
        ahead = [self.steps]
        for every in filter(None, (self.check_every, self.log_every)):
            ahead.append(-(-step // every) * every)
        if self.log_every and self.has_early_ones:
            ahead += [early for early in EARLY if step <= early < self.log_every]
        return min(ahead)

    def compares(self, step: int) -> bool:
        """Whether the gradient of that step is compared."""
        return bool(self.check_every) and step % self.check_every == 0

    def logs(self, step: int) -> bool:
        """At regular distances; before the first of them, where most is learnt, at 1, 4, 16 …"""
        if not self.log_every:
            return False
        early = self.has_early_ones and step < self.log_every
        return step in EARLY if early else step % self.log_every == 0
