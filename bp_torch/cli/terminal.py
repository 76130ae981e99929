"""What a training run shows in the terminal: a progress bar, and a table at the end."""

import os
import shlex
import shutil
import sys
import textwrap
import time
from pathlib import Path

from rich import progress as bar
from rich.console import Console
from rich.table import Table

from bp_torch.mistakes import MISTAKES
from bp_torch.training.observer import Progress
from bp_torch.training.result import Result

REFRESH_SECONDS = 0.1
WIDTH = 80


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
            bar.TextColumn("{task.fields[score]}"),
            bar.TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("training", score="")
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
        score = progress.score
        text = f"cost {score.cost:.5f}  accuracy {score.accuracy:.1%}" if score else ""
        self._progress.update(
            self._task, completed=progress.step, total=progress.steps, score=text, refresh=True
        )


def print_result(result: Result) -> None:
    """The closing table."""
    config = result.config
    ended = "interrupted" if result.interrupted else "trained"
    form = "" if config.derivative == "textbook" else f" ({config.derivative})"
    what = (
        f"{config.dataset}: {result.module}, {config.cost} cost, gradient {config.gradient}{form}"
    )
    print(textwrap.fill(what, WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    if config.mistake is not None:
        print(f"WITH A MISTAKE, on purpose: {config.mistake}")
    print(f"{ended} after {result.steps} steps in {result.seconds:.1f} s")
    table = Table("", "training", "held out", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    parts = (result.train, result.test)
    table.add_row("samples", *(str(part.samples) for part in parts))
    table.add_row("cost", *(f"{part.cost:.5f}" for part in parts))
    table.add_row("accuracy", *(f"{part.accuracy:.4f}" for part in parts))
    Console(width=WIDTH, highlight=False).print(table)
    print(_comparison(result))
    print(f"model        {result.model}")
    if config.log_every != 0:
        print(f"TensorBoard  {_tensorboard()} --logdir {shlex.quote(os.fspath(config.runs))}")


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


def _tensorboard() -> str:
    """The command as it can be typed here: of this environment, whether it is activated or not."""
    if shutil.which("tensorboard"):
        return "tensorboard"
    beside = Path(sys.executable).with_name("tensorboard")
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
