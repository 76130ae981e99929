"""The processes that train one model together: torch.distributed's, or this one alone."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from bp_torch.training.exact_sum import Integers

T = TypeVar("T")

PATIENCE = timedelta(seconds=20)
"""With another process, within a step: by that a connection that was cut is told from one that is
busy. A process that has died is noticed at once."""
STARTING = timedelta(minutes=5)
"""For all of them to be there: imports from a disk that many share take a while."""
READING = timedelta(minutes=30)
"""With another process that reads a table, or looks at all of the data."""

LAUNCHER = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
"""Variables by which torchrun, or another launcher, says which of how many this process is."""


class LostProcessError(ConnectionError):
    """Another process is not there any more, or does not answer."""


class FirstFailedError(RuntimeError):
    """The first process has failed, and says why; so do the others, in its words."""


class Processes:
    """This process alone.

    Attributes:
        rank: which of them this is; the first reads checkpoints, looks, and saves.
        wishes: whether this process wishes to stop, asked when it speaks with the others.
    """

    rank, size = 0, 1

    def __init__(self) -> None:
        self.wishes: Callable[[], bool] = lambda: False

    @property
    def is_first(self) -> bool:
        """Whether this one writes what there is to see."""
        return self.rank == 0

    @property
    def stopping(self) -> bool:
        """Whether all stop here, since one of them wished to."""
        return self.wishes()

    def add(self, integers: Integers) -> Integers:
        """The sum over all processes."""
        return integers

    def note(self, wished: bool) -> None:
        """All know now whether one of them wishes to stop."""

    def beat(self, over: bool = False) -> bool:
        """What the first calls now and then where it works for all, and the others wait in; whether
        the work is over."""
        return over

    def first_says(self, say: Callable[[], T]) -> T:
        """What the first process says, to all; however long it takes."""
        return say()

    def all_say(self, value: T) -> list[T]:
        """What each process says, to all."""
        return [value]

    def fail(self, why: str) -> NoReturn:
        """Raise ValueError in the first process, which says it, and FirstFailedError elsewhere."""
        raise ValueError(why) if self.is_first else FirstFailedError(why)

    def close(self) -> None:
        """Let go of what was opened to speak with the others."""


class Group(Processes):
    """Those of torch's default process group.

    Raises:
        LostProcessError: from every method that speaks with the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._agreed = False
        on_gpu = dist.get_backend() == "nccl"
        self._device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else None
        with self._in_contact():
            # What takes long is waited for apart from the steps, which end when one is cut off.
            self._slow = dist.new_group(timeout=READING, backend="gloo")

    @property
    def stopping(self) -> bool:
        return self._agreed

    def add(self, integers: Integers) -> Integers:
        sent = torch.from_numpy(integers)
        if self._device is not None:
            sent = sent.to(self._device)
        with self._in_contact():
            dist.all_reduce(sent)
        added: Integers = sent.cpu().numpy()
        return added

    def note(self, wished: bool) -> None:
        self._agreed = self._agreed or wished

    def beat(self, over: bool = False) -> bool:
        wishes, overs = self.add(np.array([int(self.wishes()), int(over)]))
        self.note(bool(wishes))
        return bool(overs)

    def first_says(self, say: Callable[[], T]) -> T:
        said: list[Any] = [None]
        if self.is_first:
            try:
                said = [say()]
            except Exception as error:
                with self._in_contact():
                    failed = FirstFailedError(str(error))
                    dist.broadcast_object_list([failed], 0, group=self._slow)
                raise
        with self._in_contact():
            dist.broadcast_object_list(said, 0, group=self._slow)
        if isinstance(said[0], FirstFailedError):
            raise said[0]
        value: T = said[0]
        return value

    def all_say(self, value: T) -> list[T]:
        said: list[Any] = [None] * self.size
        with self._in_contact():
            dist.all_gather_object(said, value, group=self._slow)
        return said

    def close(self) -> None:
        dist.destroy_process_group(self._slow)

    def _in_contact(self) -> AbstractContextManager[None]:
        return _in_contact(self.rank, self.size)


@contextmanager
def _in_contact(rank: int, size: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch's own kinds are such, too
        said = " ".join(str(error).split())
        said = re.sub(r"^.*?\[\S+/gloo/\S+\] |\. This is typically .*", "", said)
        raise LostProcessError(
            f"process {rank} of {size} has lost contact with another one: {said[:200]}"
        ) from None


def processes() -> Processes:
    """Those that train together: of torch's process group where there is one."""
    together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    return Group() if together else Processes()


@contextmanager
def launched(device: torch.device) -> Iterator[int]:
    """Join the processes that a launcher has started, where one has, and leave them in the end;
    which of them this is."""
    if not dist.is_available() or dist.is_initialized() or not os.environ.keys() >= LAUNCHER:
        yield dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
        return
    backend = "gloo"
    if device.type == "cuda":
        backend = "nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with _in_contact(rank, size):
        store, rank, size = next(rendezvous("env://", timeout=STARTING))
        # torchrun's store remembers where those that have died could be reached.
        store = PrefixStore(f"start {restarts()}", store)
        store.set(f"{rank} is here", "")
        store.wait([f"{each} is here" for each in range(size)], STARTING)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def restarts() -> int:
    """How often torchrun has started these processes again, since one of them had died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
