"""What a run needs to go on as if it had never stopped, on disk: the last two states of it.

A state is a tree of dictionaries and lists with tensors, numbers, texts and None at its ends. Its
tensors stand in a safetensors file, the rest as JSON in that file's metadata, with a checksum of
both.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bp_torch import checks
from bp_torch.training.durable import write_whole

FORMAT = "bp_torch checkpoint 1"
"""The one entry of the metadata."""
PATTERN = "checkpoint-*.safetensors"
"""Of the files' names; between them is the number of steps that have been made."""

State = dict[str, Any]

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Interval:
    """How often a state is kept: after so many steps, or so much time; never, where both are 0."""

    steps: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, given: Any) -> "Interval":
        """1000 or "1000" steps, "30s", "5m", "1h"; 0 for never. Raises ValueError for another."""
        number, unit = (given[:-1], given[-1:]) if isinstance(given, str) else ("", "")
        try:
            if unit in UNITS:
                seconds = float(number) * UNITS[unit]
                if 0 < seconds < float("inf"):
                    return cls(seconds=seconds)
            else:
                steps = int(given) if isinstance(given, str) else given
                return cls(steps=checks.require_whole("checkpoint-every", steps, 0, "steps"))
        except ValueError:
            pass
        raise ValueError(
            f"checkpoint-every must be a number of steps, or a time, as 30s or 5m, got {given!r}; "
            f"0: never"
        )


class Checkpoints:
    """Keeps the last two states of one run."""

    def __init__(self, directory: Path, interval: Interval) -> None:
        self._directory, self._interval = directory, interval
        self.last: Path | None = None
        """The newest one that is whole."""
        self._damaged: list[Path] = []
        self._steps, self._time = 0, time.monotonic()

    @property
    def wanted(self) -> bool:
        """Whether states are kept at all."""
        return self._interval != Interval()

    def is_due(self, steps: int) -> bool:
        """Whether it is time for the next one."""
        if self._interval.seconds:
            return time.monotonic() - self._time >= self._interval.seconds
        return bool(self._interval.steps) and steps - self._steps >= self._interval.steps

    def save(self, state: State, steps: int) -> None:
        """Keep a state, and of the others the newest; raises OSError, which names the path."""
        path = self._directory / f"checkpoint-{steps:012}.safetensors"
        write_whole(path, _packed(state))
        others = [other for other in found(self._directory) if other != path]
        whole = [other for other in others if other not in self._damaged]
        for other in others:
            if other not in whole[-1:]:
                other.unlink()
        self.last = path
        self._steps, self._time = steps, time.monotonic()

    def newest(self) -> tuple[State, list[str]]:
        """The newest state that is whole, and what is wrong with those after it.

        Raises:
            FileNotFoundError: the run has none.
            ValueError: none is whole.
        """
        trouble: list[str] = []
        for path in reversed(found(self._directory)):
            try:
                state = _unpacked(path)
            except (OSError, ValueError) as error:
                trouble.append(f"{path.name} is damaged ({error})")
                self._damaged.append(path)
                continue
            self.last = path
            if trouble:
                trouble.append(f"so the run goes on from the one before, {path.name}")
            return state, trouble
        if trouble:
            raise ValueError(
                f"the run at {self._directory} cannot go on: {', and '.join(trouble)}; begin it "
                f"again under another name"
            )
        raise FileNotFoundError(
            f"the run at {self._directory} has no checkpoint to go on from; it had not come to its "
            f"first, so begin it again"
        )

    def clear(self) -> None:
        """Remove them all: nothing can come of them."""
        for path in found(self._directory):
            path.unlink()


def found(directory: Path) -> list[Path]:
    """The states that a run's folder holds, in their order."""
    return sorted(directory.glob(PATTERN))


def _packed(state: State) -> bytes:
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    said = json.dumps(_without_tensors(state, "", tensors))
    content = json.dumps({"state": said, "checksum": _checksum(said, tensors)})
    return save(tensors, {FORMAT: content})


def _unpacked(path: Path) -> State:
    """Raises ValueError for what is not a whole one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            # A copy: what is mapped would go with the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        content = json.loads(metadata[FORMAT])
        if content["checksum"] != _checksum(content["state"], tensors):
            raise ValueError("its checksum is another")
        state: State = _with_tensors(json.loads(content["state"]), tensors)
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is not of the format {FORMAT!r}: {error}") from None
    return state


def _checksum(said: str, tensors: dict[str, Tensor]) -> str:
    """Of all that the file says, BLAKE2b."""
    checksum = hashlib.blake2b(said.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        checksum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        checksum.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return checksum.hexdigest()


TENSOR = "tensor"
"""The key of a dictionary that stands for one; its value is the tensor's name."""


def _without_tensors(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[place] = value.detach().cpu().contiguous().clone()
        return {TENSOR: place}
    if isinstance(value, dict):
        return {
            key: _without_tensors(each, f"{place}.{key}".lstrip("."), tensors)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_tensors(each, f"{place}.{i}", tensors) for i, each in enumerate(value)]
    return value


def _with_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {TENSOR}:
            return tensors[value[TENSOR]]
        return {key: _with_tensors(each, tensors) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_tensors(each, tensors) for each in value]
    return value
