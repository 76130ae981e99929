"""What torch's compiler and transforms have to be told. Private names of torch stand here alone.

A custom Function that is right in eager reverse mode is not yet right everywhere: torch.compile
refuses one that has a `jvp`, forward mode needs it, and two ways drop it in silence.
"""

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import Function, forward_ad
from torch.compiler import is_compiling


def everywhere(
    function: type[Function],
    formula: Callable[[Tensor], Tensor],
    *,
    eager: type[Function] | None = None,
) -> Callable[[Tensor], Tensor]:
    """z ↦ function.apply(z) under each of torch's ways to differentiate.

    Args:
        function: with a `jvp`, of one tensor.
        formula: the same value in operations that torch differentiates itself, for where it would
            not ask the function: nested forward mode takes a custom jvp for a constant (pytorch
            issue 197867), and torch.compile(torch.func.grad(…)) drops a custom rule or fails at it.
        eager: the function as eager code takes it, if in another way.
    """
    for_the_compiler, for_eager = without_jvp(function), eager or function

    def apply(z: Tensor) -> Tensor:
        compiling = is_compiling()
        reverse, forward = torch_func_levels()
        if forward > 1 or (compiling and reverse + forward > 0):
            return formula(z)
        chosen = for_the_compiler if compiling else for_eager
        return chosen.apply(z)  # type: ignore[no-any-return]

    return apply


def without_jvp(function: type[Function]) -> type[Function]:
    """The same Function as torch.compile takes it: it refuses one that has a jvp of its own."""
    return type(function.__name__, (function,), {"jvp": Function.jvp})


def torch_func_levels() -> tuple[int, int]:
    """How many torch.func transforms are at work around this call, in reverse and forward mode."""
    levels = [level.key() for level in _functorch.get_interpreter_stack() or ()]
    kinds = _functorch.TransformType
    return levels.count(kinds.Grad), levels.count(kinds.Jvp)


# The compiler is to ask once and not to look inside; it guards against a change by itself. This is
# torch.compiler.assume_constant_result, without its import of the whole compiler.
torch_func_levels._dynamo_marked_constant = True  # type: ignore[attr-defined]


def transformed() -> bool:
    """Whether any torch.func transform is at work around this call."""
    return torch._C._are_functorch_transforms_active()


def traced() -> bool:
    """Whether what is called now is recorded or followed by torch, rather than merely run."""
    return is_compiling() or _modes() > 0 or _is_tracing()


_modes, _is_tracing = torch._C._len_torch_dispatch_stack, torch._C._is_tracing


def apply_untransformed(function: type[Function]) -> Callable[..., Any]:
    """function.apply without the look at forward's signature that transforms need, which takes
    longer than a small step."""
    return super(Function, function).apply  # type: ignore[no-any-return, misc]


def watched(*tensors: Tensor) -> bool:
    """Whether anyone follows what is done to these: a graph, tangent, vmap, trace or subclass.

    False says that they are numbers on the CPU and nothing else. Not for compiled code.
    """
    return (
        forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
        or (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
        or not all(is_plain(t) for t in tensors)
    )


def is_plain(tensor: Tensor, device: str = "cpu") -> bool:
    """Whether a tensor is numbers that lie in the device's memory as they are read: not negated or
    conjugated lazily, no zeros without memory, sparse, batched, of a subclass or another device."""
    return torch._C._dispatch_keys(tensor).raw_repr() | _PLAIN[device] == _PLAIN[device]


def _dispatch_keys(*names: str) -> int:
    """What torch dispatches on, a bit for each."""
    sets = (torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, name)) for name in names)
    return reduce(or_, (keys.raw_repr() for keys in sets))


_PLAIN = {
    name.lower(): _dispatch_keys(name, "ADInplaceOrView", f"Autograd{name}", f"Autocast{name}")
    for name in ("CPU", "CUDA")
}
"""The keys of such a tensor: the device, and how its gradients and autocast are made there."""
