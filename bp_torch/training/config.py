"""What a training run is asked to do, checked before anything is read or written."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from bp_torch.costs import COSTS
from bp_torch.dtypes import DTYPES
from bp_torch.forms import FORMS, Derivative
from bp_torch.training.data import DATASETS
from bp_torch.training.gradients import GRADIENTS


@dataclass(frozen=True, kw_only=True)
class Config:
    """One training run. Raises ValueError, naming what was expected, for a value out of range."""

    dataset: str = "breast-cancer"
    layers: tuple[int, ...] = ()
    """Neurons in each hidden layer; none: the outputs see the features directly."""
    cost: str = "quadratic"
    gradient: str = "auto"
    """A name in `GRADIENTS`; "auto": fused for one neuron, manual for a network."""
    derivative: Derivative = "textbook"
    """The form of σ′ in the model: "textbook" or "accurate"."""
    epochs: int = 300
    batch_size: int = 32
    """Samples per step; 0: all of them."""
    learning_rate: float = 1.0
    device: str = "auto"
    dtype: str = "float32"
    seed: int = 0
    """Of the initial weights and the order of the samples; the held-out part does not depend on
    it, so that runs can be compared."""
    check_every: int | None = None
    """Steps between two comparisons with autograd; None: once per epoch, 0: never."""
    log_every: int | None = None
    """Steps between two looks from TensorBoard; None: every 300, but at most once per epoch, since
    a look reads all the data; 0: never."""
    name: str | None = None
    """Of the run's folder; None: the data set's with the next free number."""
    runs: Path = Path("runs")

    def __post_init__(self) -> None:
        _one_of("data set", self.dataset, DATASETS)
        _one_of("cost", self.cost, COSTS)
        _one_of("gradient", self.gradient, ("auto", *GRADIENTS))
        _one_of("derivative", self.derivative, FORMS)
        if self.gradient == "autograd" and self.derivative != "textbook":
            raise ValueError(
                f"gradient autograd is torch's own derivative and has no {self.derivative!r} form; "
                f"choose gradient manual or chain"
            )
        _one_of("dtype", self.dtype, DTYPES)
        for size in self.layers:
            _at_least("layers", size, 1, "neurons in each hidden layer")
        _at_least("epochs", self.epochs, 1, "passes over the data")
        _at_least("batch size", self.batch_size, 0, "samples per step (0: all of them)")
        _at_least("seed", self.seed, 0, "a seed")
        if self.check_every is not None:
            _at_least("check-every", self.check_every, 0, "steps between checks (0: never)")
        if self.log_every is not None:
            _at_least("log-every", self.log_every, 0, "steps between looks (0: never)")
        largest = torch.finfo(DTYPES[self.dtype]).max
        if not 0 < self.learning_rate <= largest:
            raise ValueError(
                f"learning rate must be a number > 0 and finite in {self.dtype} "
                f"(≤ {largest:.4g}), got {self.learning_rate}; try 1.0"
            )
        if self.name is not None and (
            self.name in ("", ".", "..") or Path(self.name).name != self.name
        ):
            raise ValueError(
                f"name must be a plain folder name, got {self.name!r}; "
                f"the folder that holds the runs is chosen with runs (--runs)"
            )
        resolve_device(self.device)

    def hyperparameters(self) -> dict[str, str | int | float]:
        """What shaped the result, as TensorBoard and the checkpoint name it."""
        return {
            "dataset": self.dataset,
            "layers": ",".join(map(str, self.layers)),
            "cost": self.cost,
            "gradient": self.gradient,
            "derivative": self.derivative,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "dtype": self.dtype,
            "seed": self.seed,
        }


def resolve_device(device: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" stands for on this machine.

    Raises ValueError for another word, and for "cuda" where there is none.
    """
    _one_of("device", device, ("auto", "cpu", "cuda"))
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "device cuda was asked for, but torch finds no CUDA device here; "
            "use cpu or auto, or install a CUDA build of torch"
        )
    return torch.device(device)


def _one_of(what: str, value: str, known: Iterable[str]) -> None:
    if value not in (names := tuple(known)):
        raise ValueError(f"{what} must be one of {', '.join(names)}; got {value!r}")


def _at_least(what: str, value: int, least: int, meaning: str) -> None:
    if value < least:
        raise ValueError(f"{what} must be at least {least} ({meaning}), got {value}")
