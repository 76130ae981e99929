"""A training run from its configuration to its result: read, descend, compare, look, save."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from bp_torch.table.table import Table
from bp_torch.training.checkpoints import Checkpoints, Interval, State
from bp_torch.training.conclusion import conclude
from bp_torch.training.config import Config
from bp_torch.training.course import Course
from bp_torch.training.data import Data, name_of
from bp_torch.training.descent import DivergedError
from bp_torch.training.gradients import gradient_for, require_one_neuron
from bp_torch.training.keeper import Keeper
from bp_torch.training.model import build
from bp_torch.training.observer import Observer, Progress
from bp_torch.training.processes import (
    FirstFailedError,
    LostProcessError,
    Processes,
    processes,
    restarts,
)
from bp_torch.training.reading import read_by_all
from bp_torch.training.result import Result
from bp_torch.training.resumption import (
    beginning,
    left_by_crash,
    require_one_config,
    require_same,
)
from bp_torch.training.run_folder import run_folder
from bp_torch.training.signals import Signals
from bp_torch.training.torch_defaults import torch_defaults


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
        stack.callback(together.close)
        started = time.perf_counter()
        table = read_by_all(together, config) if table is None else table
        reading = time.perf_counter() - started
        begun, asked = beginning(config, table, together), config
        require_one_config(together, config, begun)
        module = build(config, table, torch.Generator().manual_seed(config.seed))
        if table.train.weight is not None or config.class_weight:
            require_one_neuron(module, "sample and class weights are", "leave them out")
        gradient = "chain" if config.mistake else gradient_for(module, config.gradient)
        config = replace(config, gradient=gradient)
        data = Data.of(table, module)

        place = _place(asked, table, begun, goes_on)
        directory, goes_on = together.first_says(lambda: stack.enter_context(place))
        checkpoints = Checkpoints(directory, Interval.of(config.checkpoint_every))
        state, notes = together.first_says(checkpoints.newest) if goes_on else ({}, [])
        if goes_on:
            notes += require_same(state, begun, replace(asked, name=directory.name))
        observer = None
        if together.is_first:
            names, seen = table.feature_names, state.get("observer")
            watching = Observer(config, module, data, directory, names, seen)
            observer = stack.enter_context(watching)
            notes += observer.notes
        course = Course(config, module, data, together, observer, state)
        keeper = None if observer is None else Keeper(course, observer, checkpoints, begun)
        notes += course.notes
        signals.wait()  # from here on there is something to lose
        _descend(course, together, observer, keeper, signals, watch)
        result = together.first_says(
            lambda: conclude(config, table, course, observer, keeper, directory, notes)
        )
        came = signals.came
        if together.stopping and not result.trouble:
            came = came or signal.SIGTERM  # which came to another process
        return replace(result, config=config, reading=reading, signal=came)


@contextmanager
def _place(
    config: Config, table: Table, begun: State, goes_on: bool
) -> Iterator[tuple[Path, bool]]:
    """The run's folder, and whether a run in it goes on: also one that these processes had begun
    when one of them died."""
    name, otherwise = config.name, _folder_name(config, table)
    if restarts() and not goes_on:
        left = left_by_crash(begun, config, otherwise)
        name, goes_on = left or name, left is not None
    with run_folder(config.runs, name, otherwise=otherwise, goes_on=goes_on) as directory:
        yield directory, goes_on


def _descend(
    course: Course,
    together: Processes,
    observer: Observer | None,
    keeper: Keeper | None,
    signals: Signals,
    watch: Callable[[Progress], None],
) -> None:
    """Follow the course to its end; where it diverges, it does so for all processes."""
    diverged: DivergedError | None = None
    try:
        _follow(course, together, observer, keeper, signals, watch)
        course.require_finite()
    except DivergedError as error:
        if not course.can_be_left:
            raise  # the others learn of it when they lose contact
        diverged = error
    if (diverged := together.first_says(lambda: diverged)) is not None:
        if keeper is not None:
            keeper.forget()
        if not together.is_first:
            raise FirstFailedError(str(diverged))
        raise diverged


def _follow(
    course: Course,
    together: Processes,
    observer: Observer | None,
    keeper: Keeper | None,
    signals: Signals,
    watch: Callable[[Progress], None],
) -> None:
    """Follow the course until it ends, or one of the processes is to stop."""
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


def _folder_name(config: Config, table: Table) -> str:
    """Of a run without a name: what was learnt, and the mistake that was made."""
    name = name_of(config.dataset) if table.name in ("table", "array") else table.name
    if config.mistake is None:
        return name
    return f"{name}-{config.mistake}".replace("/", "-over-")
