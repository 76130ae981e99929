"""The course of one run: its descent until it ends, and all that its future depends on."""

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import cast

from bp_torch.neuron import Model
from bp_torch.training.checkpoints import State
from bp_torch.training.config import Config
from bp_torch.training.data import Data, Samples, balanced
from bp_torch.training.descent import Position, Update, descend
from bp_torch.training.early_stopping import EarlyStopping
from bp_torch.training.gradients import GradientName
from bp_torch.training.observer import Observer
from bp_torch.training.steps import Steps


class Course:
    """The descent that a configuration asks for, under the eyes of an observer.

    Args:
        config: with a gradient in place of "auto".
        module: trained in place.
        data: to learn from, and to stop early by.
        observer: is shown every update.
        state: where another course of the same run was left; empty: at its start.
    """

    def __init__(
        self, config: Config, module: Model, data: Data, observer: Observer, state: State
    ) -> None:
        self._config, self._module, self._data, self._observer = config, module, data, observer
        self._steps = Steps(module, config.rule)
        self.stopping = EarlyStopping(config.early_stopping, module)
        self.position = Position()
        self._started, self._before = time.perf_counter(), 0.0
        if state:
            self._module.load_state_dict(state["module"])
            self._steps.velocity.copy_(state["velocity"])
            self.stopping.restore(state["stopping"])
            self.position = Position(**state["position"])
            self._before = state["seconds"]

    @property
    def seconds(self) -> float:
        """Spent so far, also before it was left."""
        return self._before + time.perf_counter() - self._started

    def state(self) -> State:
        """What another course takes that is to go on from here; raises OSError where the log
        cannot be written."""
        return {
            "module": dict(self._module.state_dict()),
            "velocity": self._steps.velocity,
            "stopping": self.stopping.state(),
            "position": asdict(self.position),
            "seconds": self.seconds,
            "observer": self._observer.state(),
        }

    def __iter__(self) -> Iterator[Position]:
        """Descend to the last epoch, or to early stopping; yields where it stands when it can be
        left."""
        config, observer = self._config, self._observer
        if self.stopping.over:
            return
        events = descend(
            self._module,
            _weighed(config, self._data.train),
            self._steps,
            cost=config.cost,
            gradient=cast(GradientName, config.gradient),
            mistake=config.mistake,
            epochs=config.epochs,
            batch_size=config.batch_size,
            seed=config.seed,
            start=self.position,
            next_seen=observer.next_seen,
        )
        for event in events:
            if isinstance(event, Update):
                observer.before(event)
                continue
            self.position = event.position
            observer.passed(event.position)
            over = event.ends_epoch and self.stopping.is_over(self._data.test, config.cost)
            yield self.position
            if over:
                return


def _weighed(config: Config, samples: Samples) -> Samples:
    """The samples with the weights of their classes on top of their own."""
    if config.class_weight is None:
        return samples
    return replace(samples, weight=balanced(samples.y, samples.weight))
