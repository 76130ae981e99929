"""A training run from its configuration to its result: read, descend, compare, look, save."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import cast

import torch

from bp_torch.neuron import Model
from bp_torch.table.cache import table_of
from bp_torch.table.memory import with_target
from bp_torch.table.source import Source
from bp_torch.table.table import Table
from bp_torch.training.conclusion import as_saved, exports, kept
from bp_torch.training.config import Config
from bp_torch.training.data import Data, Samples, balanced, name_of
from bp_torch.training.descent import Update, descend, require_finite_weights
from bp_torch.training.early_stopping import EarlyStopping
from bp_torch.training.gradients import GradientName, gradient_for, require_one_neuron
from bp_torch.training.model import build, describe
from bp_torch.training.observer import Observer, Progress
from bp_torch.training.prediction import source_of
from bp_torch.training.result import Result
from bp_torch.training.run_folder import run_folder
from bp_torch.training.score import evaluate, metrics
from bp_torch.training.signals import Signals
from bp_torch.training.torch_defaults import torch_defaults


def read(config: Config) -> Table:
    """The table that a run learns from; raises ValueError, in one line, for what is none."""
    source, target = _source(config, config.dataset, config.target)
    test = None if config.test is None else _source(config, config.test, None)[0]
    return table_of(
        source,
        config.choice(target),
        test=test,
        dtype="float64" if config.dtype == "float64" else "float32",
        cache=config.cache,
    )


@torch_defaults()
def run(
    config: Config,
    *,
    table: Table | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
    signals: Signals | None = None,
) -> Result:
    """Train as asked, write the run's folder, and say what came of it.

    The folder runs/NAME then holds an event file for TensorBoard and model.safetensors. Ctrl-C,
    SIGTERM and SIGHUP end the descent early; what was learnt until then is saved.

    Args:
        config: what to do.
        table: what to learn from, where it has been read already.
        watch: called before every step that is looked at, and after every stretch of others.
        signals: those that the caller hears already; None: they are heard as long as this goes on.

    Raises:
        DivergedError: the cost or a weight stopped being finite; no model was written.
        FileExistsError: a run of that name exists or is going on; it is left as it is.
        ValueError: a table that cannot be learnt from, or layers that do not fit into memory.
        Interrupted: a signal came before there was anything to save.
    """
    with ExitStack() as stack:
        signals = signals or stack.enter_context(Signals())
        started = time.perf_counter()
        table = read(config) if table is None else table
        reading = time.perf_counter() - started
        generator = torch.Generator().manual_seed(config.seed)
        module = build(config, table, generator)
        if table.train.weight is not None or config.class_weight:
            require_one_neuron(module, "sample and class weights are", "leave them out")
        gradient = "chain" if config.mistake else gradient_for(module, config.gradient)
        config = replace(config, gradient=gradient)
        data = Data.of(table, module)

        folder = run_folder(config.runs, config.name, otherwise=_folder_name(config, table))
        names = table.feature_names
        with folder as directory, Observer(config, module, data, directory, names) as observer:
            signals.wait()  # from here on there is something to lose
            started = time.perf_counter()
            stopped = _descend(config, module, data, generator, observer, signals, watch)
            seconds = time.perf_counter() - started
            require_finite_weights(module, observer.steps, config.learning_rate)
            # First of all, so that nothing that comes can take it along.
            model = as_saved(config, module, table)
            path, trouble = kept(model, directory)
            observer.after()
            parts = Data.of(table, model.module)
            scores = [evaluate(model.module, part, config.cost) for part in parts]
            measured = [metrics(model.module, part) for part in parts]
            for name, score, metric in zip(("training", "held_out"), scores, measured, strict=True):
                model.about.metrics[name] = asdict(score) | asdict(metric)
            if path is not None:
                path, trouble = kept(model, directory)
            exported, failed = exports(config, model, directory)
            return Result(
                config=config,
                directory=directory,
                path=path,
                model=model,
                exported=exported,
                description=describe(module),
                train=scores[0],
                test=scores[1],
                train_metrics=measured[0],
                test_metrics=measured[1],
                comparison=observer.comparison,
                notes=(*table.notes, *observer.trouble, *trouble, *failed),
                steps=observer.steps,
                seconds=seconds,
                reading=reading,
                signal=signals.came,
                stopped=stopped,
            )


def _descend(
    config: Config,
    module: Model,
    data: Data,
    generator: torch.Generator,
    observer: Observer,
    signals: Signals,
    watch: Callable[[Progress], None],
) -> bool:
    """Train to the last epoch, a signal, or early stopping; returns whether it was that."""
    stopping = EarlyStopping(config.early_stopping, module)
    events = descend(
        module,
        _weighed(config, data.train),
        cost=config.cost,
        gradient=cast(GradientName, config.gradient),
        mistake=config.mistake,
        epochs=config.epochs,
        batch_size=config.batch_size,
        rule=config.rule,
        generator=generator,
        next_seen=observer.next_seen,
    )
    with signals.noting_interrupts():
        for event in events:
            if isinstance(event, Update):
                observer.before(event)
            else:
                observer.passed(event)
                if event.ends_epoch and stopping.is_over(data.test, config.cost):
                    break
            watch(observer.progress)
            if signals.came:
                break
    stopping.keep_best()
    return stopping.over


def _source(config: Config, dataset: object, target: object) -> tuple[Source, str | None]:
    """Where the table comes from, and the name of its target."""
    source = source_of(dataset, config.columns)
    if target is None or isinstance(target, str):
        return source, target
    return with_target(source, target)


def _weighed(config: Config, samples: Samples) -> Samples:
    """The samples with the weights of their classes on top of their own."""
    if config.class_weight is None:
        return samples
    return replace(samples, weight=balanced(samples.y, samples.weight))


def _folder_name(config: Config, table: Table) -> str:
    """Of a run without a name: what was learnt, and the mistake that was made."""
    name = name_of(config.dataset) if table.name in ("table", "array") else table.name
    if config.mistake is None:
        return name
    return f"{name}-{config.mistake}".replace("/", "-over-")
