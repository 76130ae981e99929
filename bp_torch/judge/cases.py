"""What is compared: a function and its reference, in one shape, with inputs that both take."""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bp_torch.judge import closures, criteria
from bp_torch.judge.arguments import Arguments, floating
from bp_torch.judge.closures import constants_of
from bp_torch.judge.domains import EVERYWHERE, Domain, domains
from bp_torch.judge.own_forward import class_of, own_forward, takes_ctx
from bp_torch.judge.passes import (
    Function,
    Refused,
    Tensors,
    double,
    each,
    foreign_code,
    note,
    outputs_of,
)
from bp_torch.judge.undisturbed import undisturbed

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
    domain: dict[str, Domain] = field(default_factory=dict)
    """Of inputs that are not defined everywhere."""
    own_forward: bool = False
    """Whether the reference is the forward of fn itself, which autograd differentiates."""
    numbers: dict[str, float] = field(default_factory=dict)
    """Plain numbers among the arguments, by name."""
    sources: tuple[Any, ...] = ()
    """The functions as they were given: where their code can be read."""
    label: str = ""
    """Of the draw of the inputs, where there are several."""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

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

    def domain_of(self, name: str) -> Domain:
        """Where that input may lie."""
        return self.domain.get(name, EVERYWHERE)

    def to(self, dtype: torch.dtype, device: torch.device) -> "Case":
        """The same with its floating-point inputs in that dtype, and all of them on that device."""

        def cast(name: str, tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor.to(device)
            return self.domain_of(name).inside(tensor, tensor.to(device, dtype))

        return replace(self, inputs={name: cast(name, t) for name, t in self.inputs.items()})

    def require_in_its_domain(self) -> None:
        """Raise ValueError where an input lies outside."""
        for name, tensor in self.inputs.items():
            if not self.domain_of(name).has(tensor):
                raise ValueError(
                    f"{name} must lie in its domain, {self.domain_of(name)}; got numbers from "
                    f"{tensor.min().item():.6g} to {tensor.max().item():.6g}"
                )

    def constants_cast(self) -> AbstractContextManager[None]:
        """Inside, what the functions close over has the dtype of this case."""
        return closures.cast(self.constants, self.given, self.dtype)

    @cached_property
    def pointwise(self) -> bool:
        """Whether every output element depends on the inputs' elements in the same place alone.

        Found by changing about half of the elements, chosen at random a few times: the outputs in
        the others must not move.
        """
        exact = each(self.inputs, double)
        first, *_ = exact.values()
        shape = first.shape
        if not all(t.is_floating_point() and t.shape == shape for t in exact.values()):
            return False
        if not shape.numel():
            return False
        with torch.no_grad():
            before = outputs_of(self.told_by, *exact.values())
            if any(output.shape != shape for output in before):
                return False
            if shape.numel() == 1:
                return True
            generator = torch.Generator().manual_seed(0)
            moves = (0.5, -0.5, 3.0, -3.0) * criteria.HALVES
            said = 0
            for shift in moves:
                drawn = torch.rand(shape, generator=generator, device="cpu")
                stays = (drawn < 0.5).to(first.device)
                moved = {
                    name: t.where(stays, self.domain_of(name).keep(t * 1.25 + shift, t))
                    for name, t in exact.items()
                }
                try:
                    after = outputs_of(self.told_by, *moved.values())
                except Refused:  # it is not defined there
                    continue
                said += 1
                for a, b in zip(after, before, strict=True):
                    if not torch.equal(a[stays].nan_to_num(), b[stays].nan_to_num()):
                        return False
        return said > 0


def make_case(
    fn: Any,
    reference: Any,
    inputs: Any,
    backward: Callable[..., Any] | None = None,
    domain: Any = None,
) -> Case:
    """Bring functions, modules, autograd.Functions and bare backward formulas into one shape.

    Raises TypeError or ValueError, in one line, for what cannot be compared.
    """
    _require_comparable(fn, reference, backward)
    arguments = _arguments(inputs, (reference, fn))
    given = arguments.tensors()
    parameters: Tensors = {}
    if isinstance(fn, nn.Module):
        for name, parameter in fn.named_parameters():
            parameters[f"{name} (parameter)" if name in given else name] = parameter
    floats = [name for name, t in given.items() if t.is_floating_point()]
    chosen = [name for name in floats if given[name].requires_grad]
    wanted = (chosen or floats) + [name for name, p in parameters.items() if p.requires_grad]
    if not wanted:
        raise ValueError(
            "no input can be differentiated: expected a floating-point tensor among the inputs, "
            f"got {', '.join(str(t.dtype) for t in given.values()) or 'none'}"
        )
    # Copies: whatever a function does to its inputs, the caller's stay as they are.
    copies = {name: t.detach().clone() for name, t in {**given, **parameters}.items()}

    def as_function(one: Any, what: str) -> Function:
        return _as_function(one, arguments, len(parameters), what)

    peer: Function | None
    function, own = class_of(fn), False
    if function is not None and reference is None:
        peer, own = as_function(own_forward(function), "the forward of fn"), True
    else:
        peer = None if reference is None else as_function(_applied(reference), "the reference")
    if backward is not None and peer is not None:
        fn_itself = as_function(_with_backward(peer, backward, arguments), "fn")
    else:
        fn_itself = as_function(_applied(fn), "fn")
    notes = []
    if written := _works_in_place(fn_itself, copies):
        fn_itself = _on_clones(fn_itself, copies, written)
        notes.append(f"fn works in place, on {_and(written)}: it is given a clone each time")
    if peer is not None and (written := _works_in_place(peer, copies)):
        peer = _on_clones(peer, copies, written)
    case = Case(
        fn=fn_itself,
        reference=peer,
        inputs=copies,
        wanted=tuple(wanted),
        constants=_apart_from(copies, constants_of(*_sources(fn, reference, backward))),
        given=copies[wanted[0]].dtype,
        domain=domains(domain, [*arguments.args, *arguments.kwargs], list(given)),
        own_forward=own,
        numbers=arguments.numbers(),
        sources=tuple(_sources(fn, reference, backward)),
        notes=tuple(notes),
    )
    case.require_in_its_domain()
    return case if chosen else _without_the_unasked(case)


def _require_comparable(fn: Any, reference: Any, backward: Any) -> None:
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


def _arguments(inputs: Any, functions: Sequence[Any]) -> Arguments:
    """The arguments of one call: one tensor, a sequence of arguments, or a mapping of named ones.

    A mapping that no signature takes by its keys is one argument, as of fn(params).
    """
    if isinstance(inputs, Tensor):
        inputs = (inputs,)
    if isinstance(inputs, Mapping):
        if _takes_keys(inputs, functions):
            return _checked(Arguments({}, dict(inputs)))
        inputs = (inputs,)
    if not isinstance(inputs, list | tuple):
        raise TypeError(
            f"inputs must be a tensor, a sequence of arguments or a mapping of named ones, got "
            f"{type(inputs).__name__}"
        )
    names = _names(functions, len(inputs))
    return _checked(Arguments(dict(zip(names, inputs, strict=True)), {}))


def _checked(arguments: Arguments) -> Arguments:
    for name, value in (*arguments.args.items(), *arguments.kwargs.items()):
        if type(value).__module__ == "numpy":
            raise TypeError(
                f"inputs must be tensors, got a numpy {type(value).__name__} as {name}; "
                f"torch.as_tensor makes one of it"
            )
    for name, tensor in arguments.tensors().items():
        if tensor.layout is not torch.strided:
            raise TypeError(
                f"inputs must be dense tensors, got {tensor.layout} as {name}; compare "
                f"lambda values: fn(torch.sparse_coo_tensor(indices, values, size))"
            )
    return arguments


def _takes_keys(inputs: Mapping[Any, Any], functions: Sequence[Any]) -> bool:
    for signature in _signatures(functions):
        try:
            signature.bind(**inputs)
            return True
        except TypeError:
            continue
    return False


def _names(functions: Sequence[Any], count: int) -> list[str]:
    """What the first of these functions that tells calls its arguments; else "input 0", …"""
    for signature in _signatures(functions):
        parameters = list(signature.parameters.values())[:count]
        if len(parameters) == count and all(p.kind in POSITIONAL for p in parameters):
            return [parameter.name for parameter in parameters]
    return ["input"] if count == 1 else [f"input {number}" for number in range(count)]


def _signatures(functions: Sequence[Any]) -> list[inspect.Signature]:
    """Of each that has one; of an autograd.Function that of its forward, without ctx."""
    found = []
    for one in functions:
        function = class_of(one)
        call = one.forward if isinstance(one, nn.Module) else one
        try:
            signature = inspect.signature(function.forward if function else call)
        except (TypeError, ValueError):  # None, or a builtin
            continue
        if function and takes_ctx(function):
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        found.append(signature)
    return found


def _sources(*functions: Any) -> list[Any]:
    """Where the code is that may close over tensors; a module's own are its parameters."""
    return [class_of(one) or one for one in functions if not isinstance(one, nn.Module)]


def _apart_from(inputs: Tensors, constants: Tensors) -> Tensors:
    return {f"{n} (constant)" if n in inputs else n: t for n, t in constants.items()}


def _applied(function: Any) -> Any:
    """The function that an autograd.Function's class stands for."""
    found = class_of(function)
    return function if found is None else found.apply


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def _works_in_place(function: Function, inputs: Tensors) -> list[str]:
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


def _on_clones(function: Function, inputs: Tensors, written: Sequence[str]) -> Function:
    cloned = [name in written for name in inputs]

    def on_clones(*tensors: Tensor) -> tuple[Tensor, ...]:
        return function(*(t.clone() if c else t for t, c in zip(tensors, cloned, strict=True)))

    return on_clones


def _without_the_unasked(case: Case) -> Case:
    """The case without inputs that nobody marked and for which fn gives no gradient, as a loss
    does for its target."""
    leaves = {n: t.clone().requires_grad_(n in case.wanted) for n, t in case.inputs.items()}
    try:
        with undisturbed(), foreign_code():
            outputs = [o for o in outputs_of(case.fn, *leaves.values()) if o.requires_grad]
            found = torch.autograd.grad(
                outputs,
                [leaves[name] for name in case.wanted],
                list(map(torch.ones_like, outputs)),
                allow_unused=True,
            )
    except Refused:  # the trials will tell
        return case
    none = [n for n, gradient in zip(case.wanted, found, strict=True) if gradient is None]
    if not none or len(none) == len(case.wanted):
        return case
    warning = (
        f"fn gives no gradient for {_and(none)} (None): not judged; where it should, mark the "
        f"input with requires_grad_()"
    )
    kept = tuple(name for name in case.wanted if name not in none)
    return replace(case, wanted=kept, warnings=(*case.warnings, warning))


def _as_function(fn: Any, arguments: Arguments, parameters: int, what: str) -> Function:
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


def _with_backward(
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
