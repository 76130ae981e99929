"""What is compared: a function and its reference, in one shape, with inputs that both take."""

import copy
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bp_torch.judge import closures, criteria
from bp_torch.judge.closures import constants_of
from bp_torch.judge.passes import Function, Tensors, double, each, outputs_of

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, eq=False)
class Case:
    """A hand-written function and its reference, with inputs in one dtype on one device."""

    fn: Function
    reference: Function | None
    inputs: Tensors
    wanted: tuple[str, ...]
    """The inputs that are differentiated."""
    constants: Tensors
    """What the functions close over, by its name in their source."""
    given: torch.dtype
    """The dtype that the inputs came in, and the constants with them."""

    @property
    def told_by(self) -> Function:
        """The function whose values count: the reference's, or where there is none fn's own."""
        return self.reference or self.fn

    @property
    def dtype(self) -> torch.dtype:
        """That of the inputs that are differentiated."""
        return self.inputs[self.wanted[0]].dtype

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.inputs[self.wanted[0]].device

    def to(self, dtype: torch.dtype, device: torch.device) -> "Case":
        """The same with its floating-point inputs in that dtype, and all of them on that device."""

        def cast(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype if tensor.is_floating_point() else tensor.dtype)

        return replace(self, inputs=each(self.inputs, cast))

    def constants_cast(self) -> AbstractContextManager[None]:
        """Inside, what the functions close over has the dtype of this case."""
        return closures.cast(self.constants, self.given, self.dtype)

    @cached_property
    def pointwise(self) -> bool:
        """Whether every output element depends on the inputs' elements in the same place alone.

        Found by changing about half of the elements, chosen at random a few times: the outputs in
        the others must not move.
        """
        exact = [double(tensor) for tensor in self.inputs.values()]
        shape = exact[0].shape
        if not all(t.is_floating_point() and t.shape == shape for t in exact) or not shape.numel():
            return False
        with torch.no_grad():
            before = outputs_of(self.told_by, *exact)
            if any(output.shape != shape for output in before):
                return False
            if shape.numel() == 1:
                return True
            generator = torch.Generator().manual_seed(0)
            for shift in (0.5, -0.5, 3.0, -3.0) * criteria.HALVES:
                drawn = torch.rand(shape, generator=generator, device="cpu")
                stays = (drawn < 0.5).to(exact[0].device)
                after = outputs_of(self.told_by, *(t.where(stays, t * 1.25 + shift) for t in exact))
                for a, b in zip(after, before, strict=True):
                    if not torch.equal(a[stays].nan_to_num(), b[stays].nan_to_num()):
                        return False
        return True


def make_case(
    fn: Any, reference: Any, inputs: Sequence[Any], backward: Callable[..., Any] | None
) -> Case:
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
    if fn is None and backward is None:
        raise TypeError("expected a function, or backward= with a reference; got neither")
    if fn is not None and backward is not None:
        raise TypeError("expected a function or backward=, got both; compare them one by one")
    for what, each_function in (("fn", fn), ("reference", reference)):
        if isinstance(each_function, type) and issubclass(each_function, nn.Module):
            name = each_function.__name__
            raise TypeError(f"{what} must be a module, got the class; pass {name}(…)")
    fn, reference = _applied(fn), _applied(reference)
    if backward is not None and reference is None:
        raise TypeError("backward= needs a reference, whose value is differentiated")
    given = dict(zip(_names((reference, fn), len(tensors)), tensors, strict=True))
    wanted = [name for name, t in given.items() if t.is_floating_point() and t.requires_grad]
    if not wanted:
        wanted = [name for name, t in given.items() if t.is_floating_point()]
    parameters: Tensors = {}
    if isinstance(fn, nn.Module):
        for name, parameter in fn.named_parameters():
            distinct = f"{name} (parameter)" if name in given else name
            parameters[distinct] = parameter
            wanted += [distinct] * parameter.requires_grad
    if not wanted:
        raise ValueError(
            "no input can be differentiated: expected a floating-point tensor among the inputs, "
            f"got {', '.join(str(t.dtype) for t in tensors) or 'none'}"
        )
    if backward is not None:
        fn = _with_backward(_as_function(reference, len(parameters), "reference"), backward)
    constants = constants_of(*(f for f in (fn, reference) if not isinstance(f, nn.Module)))
    if backward is not None:
        constants |= constants_of(backward)
    # Copies: whatever a function does to its inputs, the caller's stay as they are.
    copies = {name: t.detach().clone() for name, t in {**given, **parameters}.items()}
    return Case(
        fn=_as_function(fn, len(parameters), "fn"),
        reference=reference and _as_function(reference, len(parameters), "reference"),
        inputs=copies,
        wanted=tuple(wanted),
        constants={f"{n} (constant)" if n in copies else n: t for n, t in constants.items()},
        given=copies[wanted[0]].dtype,
    )


def _applied(function: Any) -> Any:
    """The function that an autograd.Function's class stands for."""
    if isinstance(function, type) and issubclass(function, torch.autograd.Function):
        return function.apply
    return function


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


def _as_function(fn: Any, parameters: int, what: str) -> Function:
    """`fn` with its floating-point results as a tuple; a module's parameters come last."""
    if not callable(fn):
        raise TypeError(f"{what} must be callable, got {type(fn).__name__}")
    call = _as_call(fn, parameters, what) if isinstance(fn, nn.Module) else fn

    def function(*arguments: Tensor) -> tuple[Tensor, ...]:
        result = call(*arguments)
        outputs = (result,) if isinstance(result, Tensor) else result
        if not isinstance(outputs, tuple | list) or not all(isinstance(o, Tensor) for o in outputs):
            raise TypeError(
                f"{what} must return a tensor or a tuple of tensors, got {type(result).__name__}"
            )
        floating = tuple(output for output in outputs if output.is_floating_point())
        if not floating:
            raise ValueError(
                f"{what} must return a floating-point tensor, got "
                f"{', '.join(str(output.dtype) for output in outputs) or 'none'}"
            )
        return floating

    return function


def _as_call(fn: nn.Module, parameters: int, what: str) -> Callable[..., Any]:
    """A module as a function of its inputs and its parameters, with buffers of its own each time:
    the caller's module stays as it is."""
    module = copy.deepcopy(fn)
    own = [name for name, _ in module.named_parameters()]
    if len(own) != parameters:
        raise ValueError(
            f"{what} has {len(own)} parameters and fn has {parameters}; "
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

    return call


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
