"""Whatever can be compared as a function of tensors: functions, modules, the classes of
autograd.Functions and bare backward formulas."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bp_torch.judge.arguments import Arguments, floating
from bp_torch.judge.own_forward import class_of
from bp_torch.judge.passes import Function, Refused, Tensors, each, note, outputs_of
from bp_torch.judge.undisturbed import undisturbed


def require_comparable(fn: Any, reference: Any, backward: Any) -> None:
    """Raise TypeError, in one line, for what is no function or one function too many."""
    if fn is None and backward is None:
        raise TypeError("expected a function, or backward= with a reference; got neither")
    if fn is not None and backward is not None:
        raise TypeError("expected a function or backward=, got both; compare them one by one")
    if backward is not None and reference is None:
        raise TypeError("backward= needs a reference, whose value is differentiated")
    for what, one in (("fn", fn), ("reference", reference)):
        if isinstance(one, type) and issubclass(one, nn.Module):
            name = one.__name__
            raise TypeError(f"{what} must be a module, got the class; pass {name}(…)")
        if one is not None and not callable(one):
            raise TypeError(f"{what} must be callable, got {type(one).__name__}")


def as_function(fn: Any, arguments: Arguments, parameters: int, what: str) -> Function:
    """`fn` of the tensors among its arguments, with its floating-point results as a tuple; a
    module's parameters come last."""
    call = _as_call(fn, parameters, what) if isinstance(fn, nn.Module) else _plainly(fn)

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = tensors[: len(tensors) - parameters]
        args, kwargs = arguments.filled(inputs)
        try:
            result = call(tensors[len(inputs) :], args, kwargs)
        except Exception as error:
            note(error, f"raised by {what}")
            raise
        found = floating(result)
        if not found:
            raise TypeError(
                f"{what} must return a floating-point tensor, or a tuple, list or dictionary of "
                f"them; got {_described(result)}"
            )
        return tuple(found)

    return function


def _plainly(fn: Callable[..., Any]) -> Callable[..., Any]:
    def call(values: Sequence[Tensor], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return fn(*args, *values, **kwargs)

    return call


def _described(result: Any) -> str:
    return str(result.dtype) if isinstance(result, Tensor) else type(result).__name__


def _as_call(fn: nn.Module, parameters: int, what: str) -> Callable[..., Any]:
    """A module as a function of its parameters and its arguments, with buffers of its own each
    time: the caller's module stays as it is."""
    module = copy.deepcopy(fn)
    own = [name for name, _ in module.named_parameters()]
    if len(own) != parameters:
        raise ValueError(
            f"{what} has {len(own)} parameters and fn has {parameters}; "
            f"compare modules with the same parameters in the same order"
        )

    def call(values: Sequence[Tensor], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        state = dict(zip(own, values, strict=True))
        like = floating((list(values), args, kwargs))[0]
        for name, buffer in module.named_buffers():
            state[name] = (
                buffer.to(like, copy=True) if buffer.is_floating_point() else buffer.clone()
            )
        return torch.func.functional_call(module, state, tuple(args), kwargs)

    return call


def with_backward(
    reference: Function, backward: Callable[..., Any], arguments: Arguments
) -> Callable[..., Any]:
    """A differentiable function: the reference's value, with the bare formula as its gradient."""

    class Bare(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Tensor) -> Any:
            outputs = reference(*inputs)
            return outputs[0] if len(outputs) == 1 else outputs

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, *upstream: Tensor) -> Any:
            args, kwargs = arguments.filled(ctx.saved_tensors)
            return backward(*upstream, *args, **kwargs)

    def function(*args: Any, **kwargs: Any) -> Any:
        given = Arguments(dict(zip(arguments.args, args, strict=False)), kwargs)
        return Bare.apply(*given.tensors().values())  # type: ignore[no-untyped-call]

    return function


def applied(function: Any) -> Any:
    """The function that an autograd.Function's class stands for."""
    found = class_of(function)
    return function if found is None else found.apply


def sources_of(*functions: Any) -> list[Any]:
    """Where the code is that may close over tensors; a module's own are its parameters."""
    return [class_of(one) or one for one in functions if not isinstance(one, nn.Module)]


def works_in_place(function: Function, inputs: Tensors) -> list[str]:
    """The inputs into which it writes what it returns, and says so: it gives back the input itself.

    An autograd.Function that changes its input without mark_dirty gives back another tensor.
    """
    leaves = each(inputs, lambda t: t.clone().requires_grad_(t.is_floating_point()))
    clones = each(leaves, torch.clone)  # in place is not for leaves
    try:
        with undisturbed():
            outputs = outputs_of(function, *clones.values())
    except Refused:  # the trials will tell
        return []
    return [
        name
        for name, tensor in clones.items()
        if any(tensor is output for output in outputs)
        and not torch.equal(tensor.detach().nan_to_num(), inputs[name].nan_to_num())
    ]


def on_clones(function: Function, inputs: Tensors, written: Sequence[str]) -> Function:
    """The function given clones of the inputs into which it writes."""
    cloned = [name in written for name in inputs]

    def cloning(*tensors: Tensor) -> tuple[Tensor, ...]:
        return function(*(t.clone() if c else t for t, c in zip(tensors, cloned, strict=True)))

    return cloning
