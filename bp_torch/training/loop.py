"""A training run from its configuration to its result: descend, compare, show, save."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from bp_torch.dtypes import DTYPES
from bp_torch.neuron import Model, Network, Neuron
from bp_torch.training.checkpoint import About, save
from bp_torch.training.config import Config, resolve_device
from bp_torch.training.data import Dataset, Split, Standardisation, load_dataset, split
from bp_torch.training.descent import DivergedError, descend
from bp_torch.training.evaluate import Score, evaluate
from bp_torch.training.gradients import default_gradient, require_one_neuron
from bp_torch.training.observer import Difference, Observer, Progress


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    config: Config
    directory: Path
    model: Path
    module: str
    train: Score
    test: Score
    difference: Difference
    steps: int
    seconds: float
    """Spent in the descent, comparisons and looks included."""
    interrupted: bool


def train(config: Config, *, watch: Callable[[Progress], None] = lambda progress: None) -> Result:
    """Train as asked, write the run's folder, and say what came of it.

    The folder runs/NAME then holds an event file for TensorBoard and model.safetensors. Ctrl-C
    (KeyboardInterrupt) ends the descent early; what was learnt until then is saved.

    Args:
        config: what to do.
        watch: called before every step.

    Raises:
        DivergedError: the cost or a weight stopped being finite; no model was written.
        FileExistsError: a run of that name exists; it is left as it is.
        ValueError: features or targets that cannot be learnt from.
    """
    dataset = load_dataset(config.dataset)
    raw = split(dataset)
    standardise = Standardisation.of(raw.x_train)
    generator = torch.Generator().manual_seed(config.seed)
    module = build(config, dataset, generator)
    config = _with_gradient(config, module)
    data = _prepare(raw, standardise, module)
    directory = create_run_folder(config)

    with Observer(config, module, data, directory) as observer:
        started = time.perf_counter()
        interrupted = False
        try:
            for step in descend(
                module,
                data.x_train,
                data.y_train,
                cost=config.cost,
                gradient=config.gradient,
                epochs=config.epochs,
                batch_size=config.batch_size,
                learning_rate=config.learning_rate,
                generator=generator,
            ):
                observer.before(step)
                watch(observer.progress)
        except KeyboardInterrupt:
            interrupted = True
        seconds = time.perf_counter() - started
        _require_finite(module, observer.steps, config)
        observer.after()

    model = directory / "model.safetensors"
    about = About(
        feature_names=dataset.feature_names,
        class_names=dataset.class_names,
        training=config.hyperparameters(),
    )
    save(standardise.fold_into(module), model, about)
    return Result(
        config=config,
        directory=directory,
        model=model,
        module=_describe(module),
        train=evaluate(module, data.x_train, data.y_train, config.cost),
        test=evaluate(module, data.x_test, data.y_test, config.cost),
        difference=observer.difference,
        steps=observer.steps,
        seconds=seconds,
        interrupted=interrupted,
    )


def _with_gradient(config: Config, module: Model) -> Config:
    if config.gradient == "fused":
        require_one_neuron(module)
    if config.gradient == "auto":
        return replace(config, gradient=default_gradient(module))
    return config


def build(config: Config, dataset: Dataset, generator: torch.Generator) -> Model:
    """One neuron where two classes and no hidden layer allow it, a network otherwise.

    The weights are drawn on the CPU, so that they are the same on every device.
    """
    device, dtype = resolve_device(config.device), DTYPES[config.dtype]
    features = dataset.features.shape[1]
    outputs = dataset.targets.shape[1:]
    module: Model
    if outputs or config.layers:
        sizes = [features, *config.layers, *(outputs or [1])]
        module = Network(sizes, config.derivative, generator=generator)
    else:
        module = Neuron(features, config.derivative, generator=generator)
    return module.to(device=device, dtype=dtype)


def create_run_folder(config: Config) -> Path:
    """runs/NAME, newly made; without a name, the data set's and the first number that is free.

    Raises FileExistsError if a run of that name exists, NotADirectoryError if runs is a file.
    """
    if config.runs.exists() and not config.runs.is_dir():
        raise NotADirectoryError(
            f"runs must be a folder, got the file {config.runs}; choose another with runs (--runs)"
        )
    config.runs.mkdir(parents=True, exist_ok=True)
    if config.name is not None:
        directory = config.runs / config.name
        try:
            directory.mkdir()
        except FileExistsError:
            raise FileExistsError(
                f"a run named {config.name!r} exists at {directory} and is left as it is; "
                f"choose another name, or remove that folder first"
            ) from None
        return directory
    number = 1
    while True:
        directory = config.runs / f"{config.dataset}-{number}"
        try:
            directory.mkdir()
        except FileExistsError:
            number += 1
        else:
            return directory


def _prepare(raw: Split, standardise: Standardisation, module: Model) -> Split:
    """Standardised features and targets, in the module's dtype and on its device."""
    output = module.layers[-1].bias

    def features(x: Tensor) -> Tensor:
        return standardise(x).to(output)

    def targets(y: Tensor) -> Tensor:
        return y.reshape(len(y), *output.shape).to(output)

    return Split(
        x_train=features(raw.x_train),
        y_train=targets(raw.y_train),
        x_test=features(raw.x_test),
        y_test=targets(raw.y_test),
    )


def _require_finite(module: Model, step: int, config: Config) -> None:
    for name, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise DivergedError(f"the parameter {name}", step, config.learning_rate)


def _describe(module: Model) -> str:
    """ "one neuron, 31 parameters" or "a network of 64-30-10, 2260 parameters"."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if isinstance(module, Neuron):
        return f"one neuron, {parameters} parameters"
    sizes = [module.layers[0].weight.shape[-1], *(len(layer.bias) for layer in module.layers)]
    return f"a network of {'-'.join(map(str, sizes))}, {parameters} parameters"
