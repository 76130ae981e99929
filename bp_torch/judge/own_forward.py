"""The forward of an autograd.Function as plain code that autograd differentiates: the Function as
its own reference."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.autograd import Function


class StandIn:
    """What forward is given for `ctx`: it keeps what it is told, and nothing else."""

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self.saved_tensors: tuple[Any, ...] = ()
        self.not_differentiable: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """As torch's; what was saved can be read again."""
        self.saved_tensors = tensors

    save_for_forward = save_for_backward

    def mark_non_differentiable(self, *outputs: Any) -> None:
        """Gradients end at these outputs."""
        self.not_differentiable = outputs

    def mark_dirty(self, *inputs: Any) -> None:
        """That forward changes these inputs in place makes no difference to autograd."""

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward is given zeros: there is none here."""


def class_of(fn: Any) -> type[Function] | None:
    """The autograd.Function that is meant, by the class itself or by its `apply`; else None."""
    if getattr(fn, "__name__", "") == "apply":
        fn = getattr(fn, "__self__", None)
    return fn if isinstance(fn, type) and issubclass(fn, Function) else None


def takes_ctx(function: type[Function]) -> bool:
    """Whether its forward is of the older style, forward(ctx, …)."""
    return bool(function.setup_context is Function.setup_context)


def own_forward(function: type[Function]) -> Callable[..., Any]:
    """Forward with a stand-in for ctx, to be called as `apply` is.

    Both styles are taken: forward(ctx, …), and forward(…) with setup_context(ctx, inputs, output).
    """
    old_style = takes_ctx(function)

    def forward(*inputs: Any) -> Any:
        ctx = StandIn(tuple(isinstance(i, Tensor) and i.requires_grad for i in inputs))
        if old_style:
            outputs = function.forward(ctx, *inputs)
        else:
            outputs = function.forward(*inputs)
            function.setup_context(ctx, inputs, outputs)
        if not ctx.not_differentiable:
            return outputs
        ends = {id(output) for output in ctx.not_differentiable}
        if isinstance(outputs, Tensor):
            return outputs.detach() if id(outputs) in ends else outputs
        return tuple(o.detach() if id(o) in ends else o for o in outputs)

    return forward
