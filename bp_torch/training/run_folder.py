"""A run's folder: its name belongs to one run at a time, and for good once there is a model."""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bp_torch.training.checkpoints import found
from bp_torch.training.durable import UNFINISHED

if TYPE_CHECKING:
    from filelock import BaseFileLock

MODEL = "model.safetensors"
"""The trained model, in a run's folder."""
LOCK = ".running"
LEFT_BEHIND = ("events.out.tfevents.*.bp_torch", f"*{UNFINISHED}")
"""By a run that failed, or was killed before it had a checkpoint."""

LONGEST_NAME = 255
"""Bytes of a file's name, on all common file systems."""

UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control and format characters, halves of characters, and ends of lines, as Unicode sorts them."""


def require_folder_name(name: str) -> None:
    """Raise ValueError for what is no plain folder name, or one that a terminal could not show."""
    if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
        raise ValueError(
            f"name must be a plain folder name, got {name!r}; "
            f"the folder that holds the runs is chosen with runs (--runs)"
        )
    _require_printable("name", name)
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise ValueError(
            f"name must be at most {LONGEST_NAME} bytes long, got {len(os.fsencode(name))}"
        )


def require_runs(runs: str | os.PathLike[str]) -> None:
    """Raise ValueError for what cannot be the path of a folder, or could not be shown."""
    if not isinstance(runs, str | os.PathLike) or not (path := os.fspath(runs)):
        raise ValueError(f"runs must be the path of a folder, as runs or '.', got {runs!r}")
    _require_printable("runs", path)


@contextmanager
def run_folder(
    runs: str | os.PathLike[str], name: str | None, *, otherwise: str, goes_on: bool = False
) -> Iterator[Path]:
    """The folder runs/NAME, for one run alone as long as it goes on.

    A run that ends without a model leaves its name free: what TensorBoard shows of it stays until a
    run of the same name begins, and a folder without even that is removed. A run that was killed is
    such a one as long as it had no checkpoint: the operating system lets go of a lock when its
    process ends, however it ends.

    Args:
        name: None: `otherwise` with the first number that no folder has.
        goes_on: the folder is that of a run which stopped, and holds what that has left.

    Raises:
        FileExistsError: the folder holds a model, or anything else that no failed run leaves, or a
            run of that name is going on. It is left as it is.
        NotADirectoryError: runs is a file.
        FileNotFoundError: there is no run that could go on.
    """
    parent = Path(runs)
    if parent.exists() and not parent.is_dir():
        raise NotADirectoryError(
            f"runs must be a folder, got the file {parent}; choose another with runs (--runs)"
        )
    if goes_on and name is not None:
        directory, lock = _existing(parent, name)
    else:
        parent.mkdir(parents=True, exist_ok=True)
        directory, lock = _numbered(parent, otherwise) if name is None else _named(parent, name)
    try:
        yield directory
    finally:
        _let_go(directory, lock)


def _numbered(runs: Path, name: str) -> tuple[Path, "BaseFileLock"]:
    number = 1
    while True:
        directory = runs / f"{name}-{number}"
        with suppress(FileExistsError):
            directory.mkdir()
            if lock := _lock(directory):
                return directory, lock
        number += 1


def _existing(runs: Path, name: str) -> tuple[Path, "BaseFileLock"]:
    directory = require_run(runs, name)
    return directory, _held(directory)


def require_run(runs: str | os.PathLike[str], name: str) -> Path:
    """The folder of that run; raises FileNotFoundError where there is none."""
    directory = Path(runs) / name
    if not directory.is_dir():
        raise FileNotFoundError(
            f"there is no run {name!r} in {runs} to go on with; choose the folder that holds the "
            f"runs with runs (--runs)"
        )
    return directory


def _held(directory: Path) -> "BaseFileLock":
    lock = _lock(directory)
    if lock is None:
        raise FileExistsError(
            f"a run named {directory.name!r} is going on at {directory}; choose another name, or "
            f"wait for it"
        )
    return lock


def _named(runs: Path, name: str) -> tuple[Path, "BaseFileLock"]:
    directory = runs / name
    _require_free(directory)
    directory.mkdir(exist_ok=True)
    lock = _held(directory)
    try:
        # Once more: another run may have come to its end between the first look and the lock.
        for path in _require_free(directory):
            path.unlink()
    except BaseException:
        _let_go(directory, lock)
        raise
    return directory, lock


def _require_free(directory: Path) -> list[Path]:
    """What a failed run has left in the folder, but for its lock."""
    if not directory.exists():
        return []
    if not directory.is_dir():
        raise FileExistsError(f"{directory} is a file; choose another name for the run")
    go_on = f"go on with it (--resume {directory.name}), " if found(directory) else ""
    for path in directory.iterdir():
        if not any(path.match(pattern) for pattern in (*LEFT_BEHIND, LOCK)):
            raise FileExistsError(
                f"a run named {directory.name!r} exists at {directory} ({path.name} is in it) and "
                f"is left as it is; {go_on}choose another name, or remove that folder first"
            )
    return [path for pattern in LEFT_BEHIND for path in directory.glob(pattern)]


def _lock(directory: Path) -> "BaseFileLock | None":
    """The folder held for this run; None where another one holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(blocking=False)
    except (Timeout, FileNotFoundError):  # A run that left nothing has just removed its folder.
        return None
    return lock


def _let_go(directory: Path, lock: "BaseFileLock") -> None:
    with suppress(OSError):
        (directory / LOCK).unlink()  # before it is released: another run may hold it afterwards
    lock.release()
    with suppress(OSError):
        directory.rmdir()  # only if it is empty


def _require_printable(what: str, text: str) -> None:
    if any(unicodedata.category(character) in UNPRINTABLE for character in text):
        raise ValueError(f"{what} must hold characters that can be shown, got {text!r}")
