"""What is compared: a function and its reference, in one shape, with inputs that both take."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from bp_torch.judge import closures, criteria
from bp_torch.judge.arguments import arguments_of
from bp_torch.judge.callables import (
    applied,
    as_function,
    on_clones,
    require_comparable,
    sources_of,
    with_backward,
    works_in_place,
)
from bp_torch.judge.closures import constants_of
from bp_torch.judge.domains import EVERYWHERE, Domain, domains
from bp_torch.judge.own_forward import class_of, own_forward
from bp_torch.judge.passes import (
    Function,
    Refused,
    Tensors,
    double,
    each,
    foreign_code,
    outputs_of,
)
from bp_torch.judge.undisturbed import undisturbed


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
        if any(t.shape != shape for t in exact.values()):
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
                    if t.is_floating_point()
                    else t  # a mask, say, or labels
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
    require_comparable(fn, reference, backward)
    arguments = arguments_of(inputs, (reference, fn))
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

    def brought(one: Any, what: str) -> Function:
        return as_function(one, arguments, len(parameters), what)

    peer: Function | None
    function, own = class_of(fn), False
    if function is not None and reference is None:
        peer, own = brought(own_forward(function), "the forward of fn"), True
    else:
        peer = None if reference is None else brought(applied(reference), "the reference")
    if backward is not None and peer is not None:
        hand = brought(with_backward(peer, backward, arguments), "fn")
    else:
        hand = brought(applied(fn), "fn")
    notes = []
    if written := works_in_place(hand, copies):
        hand = on_clones(hand, copies, written)
        notes.append(f"fn works in place, on {_and(written)}: it is given a clone each time")
    if peer is not None and (written := works_in_place(peer, copies)):
        peer = on_clones(peer, copies, written)
    sources = sources_of(fn, reference, backward)
    case = Case(
        fn=hand,
        reference=peer,
        inputs=copies,
        wanted=tuple(wanted),
        constants=_apart_from(copies, constants_of(*sources)),
        given=copies[wanted[0]].dtype,
        domain=domains(domain, [*arguments.args, *arguments.kwargs], floats),
        own_forward=own,
        numbers=arguments.numbers(),
        sources=tuple(sources),
        notes=tuple(notes),
    )
    case.require_in_its_domain()
    return case if chosen else _without_the_unasked(case)


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)


def _apart_from(inputs: Tensors, constants: Tensors) -> Tensors:
    return {f"{n} (constant)" if n in inputs else n: t for n, t in constants.items()}


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
