"""A training run from its configuration to its result: read, descend, compare, look, save."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import torch

from bp_torch.table.cache import table_of
from bp_torch.table.memory import with_target
from bp_torch.table.source import Source
from bp_torch.table.table import Table
from bp_torch.training.checkpoints import Checkpoints, Interval
from bp_torch.training.conclusion import as_saved, exports, kept
from bp_torch.training.config import Config
from bp_torch.training.course import Course
from bp_torch.training.data import Data, name_of
from bp_torch.training.descent import DivergedError, require_finite_weights
from bp_torch.training.gradients import gradient_for, require_one_neuron
from bp_torch.training.keeper import Keeper
from bp_torch.training.model import build, describe
from bp_torch.training.observer import Observer, Progress
from bp_torch.training.prediction import source_of
from bp_torch.training.processes import LostProcessError, Processes, processes, restarts
from bp_torch.training.result import Result
from bp_torch.training.resumption import beginning, left_by_crash, require_same
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
    goes_on: bool = False,
    table: Table | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
    signals: Signals | None = None,
) -> Result:
    """Train as asked, write the run's folder, and say what came of it.

    The folder runs/NAME then holds an event file for TensorBoard, model.safetensors, and the last
    checkpoints. Ctrl-C, SIGTERM and SIGHUP end the descent early, and so does a folder that cannot
    be written to; what was learnt until then is saved.

    Args:
        config: what to do.
        goes_on: with the run of that name, from its newest checkpoint; to the bit as if it had not
            been stopped.
        table: what to learn from, where it has been read already.
        watch: called after every step, or stretch of steps that nobody looks at.
        signals: those that the caller hears already; None: they are heard as long as this goes on.

    Raises:
        DivergedError: the cost or a weight stopped being finite; no model was written.
        FileExistsError: a run of that name exists or is going on; it is left as it is.
        FileNotFoundError: there is nothing to go on with.
        ValueError: a table that cannot be learnt from, or another one than that of the run that
            goes on; or layers that do not fit into memory.
        Interrupted: a signal came before there was anything to save.
    """
    with ExitStack() as stack:
        signals = signals or stack.enter_context(Signals())
        together = processes()
        started = time.perf_counter()
        table = _read_by_all(together, config) if table is None else table
        reading = time.perf_counter() - started
        _require_one_table(together, table)
        begun, asked = beginning(config, table), config
        module = build(config, table, torch.Generator().manual_seed(config.seed))
        if table.train.weight is not None or config.class_weight:
            require_one_neuron(module, "sample and class weights are", "leave them out")
        gradient = "chain" if config.mistake else gradient_for(module, config.gradient)
        config = replace(config, gradient=gradient)
        data = Data.of(table, module)

        def enter() -> tuple[Path, bool]:
            name, otherwise = config.name, _folder_name(config, table)
            again = goes_on
            if restarts() and not goes_on:
                name = left_by_crash(begun, config, otherwise)
                again = name is not None
                name = name or config.name
            folder = run_folder(config.runs, name, otherwise=otherwise, goes_on=again)
            return stack.enter_context(folder), again

        directory, goes_on = together.first_says(enter)
        checkpoints = Checkpoints(directory, Interval.of(config.checkpoint_every))
        state, notes = together.first_says(checkpoints.newest) if goes_on else ({}, [])
        notes += require_same(state, replace(asked, name=directory.name), table) if goes_on else []
        observer = None
        if together.is_first:
            names, seen = table.feature_names, state.get("observer")
            watching = Observer(config, module, data, directory, names, seen)
            observer = stack.enter_context(watching)
        course = Course(config, module, data, together, observer, state)
        if course.is_for_all and together.size > 1:
            notes.append(
                f"a batch is too small to be shared out among {together.size} processes, so the "
                f"first works for all; choose a larger batch-size, or sync-every"
            )
        if course.is_over:
            notes.append("the run had come to its end, and nothing was left to learn")
        keeper = None if observer is None else Keeper(course, observer, checkpoints, begun)
        signals.wait()  # from here on there is something to lose
        diverged: DivergedError | None = None
        try:
            _follow(course, together, observer, keeper, signals, watch)
            require_finite_weights(module, course.position.steps, config.learning_rate)
        except DivergedError as error:
            if not course.can_be_left:
                raise  # the others learn of it when they lose contact
            diverged = error
        if (diverged := together.first_says(lambda: diverged)) is not None:
            if together.is_first:
                checkpoints.clear()
            raise diverged

        def conclude() -> Result:
            assert observer is not None
            assert keeper is not None
            seconds = course.seconds
            course.stopping.keep_best()
            # First of all, so that nothing that comes can take it along.
            model = as_saved(config, module, table)
            path, elsewhere = kept(model, directory)
            observer.after()
            parts = Data.of(table, model.module)
            scores = [evaluate(model.module, part, config.cost) for part in parts]
            measured = [metrics(model.module, part) for part in parts]
            for name, score, metric in zip(("training", "held_out"), scores, measured, strict=True):
                model.about.metrics[name] = asdict(score) | asdict(metric)
            if path is not None:
                path, elsewhere = kept(model, directory)
            exported, failed = exports(config, model, directory)
            what_went_wrong = (*failed, *observer.trouble, *elsewhere)
            return Result(
                config=Config(),  # each process has its own
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
                notes=(*table.notes, *notes, *what_went_wrong),
                steps=observer.steps,
                seconds=seconds,
                reading=reading,
                checkpoint=checkpoints.last,
                trouble=tuple(keeper.trouble),
                signal=signals.came,
                stopped=course.stopping.over,
            )

        return replace(together.first_says(conclude), config=config)


def _follow(
    course: Course,
    together: Processes,
    observer: Observer | None,
    keeper: Keeper | None,
    signals: Signals,
    watch: Callable[[Progress], None],
) -> None:
    """Follow the course to its end, or until one of the processes is to stop."""
    together.wishes = lambda: bool(signals.came or (keeper and keeper.trouble))
    try:
        with signals.noting_interrupts():
            for _ in course:
                if observer is not None and keeper is not None:
                    watch(observer.progress)
                    keeper.keep_if_due()
                if together.stopping:
                    break
            if keeper is not None:
                keeper.keep()
    except LostProcessError as error:
        if keeper is None:
            raise
        if course.can_be_left:
            keeper.keep()
        raise LostProcessError(f"{error}; {keeper.way_on}") from None


def _read_by_all(together: Processes, config: Config) -> Table:
    """The table, once every process has it; where one has not, all raise what the first of those
    has to say."""
    table, mine = None, None
    try:
        table = read(config)
    except (ValueError, OSError) as error:
        mine = error
    said = together.all_say(None if mine is None else str(mine))
    if mine is not None and said[0] == str(mine):
        raise mine
    for rank, each in enumerate(said):
        if each is not None:
            raise ValueError(f"process {rank}: {each}")
    assert table is not None
    return table


def _require_one_table(together: Processes, table: Table) -> None:
    """Raise ValueError unless all processes read the same."""
    for rank, fingerprint in enumerate(together.all_say(table.fingerprint)):
        if fingerprint != table.fingerprint:
            raise ValueError(
                f"process {together.rank} has read another table than process {rank}; give each of "
                f"them the same data, all of it, of which they share out the work"
            )


def _source(config: Config, dataset: object, target: object) -> tuple[Source, str | None]:
    """Where the table comes from, and the name of its target."""
    source = source_of(dataset, config.columns)
    if target is None or isinstance(target, str):
        return source, target
    return with_target(source, target)


def _folder_name(config: Config, table: Table) -> str:
    """Of a run without a name: what was learnt, and the mistake that was made."""
    name = name_of(config.dataset) if table.name in ("table", "array") else table.name
    if config.mistake is None:
        return name
    return f"{name}-{config.mistake}".replace("/", "-over-")
