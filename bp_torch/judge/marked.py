"""What became of a function under a transform: right, wrong, refused or bypassed.

Right numbers do not prove that a hand-written rule ran. So the transform runs once more with a
mark on the rule, and the mark must show in the result.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

Function = type[torch.autograd.Function]

Result = dict[str, Any]
"""By kind ("value", "gradient", …): a tensor, or tuples of tensors as torch nests them."""

DETAIL_LENGTH = 100  # characters of a verdict's detail: a table row


def nodes(outputs: Iterable[Tensor]) -> list[Any]:
    """Every node of the graph behind `outputs`."""
    waiting: list[Any] = [output.grad_fn for output in outputs]
    found: dict[Any, None] = {}
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found[node] = None
            waiting.extend(parent for parent, _ in node.next_functions)
    return list(found)


@contextmanager
def marked(function: Function, rule: str) -> Iterator[list[str]]:
    """Make a rule of an autograd.Function return 2r + 1 in place of each tensor r.

    Args:
        function: the class to mark, in itself or in the class that it has the rule from, so that a
            sister which torch.compile is given in its place is marked with it; restored on leaving,
            whatever happens.
        rule: "backward" or "jvp". A class that writes its backward as `vjp` is marked there.

    Yields:
        A list that grows by one entry with every call outside a compiler.
    """
    if rule == "backward" and function.vjp is not torch.autograd.Function.vjp:
        rule = "vjp"
    calls: list[str] = []
    owner = next(each for each in function.__mro__ if rule in vars(each))
    if owner.__module__.startswith("torch."):  # torch's own, which only raises
        owner = function
    original: Callable[..., Any] = getattr(function, rule)
    own = vars(owner).get(rule)

    def with_mark(ctx: Any, *arguments: Any) -> Any:
        # A compiler traces code without running it, so there a call proves nothing.
        if not torch.compiler.is_compiling():
            calls.append(rule)
        result = original(ctx, *arguments)
        if isinstance(result, (tuple, list)):
            return tuple(_mark(entry) for entry in result)
        return _mark(result)

    setattr(owner, rule, staticmethod(with_mark))
    try:
        yield calls
    finally:
        if own is None:
            delattr(owner, rule)
        else:
            setattr(owner, rule, own)


def _mark(result: Any) -> Any:
    # Twice as large shows in every derivative of r that is not zero, plus one where r itself is.
    return 2 * result + 1 if isinstance(result, Tensor) else result


def functions_asked(outputs: Iterable[Tensor], gradient: Callable[[], Any]) -> list[Function]:
    """The autograd.Functions behind `outputs` whose backward the plain eager `gradient` asks.

    Found in the graph and not by watching Function.apply, since `F.apply` may have been bound
    long before.
    """
    classes = (getattr(node, "_forward_cls", None) for node in nodes(outputs))
    asked = []
    for function in dict.fromkeys(each for each in classes if each is not None):
        with marked(function, "backward") as calls, suppress(Exception):
            gradient()
        if calls:
            asked.append(function)
    return asked


def that_did_not_run(
    functions: Sequence[Function], rule: str, run: Callable[[], Result], plain: Result
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
                error, _ = largest_error(run(), plain)
            except Exception:  # only the rule has changed, so what fails has reached it
                continue
        if not calls and error == 0:
            silent.append(function)
    return silent


def verdict(
    run: Callable[[], Result],
    expect: Callable[[], Result],
    tolerance: float,
    functions: Sequence[Function],
    rule: str,
) -> tuple[str, str]:
    """Judge a transform of a function.

    Args:
        run: the transform.
        expect: the same from plain eager autograd.
        tolerance: allowed error, relative to the largest entry expected.
        functions: the autograd.Functions whose rule has to run.
        rule: "backward" or "jvp".

    Returns:
        "right", "wrong", "refused" or "bypassed", and one short line that says why.
    """
    try:
        actual = run()
    except Exception as error:
        return "refused", _reason(error)
    try:
        expected = expect()
    except Exception as error:
        return "refused", _reason(error, "no reference: ")
    silent = that_did_not_run(functions, rule, run, actual)
    names = ", ".join(f"{function.__name__}.{rule}" for function in silent)
    size, where = largest_error(actual, expected)
    if size > tolerance:
        detail = f"relative error {size:.1e} in {where}" + (f"; {names} did not run" * bool(silent))
        return "wrong", detail[:DETAIL_LENGTH]
    if silent:
        return "bypassed", f"{names} did not run, torch differentiated its forward"[:DETAIL_LENGTH]
    return "right", ""


def _reason(error: Exception, of: str = "") -> str:
    lines = (line.strip() for line in str(error).splitlines())
    first = next((line for line in lines if line), "")
    return f"{of}{type(error).__name__}: {first}"[:DETAIL_LENGTH]


def largest_error(actual: Result, expected: Result) -> tuple[float, str]:
    """The largest error and where it is.

    Relative to the largest finite entry expected of its kind; absolute where only zeros are.
    NaN and infinity are right where they are expected.
    """
    worst = (0.0, "")
    for kind in expected:
        pairs = list(zip(_leaves(actual[kind], kind), _leaves(expected[kind], kind), strict=True))
        sizes = [float(e[e.isfinite()].abs().max()) for _, (_, e) in pairs if e.isfinite().any()]
        scale = max(sizes, default=0.0) or 1.0
        for (_, a), (name, e) in pairs:
            if a.shape != e.shape:
                return torch.inf, f"{name}, of shape {tuple(a.shape)} for {tuple(e.shape)}"
            same = (a == e) | (a.isnan() & e.isnan())
            error = ((a - e).abs() / scale).nan_to_num(torch.inf, torch.inf)
            size = float(error.masked_fill(same, 0).max()) if error.numel() else 0.0
            worst = max(worst, (size, name))
    return worst


def _leaves(nested: Any, name: str) -> list[tuple[str, Tensor]]:
    if isinstance(nested, Tensor):
        return [(name, nested.detach().double())]
    return [pair for i, each in enumerate(nested) for pair in _leaves(each, f"{name}[{i}]")]


@contextmanager
def undisturbed(inputs: Sequence[Tensor]) -> Iterator[None]:
    """Gradients on, warnings and logs off, and torch's generators afterwards as before."""
    devices = {t.device.index for t in inputs if t.device.type == "cuda"}
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            torch.random.fork_rng(devices=devices),
            torch.inference_mode(False),
            torch.enable_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
