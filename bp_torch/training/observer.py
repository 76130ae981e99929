"""Looking at a descent without changing it: compared with autograd, and seen in TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bp_torch.chain_rule import Chain, backprop
from bp_torch.neuron import Model
from bp_torch.training.comparison import Comparison, compare_gradients
from bp_torch.training.config import Config
from bp_torch.training.data import NUMBERS_LOOKED_AT, Data
from bp_torch.training.descent import Position, Update, require_finite_weights
from bp_torch.training.gradients import GRADIENTS
from bp_torch.training.looks import Looks
from bp_torch.training.measurements import saturation, update_size
from bp_torch.training.monitor import Monitor
from bp_torch.training.run_card import command, first_step
from bp_torch.training.score import Score, accuracy, evaluate

METRICS = ("cost/train", "cost/test", "accuracy/train", "accuracy/test")


@dataclass(frozen=True)
class Progress:
    """Where a run stands. Cost and accuracy are over the training part, at the last look."""

    step: int
    steps: int
    samples: int
    """That were learnt from so far, each as often as it was."""
    score: Score | None


class Observer:
    """Looks at a descent without changing it: compares gradients and writes to TensorBoard."""

    def __init__(
        self,
        config: Config,
        module: Model,
        data: Data,
        directory: Path,
        feature_names: tuple[str, ...],
        state: dict[str, Any] | None = None,
    ) -> None:
        """With what `state` gave where a run goes on."""
        state = state or {}
        self._config, self._module = config, module
        rows = max(1, NUMBERS_LOOKED_AT // data.train.x.shape[1])
        self._data = Data(data.train.spread(rows), data.test.spread(rows))
        self._looks = Looks.of(config, len(data.train))
        self.steps: int = state.get("steps", 0)
        self._monitor = None
        if self._looks.log_every:
            self._monitor = Monitor(
                directory,
                config.hyperparameters(),
                METRICS,
                feature_names,
                state.get("monitor"),
                self.steps,
            )
        self._samples = len(data.train)
        score: list[Any] | None = state.get("score")
        self._score = None if score is None else Score(*score)
        self._since_look = Comparison(*state.get("since_look", ()))
        self.comparison = Comparison(*state.get("comparison", ()))
        self.trouble: list[str] = []
        """What went wrong with the log; then nothing more is written to it."""
        self.notes: list[str] = []
        if self._monitor and self._monitor.lost:
            lost = ", ".join(self._monitor.lost)
            self.notes.append(f"TensorBoard lacks steps before this one: {lost} is not whole")

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        with self._logging():
            if self._monitor:
                self._monitor.close(failed=kind is not None)

    @property
    def progress(self) -> Progress:
        """Where the descent stands."""
        looks = self._looks
        samples = round(self.steps / looks.steps_per_epoch * self._samples)
        return Progress(self.steps, looks.steps, samples, self._score)

    def passed(self, position: Position) -> None:
        """Updates have been made."""
        self.steps = position.steps

    def state(self) -> dict[str, Any]:
        """All that what it will find and show depends on; raises OSError where the log cannot be
        written."""
        return {
            "steps": self.steps,
            "score": None if self._score is None else list(vars(self._score).values()),
            "since_look": list(vars(self._since_look).values()),
            "comparison": list(vars(self.comparison).values()),
            "monitor": None if self._monitor is None else self._monitor.state(),
        }

    def before(self, update: Update) -> None:
        """An update is about to be made: compare and look, where it is time to."""
        if self._looks.compares(update.step):
            self._compare(update)
        if self._looks.logs(update.step) and not self.trouble:
            # The cost may be finite still where a weight is not: σ(∞) = 1.
            require_finite_weights(self._module, update.step, self._config.learning_rate)
            size = update_size(self._module, update.gradients, update.learning_rate)
            self._look(update.step, size)
            if update.step == 0 and self._monitor:
                batch = update.batch
                card = first_step(self._config, self._module, batch.x, batch.y)
                with self._logging():
                    self._monitor.begin(card, command(self._config))

    def after(self) -> None:
        """The descent has ended: a last look, with the weights as they will be saved."""
        if self._monitor:
            chain = self._look(self.steps, {}, histograms=True)
        if self._monitor:
            with self._logging():
                self._monitor.end(self.steps, self._module, chain, self._data, self._config.cost)

    @contextmanager
    def _logging(self) -> Iterator[None]:
        """Note that the log cannot be written, and write nothing more."""
        try:
            yield
        except OSError as error:
            self.trouble.append(f"the log for TensorBoard ends early: {error}")
            if self._monitor:
                self._monitor.abandon()
            self._monitor = None

    def _compare(self, update: Update) -> None:
        if update.batch.weight is not None:
            return  # neither autograd's peer nor the truth knows weights
        by_hand, x, y = update.gradients, update.batch.x, update.batch.y
        batch = (self._module, x, y, self._config.cost)
        if self._config.gradient == "autograd":
            _, by_hand = GRADIENTS["manual"](*batch)
        _, autograd = GRADIENTS["autograd"](*batch)
        comparison = compare_gradients(*batch, by_hand, autograd)
        self._since_look |= comparison
        self.comparison |= comparison

    def _look(self, step: int, scalars: dict[str, float], *, histograms: bool = False) -> Chain:
        module, data, cost = self._module, self._data, self._config.cost
        chain = backprop(module, data.train.x, data.train.y, cost=cost)
        test = evaluate(module, data.test, cost)
        if data.train.weight is None:
            of_chain = accuracy(chain.y_hat, data.train.y)
            self._score = Score(chain.cost.item(), of_chain, len(data.train))
        else:
            self._score = evaluate(module, data.train, cost)
        scalars = scalars | {
            "cost/train": self._score.cost,
            "cost/test": test.cost,
            "accuracy/train": self._score.accuracy,
            "accuracy/test": test.accuracy,
            **saturation(chain, data.train.y),
        }
        if self._since_look.steps:
            scalars["compare/by_hand"] = self._since_look.by_hand
            scalars["compare/autograd"] = self._since_look.autograd
            self._since_look = Comparison()
        if self._monitor:
            with self._logging():
                self._monitor.look(step, scalars, module, chain, histograms=histograms)
        return chain
