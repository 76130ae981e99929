"""Runs that are killed or interrupted at any moment go on as if they had not been."""

import os
import random
import signal

import pytest
from crashes import ended, same_run, train_or_go_on

import bp_torch as bp
from bp_torch.training.monitor import Monitor
from bp_torch.training.signals import Signals

RUN = {
    "epochs": 60,
    "momentum": 0.9,
    "l2": 1e-4,
    "schedule": "cosine",
    "early_stopping": 50,
    "log_every": 7,
    "checkpoint_every": 5,
}


@pytest.fixture(scope="module", autouse=True)
def _without_pictures():
    """They are most of a short run's time, in which there is nothing left to lose."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Monitor, "end", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody disturbs."""
    return bp.train(runs=tmp_path_factory.mktemp("whole"), name="whole", **RUN)


def disturbed(tmp_path, whole, numbers, times, apart=0.0):
    """End runs by these signals so many times, at moments from before their beginning to after
    their end; each goes on until it comes to its end, and must then be the one that was not."""
    moments = random.Random(times)
    done = run = 0
    while done < times:
        name = f"run-{run}"
        finished = False
        while not finished:
            work = train_or_go_on(tmp_path, name, **RUN)
            hit, finished = ended(work, moments.uniform(0, 0.5), numbers, apart)
            done += hit
        same_run(tmp_path / name, whole)
        run += 1
    return done


def times(few, many):
    return pytest.mark.parametrize(
        "times", [few, pytest.param(many, marks=pytest.mark.slow)], ids=lambda n: f"{n} times"
    )


@times(25, 200)
def test_a_run_that_is_killed_at_any_moment_is_the_run_that_was_not(tmp_path, whole, times):
    assert disturbed(tmp_path, whole, [signal.SIGKILL], times) >= times


@times(8, 100)
@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGTERM], [signal.SIGINT], [signal.SIGINT, signal.SIGINT], [signal.SIGHUP] * 3],
    ids=["SIGTERM", "SIGINT", "SIGINT twice", "SIGHUP three times"],
)
def test_a_run_that_is_interrupted_at_any_moment_is_the_run_that_was_not(
    tmp_path, whole, numbers, times
):
    assert disturbed(tmp_path, whole, numbers, times, apart=0.002) >= times


@pytest.mark.parametrize(("number", "status"), [(2, 0), (3, -signal.SIGTERM)])
def test_two_signals_are_noted_and_a_third_ends_the_process(number, status):
    child = os.fork()
    if not child:
        with Signals() as signals:
            signals.wait()
            for _ in range(number):
                signal.raise_signal(signal.SIGTERM)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
