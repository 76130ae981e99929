"""What a training run is asked to do, checked before anything is read or written."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import torch

from bp_torch import checks
from bp_torch.costs import COSTS
from bp_torch.dtypes import DTYPES
from bp_torch.forms import FORMS, Derivative
from bp_torch.mistakes import MISTAKES, MistakeName
from bp_torch.training.data import DATASETS, DatasetName
from bp_torch.training.device import DeviceName, resolve_device
from bp_torch.training.gradients import GRADIENTS, GradientChoice
from bp_torch.training.run_folder import require_folder_name, require_runs

CostName = Literal["quadratic", "cross-entropy"]
DtypeName = Literal["float64", "float32", "bfloat16", "float16"]

STEPS_PER_LOOK = 300
"""By default. A look costs as much as 5 to 25 steps, so looking takes less than 10% of the time."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training run. Raises ValueError, naming what was expected, for a value out of range."""

    dataset: DatasetName = "breast-cancer"
    layers: tuple[int, ...] = ()
    """Neurons in each hidden layer; none: the outputs see the features directly."""
    cost: CostName = "quadratic"
    gradient: GradientChoice = "auto"
    """"auto": fused for one neuron, manual for a network."""
    derivative: Derivative = "textbook"
    """The form of σ′ in the model: "textbook" or "accurate"."""
    epochs: int = 300
    batch_size: int = 32
    """Samples per step; 0: all of them."""
    learning_rate: float = 1.0
    init_weight: float | None = None
    """Where every weight of a neuron starts; None: at random."""
    init_bias: float | None = None
    """Where every bias starts; None: at 0."""
    mistake: MistakeName | None = None
    """A mistake that is made in every gradient, on purpose: to see what comes of it."""
    device: DeviceName = "auto"
    dtype: DtypeName = "float32"
    seed: int = 0
    """Of the initial weights and the order of the samples; the held-out part does not depend on
    it, so that runs can be compared."""
    check_every: int | None = None
    """Steps between two comparisons with autograd; None: once per epoch, 0: never."""
    log_every: int | None = None
    """Steps between two looks from TensorBoard; None: `STEPS_PER_LOOK`, but at most once per epoch,
    since a look reads all the data; 0: never."""
    name: str | None = None
    """Of the run's folder; None: the data set's with the next free number."""
    runs: str | os.PathLike[str] = "runs"
    """The folder that holds the runs."""

    def __post_init__(self) -> None:
        checks.require_one_of("data set", self.dataset, DATASETS)
        checks.require_one_of("cost", self.cost, COSTS)
        checks.require_one_of("gradient", self.gradient, {"auto": None, **GRADIENTS})
        checks.require_one_of("derivative", self.derivative, FORMS)
        self._require_sense_of_mistake()
        for name in ("init_weight", "init_bias"):
            self._keep(name, _start(name.replace("_", "-"), getattr(self, name)))
        if self.init_weight is not None and self.layers:
            raise ValueError(
                f"init-weight is for one neuron, and there are hidden layers {self.layers}: units "
                f"that start alike stay alike; leave it out, and choose another seed"
            )
        if self.gradient == "autograd" and self.derivative != "textbook":
            raise ValueError(
                f"gradient autograd is torch's own derivative and has no {self.derivative!r} form; "
                f"choose gradient manual or chain"
            )
        checks.require_one_of("dtype", self.dtype, DTYPES)
        self._keep("layers", _sizes(self.layers))
        self._keep("epochs", checks.require_whole("epochs", self.epochs, 1, "passes over the data"))
        self._keep(
            "batch_size",
            checks.require_whole("batch size", self.batch_size, 0, "samples per step; 0: all"),
        )
        self._keep("seed", checks.require_seed(self.seed))
        self._keep("check_every", _interval("check-every", self.check_every))
        self._keep("log_every", _interval("log-every", self.log_every))
        self._keep("learning_rate", _learning_rate(self.learning_rate, DTYPES[self.dtype]))
        if self.name is not None:
            require_folder_name(self.name)
        require_runs(self.runs)
        resolve_device(self.device)

    def _require_sense_of_mistake(self) -> None:
        if self.mistake is None:
            return
        checks.require_one_of("mistake", self.mistake, MISTAKES)
        if self.gradient not in ("auto", "chain"):
            raise ValueError(
                f"a mistake is made in the chain rule by hand, and gradient is {self.gradient}; "
                f"leave it out, or choose gradient chain"
            )
        if self.mistake == "updated-weights" and not self.layers:
            raise ValueError(
                "the mistake updated-weights needs a hidden layer, whose δ sees weights that were "
                "updated too early; add one, as layers 5"
            )

    def _keep(self, name: str, value: object) -> None:
        """The value as Python's own number: NumPy's would not go into JSON."""
        object.__setattr__(self, name, value)

    def hyperparameters(self) -> dict[str, str | int | float]:
        """What shaped the result, as TensorBoard and the checkpoint name it."""
        return {  # in the order in which TensorBoard shows them
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "layers": ",".join(map(str, self.layers)),
            "mistake": self.mistake or "none",
            "cost": self.cost,
            "dataset": self.dataset,
            "gradient": self.gradient,
            "derivative": self.derivative,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "dtype": self.dtype,
            "init_weight": "random" if self.init_weight is None else self.init_weight,
            "init_bias": 0.0 if self.init_bias is None else self.init_bias,
        }


def _sizes(layers: Any) -> tuple[int, ...]:
    if not isinstance(layers, Iterable):
        raise ValueError(f"layers must be sizes, as (30,) or (30, 20), got {layers!r}")
    return tuple(
        checks.require_whole("layers", size, 1, "neurons in each hidden layer") for size in layers
    )


def _interval(what: str, steps: Any) -> int | None:
    return None if steps is None else checks.require_whole(what, steps, 0, "steps; 0: never")


def _start(what: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{what} must be a finite number, got {value!r}; leave it out, or try 2")
    return float(value)


def _learning_rate(value: Any, dtype: torch.dtype) -> float:
    # TensorBoard keeps the size of an update in float32.
    narrowest = min(torch.finfo(dtype), torch.finfo(torch.float32), key=lambda limits: limits.max)
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not (is_number and 0 < value <= narrowest.max):
        raise ValueError(
            f"learning rate must be a number > 0 and finite in {narrowest.dtype} "
            f"(≤ {narrowest.max:.4g}), got {value!r}; try 1.0"
        )
    return float(value)
