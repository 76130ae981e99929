"""When to stop: the cost over what is held out does not fall any more."""

from typing import Any

import torch

from bp_torch.neuron import Model
from bp_torch.training.data import Samples
from bp_torch.training.score import evaluate


class EarlyStopping:
    """Keeps the weights with the lowest cost over what is held out (Prechelt 1998, "Early Stopping
    - But When?", §2.1, criterion UP by epochs).

    What was held out has then had a say in the result, and its score is no longer that of data
    never seen.
    """

    def __init__(self, patience: int | None, module: Model) -> None:
        self._patience, self._module = patience, module
        self._lowest, self._since = float("inf"), 0
        self._best: dict[str, torch.Tensor] | None = None
        self.over = False

    def is_over(self, held_out: Samples, cost: str) -> bool:
        """Whether it has not fallen for as many epochs as one was patient for; asked after each."""
        if self._patience is None:
            return False
        found = evaluate(self._module, held_out, cost).cost
        if found < self._lowest:
            self._lowest, self._since = found, 0
            self._best = {name: w.clone() for name, w in self._module.state_dict().items()}
        else:
            self._since += 1
        self.over = self._since >= self._patience
        return self.over

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {
            "lowest": self._lowest,
            "since": self._since,
            "best": self._best,
            "over": self.over,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another was left."""
        self._lowest, self._since = state["lowest"], state["since"]
        self._best, self.over = state["best"], state["over"]

    def keep_best(self) -> None:
        """Put the best weights back."""
        if self._best is not None:
            self._module.load_state_dict(self._best)
