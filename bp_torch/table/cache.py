"""Tables that have been read once, kept on disk, so that the second run need not read them again.

Each is a folder of .npy files with a table.json that says what they hold. It is found by what it
was made from (the names, sizes and times of the files, and everything that was asked of them), it
appears when it is whole, and what it holds is checked when it is used.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bp_torch.table.choice import Choice
from bp_torch.table.columns import Column
from bp_torch.table.decode import read_table
from bp_torch.table.source import Source
from bp_torch.table.storage import mapped, naming
from bp_torch.table.table import Part, Table
from bp_torch.table.target import Target

FORMAT = 2
"""Of what is kept: another is not found."""

ABOUT = "table.json"

Cache = str | os.PathLike[str] | None
"""A folder, "off", or None for the user's own."""


def default_folder() -> Path:
    """Where the user's programs keep what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bp_torch"


def table_of(
    source: Source,
    choice: Choice,
    *,
    test: Source | None = None,
    dtype: Literal["float32", "float64"] = "float32",
    cache: Cache = None,
) -> Table:
    """The table that the source holds, from the cache where it has been read before.

    Small tables stay in memory, and are read again. Raises as `read_table` does.
    """
    off = cache == "off"
    identity = source.identity(), test.identity() if test else "none"
    if off or identity[0] is None or identity[1] is None:
        # Files without a name: what is mapped stays until it is let go.
        with tempfile.TemporaryDirectory(prefix="bp_torch_") as folder:
            return read_table(source, choice, test=test, dtype=dtype, folder=Path(folder))
    parent = default_folder() if cache is None else Path(cache)
    asked = json.dumps([FORMAT, identity, asdict(choice), dtype, list(source.types)])
    key = hashlib.blake2b(asked.encode(), digest_size=8).hexdigest()
    directory = parent / f"{source.name}-{key}"
    if (table := _kept(directory)) is not None:
        return table
    with naming(parent):
        parent.mkdir(parents=True, exist_ok=True)
    with _alone(directory):  # of many processes that want it, one reads it for all
        return _kept(directory) or _made(directory, source, choice, test, dtype)


def _made(
    directory: Path,
    source: Source,
    choice: Choice,
    test: Source | None,
    dtype: Literal["float32", "float64"],
) -> Table:
    with naming(directory.parent):
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=directory.parent))
    try:
        table = read_table(source, choice, test=test, dtype=dtype, folder=unfinished)
        if not any(unfinished.iterdir()):
            return table
        _describe(table, unfinished)
        if directory.exists():  # damaged, or another run has just made it
            shutil.rmtree(directory, ignore_errors=True)
        with naming(directory):
            unfinished.rename(directory)
        return table
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    from filelock import FileLock

    lock = FileLock(directory.with_name(f".{directory.name}.lock"))
    with naming(directory.parent), lock:
        try:
            yield
        finally:
            Path(lock.lock_file).unlink(missing_ok=True)  # before it is released


@dataclass(frozen=True)
class Entry:
    """A table in the cache."""

    directory: Path
    samples: int
    features: int
    size: int
    """Bytes."""


def entries(cache: Cache = None) -> Iterator[Entry]:
    """What the cache holds; raises nothing for what is damaged, and leaves it out."""
    parent = default_folder() if cache is None else Path(cache)
    for about in sorted(parent.glob(f"*/{ABOUT}")):
        try:
            said = json.loads(about.read_text())
            size = sum(file.stat().st_size for file in about.parent.iterdir())
            yield Entry(about.parent, said["samples"], len(said["mean"]), size)
        except (OSError, ValueError, KeyError, TypeError):
            continue


def clear(cache: Cache = None) -> int:
    """Remove all tables, and what unfinished ones have left; returns how many."""
    parent = default_folder() if cache is None else Path(cache)
    removed = 0
    for directory in [*parent.glob(f"*/{ABOUT}"), *parent.glob("unfinished-*/")]:
        folder = directory.parent if directory.name == ABOUT else directory
        shutil.rmtree(folder, ignore_errors=True)
        removed += directory.name == ABOUT
    return removed


def _describe(table: Table, directory: Path) -> None:
    about = {
        "name": table.name,
        "samples": len(table.train.x) + len(table.test.x),
        "columns": [asdict(column) for column in table.columns],
        "target": asdict(table.target),
        "mean": table.mean.tolist(),
        "deviation": table.deviation.tolist(),
        "content": table.content,
        "fingerprint": table.fingerprint,
        "notes": table.notes,
        "files": {file.name: _checksum(file) for file in sorted(directory.glob("*.npy"))},
    }
    with naming(directory):
        (directory / ABOUT).write_text(json.dumps(about))


def _kept(directory: Path) -> Table | None:
    """The table in that folder; None where there is none, or a damaged one."""
    try:
        about = json.loads((directory / ABOUT).read_text())
        for name, checksum in about["files"].items():
            if _checksum(directory / name) != checksum:
                return None

        def part(name: str) -> Part:
            files = (directory / f"{name}_{what}.npy" for what in ("x", "y", "weight"))
            return Part(*(mapped(file) for file in files if file.name in about["files"]))

        return Table(
            name=about["name"],
            train=part("train"),
            test=part("test"),
            columns=tuple(
                Column(each["name"], _tuple(each["categories"]), _tuple(each["fill"]))
                for each in about["columns"]
            ),
            target=Target(
                about["target"]["name"],
                tuple(about["target"]["values"]),
                about["target"]["is_boolean"],
                about["target"]["above"],
            ),
            mean=np.array(about["mean"]),
            deviation=np.array(about["deviation"]),
            content=about["content"],
            fingerprint=about["fingerprint"],
            notes=tuple(about["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _tuple(values: list[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


def _checksum(path: Path) -> int:
    """CRC-32 of the whole file."""
    found = 0
    with open(path, "rb") as file:
        while block := file.read(2**22):
            found = zlib.crc32(block, found)
    return found
