"""The course of one run: its descent until it ends, and all that its future depends on."""

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, cast

import numpy as np

from bp_torch.neuron import Model
from bp_torch.training.checkpoints import State
from bp_torch.training.config import Config
from bp_torch.training.data import Data, Samples, balanced
from bp_torch.training.descent import Position, Update, descend, require_finite_weights
from bp_torch.training.early_stopping import EarlyStopping
from bp_torch.training.gradients import GRADIENTS, GradientName, gradient_with, weighted
from bp_torch.training.looks import Looks
from bp_torch.training.observer import Observer
from bp_torch.training.order import Order
from bp_torch.training.processes import Processes
from bp_torch.training.sharing import GradientOf, Local, Shared, Whole, equal_parts, parts_of
from bp_torch.training.steps import Rule, Steps

BEAT = 0.2
"""Seconds between two signs of life, where one process works for all."""


class Course:
    """The descent that a configuration asks for, under the eyes of an observer.

    Args:
        config: with a gradient in place of "auto".
        module: trained in place.
        data: to learn from, and to stop early by.
        processes: that train together.
        observer: is shown every update; None: in a process that shows nothing.
        state: where another course of the same run was left; empty: at its start.
    """

    def __init__(
        self,
        config: Config,
        module: Model,
        data: Data,
        processes: Processes,
        observer: Observer | None,
        state: State,
    ) -> None:
        self._config, self.module, self._data = config, module, data
        self._processes, self._observer = processes, observer
        self._sharing = sharing_of(config, module, data.train, processes, config.rule)
        self._steps = self._sharing.steps
        self.stopping = EarlyStopping(config.early_stopping, module)
        self.position = Position()
        self._started, self._before = time.perf_counter(), 0.0
        if state:
            module.load_state_dict(state["module"])
            self._steps.velocity.copy_(state["velocity"])
            self.stopping.restore(state["stopping"])
            self.position = Position(**state["position"])
            self._before = state["seconds"]

    @property
    def seconds(self) -> float:
        """Spent so far, also before it was left."""
        return self._before + time.perf_counter() - self._started

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to learn."""
        return self.stopping.over or self.position.epoch >= self._config.epochs

    @property
    def notes(self) -> list[str]:
        """What whoever asked for it should know."""
        found = []
        if self.is_for_all and self._processes.size > 1:
            found.append(
                f"a batch is too small to be shared out among {self._processes.size} processes, so "
                f"the first works for all; choose a larger batch-size, or sync-every"
            )
        if self.is_over:
            found.append("the run had come to its end, and nothing was left to learn")
        return found

    @property
    def is_for_all(self) -> bool:
        """Whether one process computes what all would."""
        return type(self._sharing) is Whole

    @property
    def can_be_left(self) -> bool:
        """Whether the weights, wherever it breaks off, are those of its position."""
        return not isinstance(self._sharing, Local)

    def require_finite(self) -> None:
        """Raise DivergedError where the last step of all went too far."""
        require_finite_weights(self.module, self.position.steps, self._config.learning_rate)

    def state(self) -> State:
        """What another course takes that is to go on from here; raises OSError where the log
        cannot be written."""
        return {
            "module": dict(self.module.state_dict()),
            "velocity": self._steps.velocity,
            "stopping": self.stopping.state(),
            "position": asdict(self.position),
            "seconds": self.seconds,
            "observer": None if self._observer is None else self._observer.state(),
        }

    def __iter__(self) -> Iterator[Position]:
        """Descend to the last epoch, or to early stopping; yields where it stands when it can be
        left."""
        if self.is_over:
            return
        if self._processes.size == 1 or not self.is_for_all:
            yield from self._descend()
        elif self._processes.is_first:
            yield from self._descend_for_all()
        else:
            while not self._processes.beat():
                pass

    def _descend(self) -> Iterator[Position]:
        config, observer, stopping = self._config, self._observer, self.stopping
        looks = Looks.of(config, len(self._data.train))
        events = descend(
            self._sharing,
            epochs=config.epochs,
            start=self.position,
            next_seen=looks.next_seen,
        )
        for event in events:
            if isinstance(event, Update):
                if observer is not None:
                    observer.before(event)
                continue
            self.position = event.position
            if observer is not None:
                observer.passed(event.position)
            if event.ends_epoch and config.early_stopping is not None:
                stopping.over = self._is_over()
            yield self.position
            if stopping.over:
                return

    def _is_over(self) -> bool:
        """By the first's word: another machine might come to other last places."""
        together, over = self._processes, False
        if together.is_first:
            over = self.stopping.is_over(self._data.test, self._config.cost)
        return over if self.is_for_all else bool(together.add(np.array([int(over)]))[0])

    def _descend_for_all(self) -> Iterator[Position]:
        """While the others wait, since a batch is too small to be shared out."""
        last = time.monotonic()
        try:
            for position in self._descend():
                if time.monotonic() - last >= BEAT:
                    self._processes.beat()
                    last = time.monotonic()
                yield position
        finally:
            self._processes.beat(over=True)


def sharing_of(
    config: Config, module: Model, samples: Samples, processes: Processes, rule: Rule
) -> Whole:
    """How the work on a batch is shared out."""
    samples = _weighed(config, samples)
    size, features = len(samples), samples.x.shape[1]
    batch_size = min(config.batch_size or size, size)
    parts = parts_of(batch_size, features, samples.x.device.type)
    is_local = config.sync_every is not None and processes.size > 1
    is_whole = not is_local and (len(parts) == 1 or config.mistake is not None)
    if is_whole:
        parts = (batch_size,)
    if is_local:
        parts = equal_parts(batch_size, processes.size)
    work: dict[str, Any] = {
        "module": module,
        "samples": samples,
        "steps": Steps(module, rule),
        "cost": config.cost,
        "gradient_of": _gradient_of(config, samples),
        "fused": config.gradient == "fused" and config.mistake is None,
        "order": Order(size, features, batch_size, config.seed, parts),
    }
    if is_whole:
        return Whole(**work)
    if config.sync_every is not None and is_local:
        return Local(**work, processes=processes, every=config.sync_every)
    return Shared(**work, processes=processes)


def _gradient_of(config: Config, samples: Samples) -> GradientOf:
    if (mistake := config.mistake) is not None:
        rate = config.learning_rate
        return lambda module, batch, cost: gradient_with(
            mistake, rate, module, batch.x, batch.y, cost
        )
    if samples.weight is not None:
        return lambda module, batch, cost: weighted(module, batch.x, batch.y, cost, batch.weight)
    by_name = GRADIENTS[cast(GradientName, config.gradient)]
    return lambda module, batch, cost: by_name(module, batch.x, batch.y, cost)


def _weighed(config: Config, samples: Samples) -> Samples:
    """The samples with the weights of their classes on top of their own."""
    if config.class_weight is None:
        return samples
    return replace(samples, weight=balanced(samples.y, samples.weight))
