"""Runs in a process of their own, which is ended by signals, and what is left of them."""

import os
import signal
import sys
import time
import traceback

import torch
from event_files import read
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import bp_torch as bp
from bp_torch.training.checkpoints import found

DONE, STOPPED, FAILED = 0, 1, 2


def ended(work, after, numbers, apart=0.0):
    """Do the work in another process and send it these signals; whether it was hit by them, and
    whether the work was done."""
    child = os.fork()
    if not child:
        status = FAILED
        try:
            torch.set_num_threads(1)  # the others have not come along
            status = work()
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    time.sleep(after)
    alive = os.waitpid(child, os.WNOHANG)
    if alive == (0, 0):
        for number in numbers:
            os.kill(child, number)
            time.sleep(apart)
        alive = os.waitpid(child, 0)
    status = alive[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) in (signal.SIGKILL, *numbers), os.WTERMSIG(status)
        return True, False
    assert os.WEXITSTATUS(status) in (DONE, STOPPED), "it failed"
    return os.WEXITSTATUS(status) == STOPPED, os.WEXITSTATUS(status) == DONE


def train_or_go_on(runs, name, **options):
    """What whoever starts a run again and again would call."""
    if found(runs / name):
        begin = {"resume": name, "runs": runs}
    else:
        begin = {"name": name, "runs": runs, **options}

    def work():
        try:
            result = bp.train(**begin)
        except KeyboardInterrupt:  # `Interrupted` is one: nothing had been learnt yet
            return STOPPED
        return STOPPED if result.unfinished else DONE

    return work


def scalars(directory):
    """Every scalar as TensorBoard has it: (step, value) by tag."""
    events = read(directory)
    return {tag: events.scalar(tag) for tag in events.scalars}


def written(directory):
    """(tag, step) of every scalar in any file, in the order of the files."""
    seen = []
    for path in sorted(directory.glob("events.*")):
        for event in EventFileLoader(str(path)).Load():
            seen += [(value.tag, event.step) for value in event.summary.value if "/" in value.tag]
    return seen


def same_run(directory, whole):
    """Raise AssertionError unless both runs came to the same, to the bit."""
    assert (directory / "model.safetensors").read_bytes() == whole.path.read_bytes()
    assert scalars(directory) == scalars(whole.directory)
    of_run = written(directory)
    assert len(set(of_run)) == len(of_run)
    assert sorted(of_run) == sorted(written(whole.directory))
