"""Did a hand-written rule run? Right numbers do not prove it, since some transforms drop the rule
without a word and differentiate the forward.

So the transform runs once more with a mark on the rule, and the mark must show in the result.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from bp_torch.judge.distance import relative_distance
from bp_torch.judge.graph import function_of, nodes
from bp_torch.judge.passes import Refused, foreign_code

Function = type[torch.autograd.Function]


@contextmanager
def marked(function: Function, rule: str) -> Iterator[list[str]]:
    """Make a rule of an autograd.Function return 2r + 1 in place of each tensor r.

    Args:
        function: the class to mark, in itself and in the classes that it is made from, so that a
            sister which torch.compile is given in its place is marked with it; restored on leaving,
            whatever happens.
        rule: "backward" or "jvp". A class that writes its backward as `vjp` is marked there.

    Yields:
        A list that grows by one entry with every call outside a compiler.
    """
    if rule == "backward" and function.vjp is not torch.autograd.Function.vjp:
        rule = "vjp"
    calls: list[str] = []
    # torch's own rule only raises: then the class that was asked for is marked.
    ours = (each for each in function.__mro__ if not each.__module__.startswith("torch."))
    owners = [each for each in ours if rule in vars(each)] or [function]
    before = {owner: vars(owner).get(rule) for owner in owners}
    for owner in before:
        setattr(owner, rule, staticmethod(_with_mark(getattr(owner, rule), calls)))
    try:
        yield calls
    finally:
        for owner, own in before.items():
            if own is None:
                delattr(owner, rule)
            else:
                setattr(owner, rule, own)


def _with_mark(original: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def with_mark(ctx: Any, *arguments: Any) -> Any:
        # A compiler traces code without running it, so there a call proves nothing.
        if not torch.compiler.is_compiling():
            calls.append(original.__name__)
        result = original(ctx, *arguments)
        if isinstance(result, (tuple, list)):
            return tuple(_mark(entry) for entry in result)
        return _mark(result)

    return with_mark


def _mark(result: Any) -> Any:
    # Twice as large shows in every derivative of r that is not zero, plus one where r itself is.
    return 2 * result + 1 if isinstance(result, Tensor) else result


def functions_asked(outputs: Iterable[Tensor], gradient: Callable[[], Any]) -> list[Function]:
    """The autograd.Functions behind `outputs` whose backward the plain eager `gradient` asks.

    Found in the graph and not by watching Function.apply, since `F.apply` may have been bound
    long before.
    """
    asked = []
    for function in dict.fromkeys(filter(None, map(function_of, nodes(outputs)))):
        with marked(function, "backward") as calls, suppress(Refused):
            gradient()
        if calls:
            asked.append(function)
    return asked


def that_did_not_run(
    functions: Sequence[Function], rule: str, run: Callable[[], Any], plain: Any
) -> list[Function]:
    """Those of `functions` whose rule `run` leaves out.

    Args:
        functions: the classes in question.
        rule: "backward" or "jvp".
        run: computes a result anew, deterministic but for the marks.
        plain: what it gives without a mark.

    Returns:
        The classes whose rule was neither called nor shows in the result when it is marked.
    """
    silent = []
    for function in functions:
        with marked(function, rule) as calls:
            try:
                with foreign_code():
                    result = run()
            except Refused:  # only the rule has changed, so what fails has reached it
                continue
        if not calls and relative_distance(result, plain)[0] == 0:
            silent.append(function)
    return silent
