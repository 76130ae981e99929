"""Code that kills its process, or never ends: the trial is named, and the others are tried."""

import ctypes
import os
import signal
import time

import pytest
import torch

import bp_torch as bp
from bp_torch.judge import proceedings

X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))


def dying(when, how, slip=1.0):
    """A sine whose backward, where it is given such an input or upstream gradient, dies."""

    class Dying(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            if when(x, g):
                how()
            return slip * g * x.cos()

    return Dying


def non_contiguous(x, g):
    return not g.is_contiguous() and g.ndim == 1


def empty(x, g):
    return x.numel() == 0


def large(x, g):
    return bool(x.numel()) and x.abs().max().item() > 1000


def null():
    ctypes.string_at(0)


def out_of_bounds():
    block = (ctypes.c_char * 8)()
    ctypes.memset(ctypes.addressof(block) - 2**40, 1, 64)


def for_ever():
    time.sleep(10_000)


DEATHS = [
    (non_contiguous, null, "SIGSEGV", "upstream non-contiguous"),
    (empty, os.abort, "SIGABRT", "empty"),
    (large, for_ever, "does not end within 1 s", "inputs × 1000"),
    (large, out_of_bounds, "SIGSEGV", "inputs × 1000"),
    (empty, lambda: os._exit(3), "ended itself, with status 3", "empty"),
    (empty, lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL", "empty"),
]
by_how = pytest.mark.parametrize(("when", "how", "said", "trial"), DEATHS)


@by_how
def test_what_kills_its_process_is_a_finding_that_names_the_trial(when, how, said, trial):
    report = bp.compare(dying(when, how), inputs=X, compile=False, isolate=True, timeout=1)
    assert report.verdict == "inconclusive"
    assert said in report.reason
    assert f"in the trial 'float32, {trial}" in report.reason
    others = {row.trial for row in report.rows}
    assert {"as given", "inputs × 10", "zeros and subnormals"} <= others
    assert trial not in others


@by_how
def test_a_mistake_is_named_all_the_same(when, how, said, trial):
    wrong = dying(when, how, slip=-1.0)
    report = bp.compare(wrong, inputs=X, transforms=False, isolate=True, timeout=1)
    assert (report.verdict, report.diagnosis.mistake) == ("wrong", "sign")
    assert any(said in finding for finding in report.findings)


def test_where_the_search_for_its_name_kills_the_process_the_mistake_has_none(monkeypatch):
    monkeypatch.setattr(proceedings, "diagnose", lambda record, transforms: os.abort())
    report = bp.compare(
        dying(lambda x, g: False, None, slip=-1.0), inputs=X, transforms=False, isolate=True
    )
    assert (report.verdict, report.diagnosis) == ("wrong", proceedings.NAMELESS)


def test_what_dies_at_once_is_inconclusive():
    report = bp.compare(dying(lambda x, g: True, os.abort), inputs=X, isolate=True)
    assert report.verdict == "inconclusive"
    assert "SIGABRT" in report.reason
    assert str(report).startswith("inconclusive: the process was killed by SIGABRT")


def test_a_child_says_what_one_process_says():
    for slip in (1.0, -1.0):
        fn = dying(lambda x, g: False, None, slip)
        alone = bp.compare(fn, inputs=X, compile=False)
        assert str(bp.compare(fn, inputs=X, compile=False, isolate=True)) == str(alone)


class Strange(Exception):  # noqa: N818
    """One that cannot be made again from its text."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize("error", [KeyError("my own"), Strange(1, 2)])
def test_what_a_function_raises_comes_back_from_the_child(error):
    def broken(x):
        raise error

    with pytest.raises(Exception, match=r"my own|1 and 2") as caught:
        bp.compare(broken, torch.sin, inputs=X, isolate=True)
    assert any("as given" in note for note in caught.value.__notes__)
