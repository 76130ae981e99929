"""`compare` and `assert_gradients`: what a user calls, with all that can be asked."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch

from bp_torch.judge.isolation import isolated
from bp_torch.judge.proceedings import Question, answer
from bp_torch.judge.progress import progress_line
from bp_torch.judge.report import GradientMismatch, Report, with_deaths


def compare(
    fn: Any = None,
    reference: Any = None,
    *,
    inputs: Any,
    domain: Any = None,
    backward: Callable[..., Any] | None = None,
    dtypes: torch.dtype | Sequence[torch.dtype] | None = None,
    devices: str | torch.device | Sequence[str | torch.device] | None = None,
    transforms: bool = True,
    compile: bool = True,
    order: Literal[1, 2] = 1,
    cost: bool = False,
    seed: int = 0,
    isolate: bool = False,
    timeout: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Hold a hand-written gradient against autograd's and against the truth.

    The truth is the reference in float64 on the same quantised inputs. Without a reference it is
    the forward of fn itself under autograd, where fn is an autograd.Function, and else differences
    of fn's own values; the report says which. `criteria` has the rule, `trials` what is tried.

    Args:
        fn: the hand-written function; an autograd.Function class; or an nn.Module, whose
            parameters then count as inputs.
        reference: the same mathematics for autograd, called as fn is; None: fn tells itself.
        inputs: a tensor; a sequence of arguments; a mapping of arguments by their names; or a
            function of a seeded generator that makes one of these (drawn three times), or of a
            generator and a size n (drawn at sizes around those of tiles, and as sorted, repeated,
            constant and skewed values). Lists, dictionaries and dataclasses of tensors are
            differentiated by their paths, as params["w"]; what is no tensor is handed on. Of the
            tensors those that require a gradient are differentiated; where none does, all
            floating ones.
        domain: the open interval (low, high) in which the inputs must lie, None for no end; or a
            function of a tensor that says so; or one of these or None for each argument, as a
            list or by name. Every trial keeps to it.
        backward: a bare formula (upstream, *inputs) → gradients, in place of fn.
        dtypes: to be judged; None: that of the inputs.
        devices: to be judged on; None: that of the inputs.
        transforms: whether to look at torch's transforms as well, in the finest of the dtypes
            (autocast in float32).
        compile: whether torch.compile and torch.export are among them (they take seconds).
        order: 2: the second derivative is part of the verdict; 1: it is tried all the same, and a
            warning where it is silently wrong.
        cost: whether to measure what it costs beside autograd: the time of both passes, what is
            saved for backward, and the memory taken at most.
        seed: of everything random; the global generator is left as it is.
        isolate: run the trials in a child process: where it dies, or says nothing for `timeout`
            seconds, that is a finding which names the trial, and the others are tried without it.
        timeout: seconds, with `isolate`; None: it may take forever.
        progress: told what is being tried; None: a line on a terminal where it takes over 2 s.

    Returns:
        `Report`; report.verdict is "right", "wrong", or "inconclusive" where nothing could be told.

    Raises:
        TypeError, ValueError: what cannot be compared, in one line.
        Whatever fn raises on the given inputs, with a note on the trial and the shapes.
    """
    question = Question(
        fn=fn,
        reference=reference,
        inputs=inputs,
        domain=domain,
        backward=backward,
        dtypes=_dtypes(dtypes),
        devices=_several(devices),
        transforms=transforms,
        compile=compile,
        order=order,
        cost=cost,
        seed=seed,
    )
    with progress_line(progress) as tell:
        if not isolate:
            return answer(question, tell)
        report, deaths = isolated(partial(answer, question), tell, timeout)
    return with_deaths(report, deaths)


def assert_gradients(fn: Any = None, reference: Any = None, **options: Any) -> Report:
    """`compare`, for tests: raises `GradientMismatch` with the report unless the gradient is right.

    Takes what `compare` takes.
    """
    report = compare(fn, reference, **options)
    if not report.ok:
        raise GradientMismatch(report)
    return report


def _dtypes(dtypes: Any) -> Sequence[torch.dtype] | None:
    given = (dtypes,) if isinstance(dtypes, torch.dtype) else dtypes
    if given is None:
        return None
    if isinstance(given, str) or not all(
        isinstance(dtype, torch.dtype) and dtype.is_floating_point for dtype in given
    ):
        raise TypeError(
            f"dtypes must be floating-point dtypes, as [torch.float32, torch.bfloat16]; "
            f"got {dtypes!r}"
        )
    return tuple(given)


def _several(devices: Any) -> tuple[Any, ...] | None:
    if devices is None:
        return None
    return (devices,) if isinstance(devices, str | torch.device) else tuple(devices)
