"""A training run from its configuration to its result: descend, compare, look, save."""

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from bp_torch.training.checkpoint import MODEL, About, save
from bp_torch.training.config import Config
from bp_torch.training.data import DATASETS, split
from bp_torch.training.descent import descend, require_finite_weights
from bp_torch.training.gradients import gradient_for
from bp_torch.training.model import build, describe
from bp_torch.training.observer import Observer, Progress
from bp_torch.training.result import Result
from bp_torch.training.run_folder import run_folder
from bp_torch.training.score import evaluate
from bp_torch.training.standardisation import Standardisation
from bp_torch.training.torch_defaults import torch_defaults


@torch_defaults()
def run(config: Config, *, watch: Callable[[Progress], None] = lambda progress: None) -> Result:
    """Train as asked, write the run's folder, and say what came of it.

    The folder runs/NAME then holds an event file for TensorBoard and model.safetensors. Ctrl-C
    (KeyboardInterrupt) ends the descent early; what was learnt until then is saved.

    Args:
        config: what to do.
        watch: called before every step.

    Raises:
        DivergedError: the cost or a weight stopped being finite; no model was written.
        FileExistsError: a run of that name exists or is going on; it is left as it is.
        ValueError: features or targets that cannot be learnt from, or layers that do not fit into
            memory.
    """
    dataset = DATASETS[config.dataset].read()
    raw = split(dataset)
    standardise = Standardisation.of(raw.x_train)
    generator = torch.Generator().manual_seed(config.seed)
    module = build(config, dataset, generator)
    gradient = "chain" if config.mistake else gradient_for(module, config.gradient)
    config = replace(config, gradient=gradient)
    data = standardise.prepare(raw, module)

    with run_folder(config.runs, config.name, otherwise=_folder_name(config)) as directory:
        with Observer(config, module, data, directory) as observer:
            started = time.perf_counter()
            interrupted = False
            try:
                for update in descend(
                    module,
                    data.x_train,
                    data.y_train,
                    cost=config.cost,
                    gradient=gradient,
                    mistake=config.mistake,
                    epochs=config.epochs,
                    batch_size=config.batch_size,
                    learning_rate=config.learning_rate,
                    generator=generator,
                ):
                    observer.before(update)
                    watch(observer.progress)
            except KeyboardInterrupt:
                interrupted = True
            seconds = time.perf_counter() - started
            require_finite_weights(module, observer.steps, config.learning_rate)
            observer.after()

        about = About(dataset.feature_names, dataset.class_names, config.hyperparameters())
        save(standardise.fold_into(module), directory / MODEL, about)
        return Result(
            config=config,
            directory=directory,
            model=directory / MODEL,
            module=describe(module),
            train=evaluate(module, data.x_train, data.y_train, config.cost),
            test=evaluate(module, data.x_test, data.y_test, config.cost),
            comparison=observer.comparison,
            steps=observer.steps,
            seconds=seconds,
            interrupted=interrupted,
        )


def _folder_name(config: Config) -> str:
    """Of a run without a name: what was learnt, and the mistake that was made."""
    if config.mistake is None:
        return config.dataset
    return f"{config.dataset}-{config.mistake}".replace("/", "-over-")
