"""Real ranks: processes on this machine that talk over torch.distributed, with gloo.

Each is a fork, so that whatever a function closes over is there, with one thread, since the others
of the pool do not come along. A rank that dies, raises or falls silent is an answer as well.
"""

import faulthandler
import importlib
import multiprocessing
import os
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from bp_torch.judge.isolation import how_it_ended
from bp_torch.judge.undisturbed import quiet
from bp_torch.splits.cuts import listed

REASON = 100
"""Characters of what a rank raised that are shown."""

GONE = ("/gloo/", "Connection", "Timed out")
"""Of what is raised where another rank is missing."""

LINGER = 1.0
"""Seconds that a rank which is done stays there for the others; when it goes, those that still wait
for it are told so at once."""

SLOW_IMPORT, IMPORTED = "torch._dynamo", "imported"
"""DistributedDataParallel imports it, which takes every rank a second. Once a rank has done so, it
is imported here: what is here is there in the next ones."""


@dataclass(frozen=True)
class Failure:
    """What became of a rank that did not come to its end."""

    who: str
    """As "rank 0"."""
    how: str
    """As "raised ValueError: …" or "does not end within 30 s"."""
    raised: bool = False
    """Whether it is the user's code that raised."""

    def __str__(self) -> str:
        return f"{self.who} {self.how}"


def why_not_here(device: torch.device) -> str:
    """Why there can be no real ranks; "" where there can."""
    if not dist.is_available() or not dist.is_gloo_available():
        return "this build of torch has no gloo"
    if "fork" not in multiprocessing.get_all_start_methods():
        return f"{sys.platform} does not fork processes"
    if device.type != "cpu":
        return f"the module is on {device.type}, which does not survive a fork"
    if torch.cuda.is_initialized():
        return "CUDA is in use, which does not survive a fork"
    if multiprocessing.current_process().daemon:
        return "this process is a daemon, and has no children"
    if dist.is_initialized():
        return "this process is a rank itself"
    return ""


def on_ranks(
    ranks: int, job: Callable[[int], dict[str, Any]], timeout: float
) -> list[dict[str, Any]] | Failure:
    """What the job gave on each rank, or the first failure, by which the others may have failed.

    Args:
        job: from the rank's number to what can be pickled, in a process of its own.
        timeout: seconds after which those that are not done are killed.
    """
    context = multiprocessing.get_context("fork")
    results: dict[int, dict[str, Any]] = {}
    failures: list[Failure] = []
    until = time.monotonic() + timeout
    with tempfile.TemporaryDirectory() as folder:
        pipes: dict[Any, int] = {}
        processes = []
        for rank in range(ranks):
            ours, theirs = context.Pipe()
            arguments = (rank, ranks, Path(folder) / "store", job, theirs, timeout)
            process = context.Process(target=_rank, args=arguments, daemon=True)
            with warnings.catch_warnings():  # newer Pythons warn of every fork beside threads
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            theirs.close()
            pipes[ours] = rank
            processes.append(process)
        try:
            waiting = dict(pipes)
            while waiting and (ready := wait(list(waiting), max(0.0, until - time.monotonic()))):
                for pipe in ready:
                    rank = waiting.pop(pipe)
                    outcome = _received(pipe, rank, processes[rank])
                    if isinstance(outcome, Failure):
                        failures.append(outcome)
                    else:
                        results[rank] = outcome
            silent = sorted(waiting.values())
            for pipe in pipes:
                with suppress(OSError):
                    pipe.send("all are done")
        finally:
            for process in processes:
                if len(results) == ranks:
                    process.join(LINGER)
                process.kill()
                process.join()
            for pipe in pipes:
                pipe.close()
    if failures:
        return _culprit(failures, bool(results))
    if silent:
        who, many = f"rank{'s' * (len(silent) > 1)} {listed(silent)}", len(silent) > 1
        return Failure(who, f"{'do' if many else 'does'} not end within {timeout:g} s")
    if any(result.pop(IMPORTED) for result in results.values()):
        with quiet():
            importlib.import_module(SLOW_IMPORT)
    return [results[rank] for rank in range(ranks)]


def _culprit(failures: list[Failure], some_are_done: bool) -> Failure:
    """The one that the others failed by: those are told by gloo that somebody has gone."""
    for failure in failures:
        if not any(word in failure.how for word in GONE):
            return failure
    if some_are_done:
        how = "waits for another that has already returned: all must make the same collective calls"
        return Failure(failures[0].who, how)
    return failures[0]


def _received(pipe: Any, rank: int, process: Any) -> dict[str, Any] | Failure:
    who = f"rank {rank}"
    try:
        kind, content = pipe.recv()
    except (EOFError, OSError):
        process.join()
        return Failure(who, f"died: {how_it_ended(process.exitcode or 0)}")
    if kind == "result":
        found: dict[str, Any] = content
        return found
    if kind == "raised":
        return Failure(who, f"raised {content}", raised=True)
    return Failure(who, f"finds no way to the others ({content})")


def _rank(
    rank: int, ranks: int, store: Path, job: Callable[[int], Any], send: Any, timeout: float
) -> None:
    faulthandler.disable()  # what it dies of is said in a sentence
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # gloo writes there when another rank has gone
    torch.set_num_threads(1)
    # As torchrun sets them.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks))
    try:
        dist.init_process_group(
            "gloo",
            init_method=store.as_uri(),
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=timeout),
        )
    except Exception as error:
        send.send(("unreachable", _said(error)))
        return
    try:
        found = job(rank)
        send.send(("result", {**found, IMPORTED: SLOW_IMPORT in sys.modules}))
    except BaseException as error:  # such as SystemExit
        send.send(("raised", _said(error)))
    else:
        send.poll(LINGER)
    os._exit(0)  # what is left of the group need not be torn down


def _said(error: BaseException) -> str:
    error = getattr(error, "error", error)  # of what refused to run, why
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return textwrap.shorten(f"{type(error).__name__}: {first}", REASON, placeholder=" …")
