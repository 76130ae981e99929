"""Several processes that train together on this machine, each forked from the tests' own."""

import os
import pickle
import signal
import sys
import time
import traceback
from datetime import timedelta

import torch
import torch.distributed as dist

PATIENCE = timedelta(seconds=20)


class Group:
    """Processes 0 … n − 1 of one process group, each doing the work; it is told its rank."""

    def __init__(self, size, folder, work):
        store = folder / f"store-{time.monotonic_ns()}"
        self.children, self._pipes = [], []
        for rank in range(size):
            read, write = os.pipe()
            child = os.fork()
            if not child:
                os.close(read)
                _child(rank, size, store, work, write)
            os.close(write)
            self.children.append(child)
            self._pipes.append(read)

    def results(self, seconds=60):
        """What each came to: its value, its exception, or the signal that ended it."""
        deadline = time.monotonic() + seconds
        found = []
        for child, pipe in zip(self.children, self._pipes, strict=True):
            while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
                if time.monotonic() > deadline:
                    for each in self.children:
                        os.kill(each, signal.SIGKILL)
                    raise AssertionError(f"process {len(found)} does not end")
                time.sleep(0.01)
            with os.fdopen(pipe, "rb") as file:
                said = file.read()
            found.append(pickle.loads(said) if said else -os.WTERMSIG(ended[1]))
        return found


def together(size, folder, work, seconds=60):
    """What each of so many processes comes to; raises what one of them has raised."""
    found = Group(size, folder, work).results(seconds)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return found


def _child(rank, size, store, work, pipe):
    try:
        torch.set_num_threads(1)  # the others have not come along
        dist.init_process_group(
            "gloo",
            store=dist.FileStore(str(store), size),
            rank=rank,
            world_size=size,
            timeout=PATIENCE,
        )
        try:
            said = work(rank)
        except BaseException as error:
            traceback.print_exc(file=sys.__stderr__)
            said = error
        try:
            said = pickle.dumps(said)
        except Exception:
            said = pickle.dumps(RuntimeError(repr(said)))
        with os.fdopen(pipe, "wb") as file:
            file.write(said)
    finally:
        os._exit(0)
