"""Going on with a run: what it was begun with, held against what is asked for now."""

import glob
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

import bp_torch
from bp_torch.table.table import Table
from bp_torch.training.checkpoints import Checkpoints, Interval, State, found
from bp_torch.training.config import Config
from bp_torch.training.data import name_of
from bp_torch.training.device import resolve_device
from bp_torch.training.processes import Processes
from bp_torch.training.run_folder import require_folder_name, require_run

DATA = ("dataset", "test", "columns")
"""Options that say where the data are: they may have moved, if they are still the same."""
FREE = (*DATA, "name", "runs", "cache", "checkpoint_every", "onnx", "pt2")
"""Options that change nothing in what is learnt."""

IN_MEMORY = "in memory"


def begun_with(runs: str | os.PathLike[str], name: str, given: Mapping[str, Any]) -> Config:
    """The configuration of a run that is to go on.

    Args:
        given: what is asked for now, by the fields of `Config`; the rest is as it was.

    Raises:
        FileNotFoundError: there is no such run, or it has no checkpoint.
        ValueError: an option has changed that what is learnt depends on; or the data were in
            memory, and are not given again; or no checkpoint is whole.
    """
    require_folder_name(name)
    if given.get("name", name) != name:
        raise ValueError(
            f"name is {given['name']!r}, and the run that goes on {name!r}; leave it out"
        )
    state, _ = Checkpoints(require_run(runs, name), Interval()).newest()
    begun = dict(state["config"])
    for field, value in begun.items():
        if isinstance(value, list):
            begun[field] = tuple(value)
        if isinstance(value, dict):
            if field not in given:
                option = "the data" if field == "dataset" else field
                raise ValueError(
                    f"the run {name!r} learnt from {value[IN_MEMORY]} in memory; pass {option} "
                    f"again to go on with it"
                )
            begun[field] = given[field]
    was = Config(**begun | {field: given[field] for field in DATA if field in given})
    now = replace(was, **{**given, "name": name, "runs": runs})
    for field in fields(Config):
        old, new = getattr(was, field.name), getattr(now, field.name)
        if field.name in FREE or isinstance(state["config"].get(field.name), dict) or old == new:
            continue
        if field.name == "epochs" and new > old and was.schedule == "constant":
            continue  # as if it had been so many from the start
        option = field.name.replace("_", "-")
        raise ValueError(
            f"the run {name!r} was begun with {option} {_shown(old)}, and is to go on with "
            f"{_shown(new)}; leave it out (--{option}), or begin another run"
        )
    return now


def beginning(config: Config, table: Table, together: Processes) -> State:
    """What a run was begun with, for its checkpoints."""
    said = {}
    for field in fields(Config):
        value = getattr(config, field.name)
        plain = value is None or isinstance(value, str | int | float | tuple)
        if isinstance(value, os.PathLike):
            value, plain = os.fspath(value), True
        said[field.name] = value if plain else {IN_MEMORY: f"a {name_of(value)}"}
    computed = versions() | {"device": resolve_device(config.device).type}
    # Any number of processes comes to the same, but for local steps.
    number = None if config.sync_every is None else together.size
    return {"config": said, "data": _data(table), "versions": computed, "processes": number}


def left_by_crash(begun: State, config: Config, otherwise: str) -> str | None:
    """The run that these processes had begun when one of them died: of the configuration's name, or
    the last numbered one; None: it had not come to a checkpoint."""
    name = config.name
    if name is None:
        numbers = [
            int(path.name.rpartition("-")[2])
            for path in Path(config.runs).glob(f"{glob.escape(otherwise)}-*")
            if path.name.rpartition("-")[2].isdecimal()
        ]
        name = f"{otherwise}-{max(numbers, default=0)}"
    directory = Path(config.runs) / name
    if not found(directory):
        return None
    state, _ = Checkpoints(directory, Interval()).newest()
    return name if state["config"] == json.loads(json.dumps(begun["config"])) else None


def require_one_config(together: Processes, config: Config, begun: State) -> None:
    """Raise ValueError, or FirstFailedError, unless all processes were asked for the same."""
    said = together.all_say(begun["config"])
    for rank, each in enumerate(said):
        for field, value in each.items():
            if value != said[0][field] and field not in FREE:
                together.fail(
                    f"process {rank} was given {field.replace('_', '-')} {_shown(value)}, and the "
                    f"first {_shown(said[0][field])}; give all of them the same"
                )


def require_same(state: State, begun: State, config: Config) -> list[str]:
    """What may be different in the last places, since versions have changed.

    Raises ValueError where the data have, or the number of processes that make local steps.
    """
    if (were := state["processes"]) != (are := begun["processes"]):
        raise ValueError(
            f"the run {config.name!r} makes local steps (sync-every) in {were} processes, and "
            f"here {'is' if are == 1 else 'are'} {are}; start {were}"
        )
    was, now_is = state["data"], begun["data"]
    if was != now_is:
        pairs = ((what, was[what], now_is[what]) for what in was)
        said = [f"{what} {old}, now {new}" for what, old, new in pairs if old != new]
        counted = [each for each in said if not each.startswith("fingerprint")]
        what = "; ".join(counted) or "as many rows, with other values or in another order"
        raise ValueError(
            f"the data have changed since the run {config.name!r} was begun: {what}; give it the "
            f"same data, or begin another run"
        )
    before = state["versions"]
    changed = [
        f"{name} was {before.get(name)} and is {version}"
        for name, version in begun["versions"].items()
        if before.get(name) != version
    ]
    if not changed:
        return []
    return [f"{', '.join(changed)}: the last places may not be those of one uninterrupted run"]


def versions() -> dict[str, str]:
    """Of what computes."""
    return {
        "bp_torch": bp_torch.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _data(table: Table) -> dict[str, Any]:
    return {
        "rows to learn from": len(table.train.x),
        "rows held out": len(table.test.x),
        "features": table.train.x.shape[1],
        "fingerprint": table.fingerprint,
    }


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return f"{value}"
