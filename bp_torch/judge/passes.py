"""One way to run a function and to differentiate it: everything that is compared went through here.

The function and its backward are foreign code. What they raise is their refusal, a `Refused`, and
nothing else is ever caught as one: an error of the judge's own must not look like theirs.
"""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bp_torch.judge.graph import refuses_again
from bp_torch.judge.widening import InFloat64

REASON = 100
"""Characters of what foreign code raised that are shown."""

Function = Callable[..., tuple[Tensor, ...]]
"""From tensors to their floating-point results."""

Tensors = dict[str, Tensor]
"""By the name of an input."""


class Refused(Exception):  # noqa: N818, it is no error of ours
    """Foreign code raised; `error` is what."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error

    @property
    def reason(self) -> str:
        """ "ValueError: expected a matrix", the beginning of the first line that says something."""
        lines = (line.strip() for line in str(self.error).splitlines())
        said = f"{type(self.error).__name__}: {next((line for line in lines if line), '')}"
        return textwrap.shorten(said, REASON, placeholder=" …")


def note(error: BaseException, text: str) -> None:
    """Add a note to what was raised, once; as add_note does, which Python 3.10 lacks."""
    notes = getattr(error, "__notes__", [])
    if text not in notes:
        setattr(error, "__notes__", [*notes, text])  # noqa: B010


@contextmanager
def foreign_code() -> Iterator[None]:
    """Around a call of foreign code: what it raises becomes `Refused`."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(error) from error


SEED = 0
"""Of torch's own generators before each run: what draws random numbers, as dropout does, draws the
same ones for both sides."""


def seed_torch(seed: int = SEED) -> None:
    """Set the generators that are in use; torch.manual_seed notes for every other device who asked,
    which takes longer than a small function."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def outputs_of(function: Function, *inputs: Tensor, seed: int = SEED) -> tuple[Tensor, ...]:
    """What the function gives, or its refusal."""
    seed_torch(seed)
    with foreign_code():
        return function(*inputs)


@dataclass(frozen=True, eq=False)
class Pass:
    """What a function gave: its outputs, and a gradient for each input that was wanted."""

    outputs: tuple[Tensor, ...]
    gradients: Tensors


@dataclass(frozen=True, eq=False)
class Point:
    """A function at one point, with an upstream gradient for each of its outputs.

    Called with the wanted inputs alone it is the function of them, the others held, as torch's
    transforms take it: what is raised then is not yet a `Refused`.
    """

    function: Function
    inputs: Tensors
    wanted: tuple[str, ...]
    """The inputs that it is differentiated by."""
    upstream: tuple[Tensor, ...]
    directions: Tensors | None = None
    """For each wanted input, where the second derivative along them is asked for."""
    wide: bool = False
    """Whether all that the function touches is in float64, and not its inputs alone."""

    def __call__(self, *wanted: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(self.wanted, wanted, strict=True))
        with self._widening():
            return self.function(*(given.get(name, t) for name, t in self.inputs.items()))

    def _widening(self) -> AbstractContextManager[Any]:
        return InFloat64() if self.wide else nullcontext()

    @torch.no_grad()
    def values(self) -> tuple[Tensor, ...]:
        """The outputs alone."""
        with self._widening():
            return outputs_of(self.function, *self.inputs.values())

    def at(self, inputs: Tensors) -> "Point":
        """The same with some inputs replaced."""
        return replace(self, inputs={**self.inputs, **inputs})

    def leaves(self) -> tuple[Tensor, ...]:
        """The wanted inputs as leaves of a new graph; strides and storage stay."""
        return tuple(self.inputs[name].detach().requires_grad_() for name in self.wanted)

    def keeps_the_shape(self) -> bool:
        """Whether all inputs and outputs have one shape."""
        return len({t.shape for t in (*self.inputs.values(), *self.upstream)}) == 1

    def of(self, function: Function) -> "Point":
        """Another function at the same point."""
        return replace(self, function=function)

    def exact(self) -> "Point":
        """The same point on the same numbers, with everything in float64."""
        return replace(self.changed(double), wide=True)

    def changed(self, change: Callable[[Tensor], Tensor], *, inputs: bool = True) -> "Point":
        """The same with every tensor changed; the inputs too, unless they are to stay."""
        directions = self.directions
        return replace(
            self,
            inputs=each(self.inputs, change) if inputs else self.inputs,
            upstream=tuple(map(change, self.upstream)),
            directions=None if directions is None else each(directions, change),
        )

    def run(self, seed: int = SEED) -> Pass:
        """Outputs, and the gradient of Σ upstream · output by every wanted input; with directions
        the gradient of Σ direction · gradient, a Hessian times a direction."""
        with self._widening():
            return self._run(seed)

    def _run(self, seed: int) -> Pass:
        leaves = self.leaves()
        outputs = outputs_of(self, *leaves, seed=seed)
        if [o.shape for o in outputs] != [g.shape for g in self.upstream]:
            raise Refused(
                ValueError(
                    f"fn gives shapes {[tuple(o.shape) for o in outputs]} where the reference "
                    f"gives {[tuple(g.shape) for g in self.upstream]}; compare functions with the "
                    f"same results"
                )
            )
        if self.directions is None:
            gradients = differentiate(outputs, self.upstream, leaves)
        else:
            # As in a network, the upstream gradient has a graph of its own: only then does a
            # backward that is once_differentiable say so.
            upstream = [g.detach().requires_grad_() for g in self.upstream]
            first = differentiate(outputs, upstream, leaves, graph=True)
            if refuses_again(first):
                raise Refused(RuntimeError("its backward is marked @once_differentiable"))
            along = [self.directions[name] for name in self.wanted]
            gradients = differentiate(first, along, (*leaves, *upstream))[: len(leaves)]
        return Pass(
            outputs=tuple(output.detach() for output in outputs),
            gradients={n: g.detach() for n, g in zip(self.wanted, gradients, strict=True)},
        )


def differentiate(
    outputs: Sequence[Tensor],
    upstream: Sequence[Tensor],
    leaves: Sequence[Tensor],
    *,
    graph: bool = False,
    retain: bool | None = None,
) -> tuple[Tensor, ...]:
    """The gradient of Σ upstream · output by every leaf; zeros where nothing depends on it.

    Args:
        graph: whether the gradients can be differentiated again.
        retain: whether the graph may be asked again; None: as for `graph`.
    """
    pairs = [(o, g) for o, g in zip(outputs, upstream, strict=True) if o.requires_grad]
    if not pairs:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    with foreign_code():
        return torch.autograd.grad(
            [o for o, _ in pairs],
            list(leaves),
            [g for _, g in pairs],
            create_graph=graph,
            retain_graph=retain,
            materialize_grads=True,
        )


def each(tensors: Tensors, change: Callable[[Tensor], Tensor]) -> Tensors:
    """The tensors changed, under their names."""
    return {name: change(tensor) for name, tensor in tensors.items()}


def double(tensor: Tensor) -> Tensor:
    """The same numbers in float64; integers stay."""
    return tensor.double() if tensor.is_floating_point() else tensor
