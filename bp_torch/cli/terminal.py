"""What a training run shows in the terminal: a progress bar, and a table at the end."""

import os
import shlex
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import progress as bar
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from bp_torch.cli.status import DIVERGED, SIGNALLED
from bp_torch.cli.sweep import swept
from bp_torch.mistakes import MISTAKES
from bp_torch.neuron import Neuron
from bp_torch.table.table import Table
from bp_torch.training.config import Config
from bp_torch.training.data import name_of
from bp_torch.training.descent import DivergedError
from bp_torch.training.loop import run
from bp_torch.training.observer import Progress
from bp_torch.training.result import Result
from bp_torch.training.signals import Signals

REFRESH_SECONDS = 0.1
WIDTH = 80

MOST_WEIGHTS = 8
MOST_SHOWN = 10
"""Classes in a table of confusions that fits into a line."""


class ProgressBar:
    """A bar with the training part's cost and accuracy; `show` is cheap enough for every step.

    On a terminal only: a log file would fill up with it.
    """

    def __init__(self) -> None:
        # Drawn from `show` alone: a thread of its own would contend with training.
        self._progress = bar.Progress(
            bar.TextColumn("training"),
            bar.BarColumn(),
            bar.TaskProgressColumn(),
            bar.TextColumn("{task.fields[speed]}"),
            bar.TextColumn("{task.fields[score]}"),
            bar.TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("training", score="", speed="")
        self._started = 0.0
        self._next_refresh = 0.0

    def __enter__(self) -> "ProgressBar":
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress.live.is_started:
            self._progress.stop()

    def show(self, progress: Progress) -> None:
        """Draw the state of the run, at most ten times a second."""
        if not self._progress.live.is_started or time.monotonic() < self._next_refresh:
            return
        self._next_refresh = time.monotonic() + REFRESH_SECONDS
        self._started = self._started or time.monotonic()
        passed = time.monotonic() - self._started
        speed = f"{_short(progress.samples / passed)} rows/s" if passed > 0.5 else ""
        score = progress.score
        text = f"cost {score.cost:.4f} acc {score.accuracy:.1%}" if score else ""
        self._progress.update(
            self._task,
            completed=progress.step,
            total=progress.steps,
            score=text,
            speed=speed,
            refresh=True,
        )


def _short(number: float) -> str:
    """ "12M", "340k"."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def print_result(result: Result) -> None:
    """The closing tables: how well it does, what it was learnt from, and where all is."""
    config = result.config
    form = "" if config.derivative == "textbook" else f" ({config.derivative})"
    what = (
        f"{name_of(config.dataset)}: {result.description}, {config.cost} cost, gradient "
        f"{config.gradient}{form}"
    )
    print(textwrap.fill(what, WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    if config.mistake is not None:
        print(f"WITH A MISTAKE, on purpose: {config.mistake}")
    classes = result.model.classes
    if len(classes) == 2:
        print(_wrapped(f"{result.model.about.target.name}: {classes[1]} is 1, {classes[0]} is 0"))
    for note in result.notes:
        print(_wrapped(f"note: {note}"))
    print(_ended(result))
    _print_scores(result)
    _print_confusion(result)
    _print_weights(result)
    print(_comparison(result))
    if result.path is not None:
        print(f"model        {result.path}")
    for path in result.exported:
        print(f"             {path}")
    if result.unfinished and result.checkpoint is not None:
        print(f"go on with   {_resume(result)}")
    if config.log_every != 0:
        print(f"TensorBoard  {_here('tensorboard')} --logdir {shlex.quote(os.fspath(config.runs))}")


def print_sweep(configs: Sequence[Config], table: Table, signals: Signals) -> int:
    """Run after run, and a line for each; returns the status."""
    options = swept(configs)
    shown = RichTable(*(name.replace("_", "-") for name in options), box=None, pad_edge=False)
    for column in ("cost held out", "accuracy", "AUC", "run"):
        shown.add_column(column, justify="left" if column == "run" else "right")
    best, ended_by = float("inf"), None
    rows = []
    for config in configs:
        values = [_value(getattr(config, name)) for name in options]
        try:
            with ProgressBar() as bar:
                result = run(config, table=table, watch=bar.show, signals=signals)
        except DivergedError:
            rows.append((float("inf"), [*values, "diverged", "", "", ""]))
            continue
        auc = result.test_metrics.auc
        scores = [f"{result.test.cost:.5f}", f"{result.test.accuracy:.4f}"]
        scores += ["" if auc is None else f"{auc:.4f}", result.directory.name]
        rows.append((result.test.cost, [*values, *scores]))
        best, ended_by = min(best, result.test.cost), result.signal
        if ended_by is not None:
            break
    for cost, cells in rows:
        shown.add_row(*cells, style="bold" if cost == best else None)
    Console(width=WIDTH, highlight=False).print(shown)
    runs = shlex.quote(os.fspath(configs[0].runs))
    print(f"TensorBoard  {_here('tensorboard')} --logdir {runs}   (HParams: all runs side by side)")
    if ended_by is not None:
        return SIGNALLED + ended_by
    return 0 if best < float("inf") else DIVERGED


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _ended(result: Result) -> str:
    """ "trained after 4500 steps in 0.3 s"."""
    ended = "trained"
    if result.signal is not None:
        ended = f"interrupted by {signal.Signals(result.signal).name}"
    elif result.trouble:
        ended = "stopped"
    elif result.stopped:
        ended = "stopped early"
    read = f", after {result.reading:.1f} s to read the data" if result.reading >= 0.1 else ""
    return f"{ended} after {result.steps} steps in {result.seconds:.1f} s{read}"


def _print_scores(result: Result) -> None:
    table = RichTable("", "training", "held out", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    scores = (result.train, result.test)
    measured = (result.train_metrics, result.test_metrics)
    table.add_row("samples", *(str(score.samples) for score in scores))
    table.add_row("cost", *(f"{score.cost:.5f}" for score in scores))
    if result.config.cost != "cross-entropy" or result.model.about.target.outputs:
        table.add_row("log loss", *(f"{metric.log_loss:.5f}" for metric in measured))
    table.add_row("Brier score", *(f"{metric.brier:.5f}" for metric in measured))
    if any(metric.auc is not None for metric in measured):
        table.add_row("AUC", *("" if m.auc is None else f"{m.auc:.4f}" for m in measured))
    if result.model.classes:
        table.add_row("accuracy", *(f"{score.accuracy:.4f}" for score in scores))
    Console(width=WIDTH, highlight=False).print(table)
    for score, metric, part in zip(scores, measured, ("training", "held out"), strict=True):
        if metric.samples < score.samples:
            print(f"  ({part}: all but cost and accuracy over {metric.samples:,} of the samples)")


def _print_confusion(result: Result) -> None:
    """Which classes are taken for which, of what is held out."""
    counts, classes = result.test_metrics.confusion, result.model.classes
    if counts is None or not 2 <= len(classes) <= MOST_SHOWN:
        return
    short = [name if len(name) <= 12 else f"{name[:11]}…" for name in classes]
    table = RichTable("held out, taken for", *short, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in zip(short, counts, strict=True):
        table.add_row(f"  {name}", *map(str, row))
    Console(width=WIDTH, highlight=False).print(table)


def _print_weights(result: Result) -> None:
    """What weighs most, where it is a single neuron's weights."""
    module = result.model.module
    if not isinstance(module, Neuron):
        return
    weights = sorted(
        zip(result.model.feature_names, module.weight.tolist(), strict=True),
        key=lambda pair: -abs(pair[1]),
    )
    table = RichTable("largest weights", "", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, weight in weights[:MOST_WEIGHTS]:
        short = name if len(name) <= 50 else f"{name[:49]}…"
        table.add_row(f"  {escape(short)}", f"{weight:+.4g}")
    Console(width=WIDTH, highlight=False).print(table)
    if (rest := len(weights) - MOST_WEIGHTS) > 0:
        zeros = sum(1 for _, weight in weights if weight == 0)
        also = f", {zeros} of all are 0" if zeros else ""
        print(f"  and {rest} more{also}")


def _comparison(result: Result) -> str:
    """Whether the gradient was right, and how far it was from the truth."""
    seen, mistake = result.comparison, result.config.mistake
    if not seen.steps:
        return "gradient     not compared"
    if seen.right:
        verdict = f"right in all {seen.steps} steps compared"
    elif seen.wrong == seen.steps:
        verdict = f"WRONG in all {seen.steps} steps compared"
    else:
        verdict = f"WRONG in {seen.wrong} of {seen.steps} steps compared"
    lines = [
        f"gradient     by hand: {verdict}",
        f"             at most {_units(seen.by_hand)} rounding units from the truth, autograd "
        f"{_units(seen.autograd)}",
    ]
    if mistake is not None:
        said = f"too small to be seen in {result.config.dtype}: " if seen.right else ""
        lines.append(f"             {said}{MISTAKES[mistake].sentence}")
    return "\n".join(lines)


def _units(value: float) -> str:
    """ "0.27", "12,000,000"."""
    return f"{value:.2g}" if value < 100 else f"{float(f'{value:.2g}'):,.0f}"


def _resume(result: Result) -> str:
    """What goes on with a run."""
    runs = os.fspath(result.directory.parent)
    elsewhere = [] if runs == os.fspath(Config.runs) else ["--runs", runs]
    words = shlex.join(["train", "--resume", result.directory.name, *elsewhere])
    if (processes := os.environ.get("LOCAL_WORLD_SIZE", "1")) == "1":
        return f"{_here('bp-torch')} {words}"
    return f"{_here('torchrun')} --nproc-per-node {processes} -m bp_torch {words}"


def _here(program: str) -> str:
    """The command as it can be typed here: of this environment, whether it is activated or not."""
    if shutil.which(program):
        return program
    beside = Path(sys.executable).with_name(program)
    if not beside.exists():
        return program
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
