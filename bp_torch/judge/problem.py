"""What is compared, in one shape: functions of tensors that give a tuple of tensors."""

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Function = Callable[..., tuple[Tensor, ...]]

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, eq=False)
class Problem:
    """A hand-written function and its reference, with inputs that both take."""

    fn: Function
    reference: Function | None
    names: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    wanted: tuple[bool, ...]
    """Which inputs are differentiated."""


def make_problem(
    fn: Any, reference: Any, inputs: Sequence[Any], backward: Callable[..., Any] | None
) -> Problem:
    """Bring functions, modules and bare backward formulas into one shape.

    Raises TypeError or ValueError, in one line, for what cannot be compared.
    """
    tensors = tuple(inputs)
    for position, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"inputs must be tensors, got {type(tensor).__name__} at position {position}; "
                f"close over other arguments, as lambda x: fn(x, 3)"
            )
        if tensor.is_complex():
            raise TypeError(
                f"complex inputs are not supported, got {tensor.dtype} at position {position}; "
                f"compare the real and imaginary parts as inputs of their own"
            )
    names = _names((reference, fn), len(tensors))
    parameters: dict[str, Tensor] = {}
    if isinstance(fn, nn.Module):
        parameters = {name: p.detach() for name, p in fn.named_parameters()}
        requires = [p.requires_grad for p in fn.parameters()]
    else:
        requires = []
    if fn is None and backward is None:
        raise TypeError("expected a function, or backward= with a reference; got neither")
    if backward is not None:
        if reference is None:
            raise TypeError("backward= needs a reference, whose value is differentiated")
        fn = _with_backward(_as_function(reference, parameters, "reference"), backward)
    wanted = [t.is_floating_point() and t.requires_grad for t in tensors]
    if not any(wanted):
        wanted = [t.is_floating_point() for t in tensors]
    problem = Problem(
        fn=_as_function(fn, parameters, "fn"),
        reference=None if reference is None else _as_function(reference, parameters, "reference"),
        names=(*names, *parameters),
        # Copies: whatever a function does to its inputs, the caller's stay as they are.
        inputs=tuple(t.detach().clone() for t in (*tensors, *parameters.values())),
        wanted=(*wanted, *requires),
    )
    if not any(problem.wanted):
        raise ValueError(
            "no input can be differentiated: expected a floating-point tensor among the inputs, "
            f"got {', '.join(str(t.dtype) for t in tensors) or 'none'}"
        )
    return problem


def _names(functions: Sequence[Any], count: int) -> list[str]:
    """What the first of these functions that tells calls its arguments; else "input 0", …"""
    for function in functions:
        call = function.forward if isinstance(function, nn.Module) else function
        try:
            parameters = list(inspect.signature(call).parameters.values())[:count]
        except (TypeError, ValueError):  # None, or a builtin
            continue
        if len(parameters) == count and all(p.kind in POSITIONAL for p in parameters):
            return [parameter.name for parameter in parameters]
    return ["input"] if count == 1 else [f"input {number}" for number in range(count)]


def _as_function(fn: Any, parameters: dict[str, Tensor], what: str) -> Function:
    """`fn` with its result as a tuple of tensors, and a module's parameters as last arguments."""
    if not callable(fn):
        raise TypeError(f"{what} must be callable, got {type(fn).__name__}")
    call: Callable[..., Any] = fn
    if isinstance(fn, nn.Module):
        # A copy, and its buffers copied again for every call: the caller's module stays as it is.
        module = copy.deepcopy(fn)
        own = [name for name, _ in module.named_parameters()]
        if len(own) != len(parameters):
            raise ValueError(
                f"{what} has {len(own)} parameters and fn has {len(parameters)}; "
                f"compare modules with the same parameters in the same order"
            )

        def call(*arguments: Tensor) -> Any:
            plain = len(arguments) - len(own)
            state = dict(zip(own, arguments[plain:], strict=True))
            like = next(t for t in arguments if t.is_floating_point())
            for name, buffer in module.named_buffers():
                state[name] = (
                    buffer.to(like, copy=True) if buffer.is_floating_point() else buffer.clone()
                )
            return torch.func.functional_call(module, state, arguments[:plain])

    def function(*arguments: Tensor) -> tuple[Tensor, ...]:
        result = call(*arguments)
        outputs = (result,) if isinstance(result, Tensor) else result
        if not isinstance(outputs, tuple | list) or not all(isinstance(o, Tensor) for o in outputs):
            raise TypeError(
                f"{what} must return a tensor or a tuple of tensors, got {type(result).__name__}"
            )
        return tuple(outputs)

    return function


def _with_backward(reference: Function, backward: Callable[..., Any]) -> Callable[..., Any]:
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
            return backward(*upstream, *ctx.saved_tensors)

    return lambda *inputs: Bare.apply(*inputs)  # type: ignore[no-untyped-call]
