"""Trials in a child process, so that code which kills its process or never ends is a finding.

The child is a fork: whatever a function closes over is there. It says before each trial what it is
about to try; where it dies or falls silent, that trial is the culprit, and another child goes
through all the others.
"""

import faulthandler
import multiprocessing
import pickle
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

from bp_torch.judge.passes import Refused, note

Result = TypeVar("Result")
Tell = Callable[[str], None]

MOST_DEATHS = 5
"""After so many nothing more is tried."""


class Died(Exception):  # noqa: N818, it is no error of ours
    """The process in which this was tried did not survive it."""


def isolated(
    run: Callable[[Tell], Result], tell: Tell, timeout: float | None
) -> tuple[Result | None, dict[str, str]]:
    """The result of `run` in a child process, None where nothing of it could be run; and what its
    forerunners died of, by what they were trying.

    Args:
        run: is given something to tell what it is about to try, which raises `Refused` where
            another child has died of that.
        tell: is told the same here.
        timeout: seconds without a word after which the child is killed; None: it may take forever.

    Raises:
        Whatever `run` raises.
        ValueError: processes cannot be forked here, or CUDA is in use, which does not survive it.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise ValueError(f"isolate=True forks a process, which {sys.platform} cannot; leave it out")
    if torch.cuda.is_initialized():
        raise ValueError(
            "isolate=True forks a process, and CUDA, already in use in this one, does not survive "
            "that; compare before CUDA is used, or leave it out"
        )
    deaths: dict[str, str] = {}
    while True:
        trying, death, result = _one_child(run, tell, timeout, deaths)
        if death is None:
            return result, deaths
        again = trying in deaths  # it was told not to try this: there is no way around it
        deaths[trying] = death
        if again or not trying or len(deaths) == MOST_DEATHS:
            return None, deaths


def _one_child(
    run: Callable[[Tell], Any], tell: Tell, timeout: float | None, deaths: Mapping[str, str]
) -> tuple[str, str | None, Any]:
    """What it was trying last, what it died of, and what it came to."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(run, send, deaths), daemon=True)
    child.start()
    send.close()
    trying = ""
    try:
        while True:
            if not receive.poll(timeout):
                return trying, f"it does not end within {timeout:g} s", None
            try:
                kind, content = receive.recv()
            except EOFError:
                child.join()
                return trying, how_it_ended(child.exitcode or 0), None
            if kind == "trying":
                trying = content
                tell(content)
            elif kind == "raised":
                raise content if isinstance(content, BaseException) else _made_again(*content)
            else:
                return trying, None, content
    finally:
        if child.is_alive():
            child.kill()
        child.join()
        receive.close()


def _child(run: Callable[[Tell], Any], send: Connection, deaths: Mapping[str, str]) -> None:
    faulthandler.disable()  # what it dies of is said in a sentence
    torch.set_num_threads(1)  # the other threads of the pool have not come along

    def tell(text: str) -> None:
        send.send(("trying", text))
        if text in deaths:
            raise Refused(Died(deaths[text]))

    try:
        send.send(("result", run(tell)))
    except KeyboardInterrupt:  # which the parent gets as well
        pass
    except BaseException as error:  # such as SystemExit
        send.send(("raised", _that_can_be_sent(error)))


def _that_can_be_sent(error: BaseException) -> Any:
    """The error itself, or its name, words and notes where it cannot be pickled."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:
        pass
    return type(error).__name__, str(error), getattr(error, "__notes__", [])


def _made_again(name: str, text: str, notes: list[str]) -> Exception:
    error: Exception = type(name, (RuntimeError,), {})(text)
    for each in notes:
        note(error, each)
    return error


def how_it_ended(status: int) -> str:
    """The end of a process in words, by its exit status."""
    if status >= 0:
        return f"the process ended itself, with status {status}"
    name = signal.Signals(-status).name
    return f"the process was killed by {name} ({signal.strsignal(-status)})"
