"""What a training run is asked to do, checked before anything is read or written."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from bp_torch import checks
from bp_torch.costs import COSTS
from bp_torch.dtypes import DTYPES
from bp_torch.forms import FORMS, Derivative
from bp_torch.mistakes import MISTAKES, MistakeName
from bp_torch.table.choice import Choice, Missing
from bp_torch.training.checkpoints import Interval
from bp_torch.training.data import BUNDLED_TARGET, DATASETS, name_of
from bp_torch.training.device import DeviceName, resolve_device
from bp_torch.training.gradients import GRADIENTS, GradientChoice
from bp_torch.training.run_folder import require_folder_name, require_runs
from bp_torch.training.steps import Rule, Schedule

CostName = Literal["quadratic", "cross-entropy"]
DtypeName = Literal["float64", "float32", "bfloat16", "float16"]

STEPS_PER_LOOK = 300
"""By default. A look costs as much as 5 to 25 steps that are made one by one, so looking takes less
than 10% of their time; of steps in long stretches, which are thirty times faster, it takes more."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training run. Raises ValueError, naming what was expected, for a value out of range."""

    dataset: Any = "breast-cancer"
    """The table: a bundled set's name, a path (a CSV or Parquet file, a folder or a pattern of
    them), a pandas or polars frame, an Arrow table, an array or a tensor."""
    target: Any = None
    """The column that is learnt, or its values; None: of a bundled set its class."""
    features: tuple[str, ...] = ()
    """The columns to learn from; none named: all others."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    one_hot: tuple[str, ...] = ()
    """Columns of numbers that name categories; texts do anyway."""
    columns: tuple[str, ...] = ()
    """The names of all columns, of a CSV file without a line of names."""
    missing: Missing | None = None
    """What becomes of rows with missing values: "drop", or "mean" fills it in; None: an error."""
    sample_weight: str | None = None
    """The column that says how much each row counts, for one neuron."""
    class_weight: Literal["balanced"] | None = None
    """"balanced": both classes count alike, however many rows they have; for one neuron."""
    positive: str | None = None
    """Which of a target's two values is 1; None: the later, by size or by letters."""
    above: float | None = None
    """Of a target of numbers: 1 where it is larger than this, 0 elsewhere."""
    test_size: float = 0.2
    """The share of every class that is held out."""
    test: Any = None
    """Other data to hold out, of any kind that `dataset` may be."""
    cache: str | os.PathLike[str] | None = None
    """The folder for large tables once they are read; "off": none; None: the user's own."""
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
    momentum: float = 0.0
    """μ in v ← μv + ∂C/∂w, w ← w − νv."""
    l2: float = 0.0
    """λ in C + λ/2 Σw², over all weights and no bias."""
    l1: float = 0.0
    """λ in C + λ Σ|w|, which makes weights 0."""
    schedule: Schedule = "constant"
    """Of the learning rate over the epochs: constant, linear to a hundredth, or cosine to 0."""
    early_stopping: int | None = None
    """Stop when the cost over what is held out has not fallen for so many epochs, and keep the
    weights of its lowest; None: all epochs."""
    sync_every: int | None = None
    """Where several processes train together: steps that each makes on its own part of every batch
    before all take the mean of their weights, for a network that is slow. None: every step is that
    of the whole batch, whoever computed it."""
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
    checkpoint_every: int | str = "30s"
    """How often all that a run needs to go on is kept: a number of steps, or a time, as "30s" or
    "5m"; besides, at its end. 0: never."""
    onnx: bool = False
    """Write the model as model.onnx as well (the extra onnx)."""
    pt2: bool = False
    """Write the model as model.pt2 as well, with torch.export."""
    name: str | None = None
    """Of the run's folder; None: the data set's with the next free number."""
    runs: str | os.PathLike[str] = "runs"
    """The folder that holds the runs."""

    def __post_init__(self) -> None:
        self._require_data()
        if self.positive is not None:
            self._keep("positive", str(self.positive))
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
        self._keep("momentum", _share("momentum", self.momentum, 1.0))
        for name in ("l2", "l1"):
            self._keep(name, _share(name, getattr(self, name), math.inf))
        checks.require_one_of("schedule", self.schedule, dict.fromkeys(get_args(Schedule)))
        for name in filter(lambda _: self.onnx, ("onnx", "onnxruntime")):
            if find_spec(name) is None:
                raise ValueError(f"onnx needs {name}; pip install 'bp_torch[onnx]'")
        if self.sync_every is not None:
            steps = checks.require_whole("sync-every", self.sync_every, 1, "steps")
            self._keep("sync_every", steps)
        if self.early_stopping is not None:
            patience = checks.require_whole("early stopping", self.early_stopping, 1, "epochs")
            self._keep("early_stopping", patience)
        Interval.of(self.checkpoint_every)
        if self.name is not None:
            require_folder_name(self.name)
        require_runs(self.runs)
        resolve_device(self.device)

    def _require_data(self) -> None:
        known = isinstance(self.dataset, str) and self.dataset in DATASETS
        if isinstance(self.dataset, str) and not known and not _may_be_path(self.dataset):
            raise ValueError(
                f"data set must be one of {', '.join(DATASETS)}, or a file with a table; there is "
                f"no file {self.dataset!r}"
            )
        if known and self.target is None:
            self._keep("target", BUNDLED_TARGET)
        for name in ("features", "drop", "one_hot", "columns"):
            self._keep(name, _names(name.replace("_", "-"), getattr(self, name)))
        missing, weights = dict.fromkeys(get_args(Missing)), {"balanced": None}
        if self.missing is not None:
            checks.require_one_of("missing", self.missing, missing)
        if self.class_weight is not None:
            checks.require_one_of("class-weight", self.class_weight, weights)
        self._keep("above", _start("above", self.above))
        size = self.test_size
        if isinstance(size, bool) or not isinstance(size, Real) or not 0 < size < 1:
            raise ValueError(f"test-size must be a share between 0 and 1, got {size!r}; try 0.2")
        self._keep("test_size", float(size))
        weighted = self.sample_weight is not None or self.class_weight is not None
        if weighted and (self.layers or self.mistake or self.gradient not in ("auto", "fused")):
            raise ValueError(
                "sample and class weights are for one neuron and the fused gradient; leave out "
                "layers, mistake and gradient, or the weights"
            )

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

    def choice(self, target: str | None) -> Choice:
        """What is asked of the table."""
        return Choice(
            target=target,
            features=self.features,
            drop=self.drop,
            one_hot=self.one_hot,
            missing=self.missing,
            sample_weight=self.sample_weight,
            positive=self.positive,
            above=self.above,
            test_size=self.test_size,
        )

    @property
    def rule(self) -> Rule:
        """How a gradient becomes a step."""
        return Rule(
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            l2=self.l2,
            l1=self.l1,
            schedule=self.schedule,
        )

    def hyperparameters(self) -> dict[str, str | int | float]:
        """What shaped the result, as TensorBoard and the checkpoint name it."""
        return {  # in the order in which TensorBoard shows them
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "layers": ",".join(map(str, self.layers)),
            "mistake": self.mistake or "none",
            "cost": self.cost,
            "dataset": name_of(self.dataset),
            "target": self.target if isinstance(self.target, str) else "array",
            "gradient": self.gradient,
            "derivative": self.derivative,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "dtype": self.dtype,
            "momentum": self.momentum,
            "l2": self.l2,
            "l1": self.l1,
            "schedule": self.schedule,
            "early_stopping": self.early_stopping or 0,
            "class_weight": self.class_weight or "none",
            "sync_every": self.sync_every or 1,
            "init_weight": "random" if self.init_weight is None else self.init_weight,
            "init_bias": 0.0 if self.init_bias is None else self.init_bias,
        }


def _may_be_path(text: str) -> bool:
    """Whether it is one, or looks like one: a path that is not there is told by who reads it."""
    return any(mark in text for mark in "./\\*") or Path(text).exists()


def _names(what: str, names: Any) -> tuple[str, ...]:
    if isinstance(names, str):
        return (names,)
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{what} must be names of columns, as ('age', 'sex'), got {names!r}")
    return tuple(names)


def _share(what: str, value: Any, below: float) -> float:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not (is_number and 0 <= value < below):
        limit = f"a number from 0 to below {below:g}" if below < math.inf else "a number ≥ 0"
        raise ValueError(f"{what} must be {limit}, got {value!r}; 0 leaves it out")
    return float(value)


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
