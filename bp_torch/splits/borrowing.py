"""The module itself is lent to what is tried, in float64 if need be, and given back as it was.

A copy would not do: a training loop closes over its optimizer, which knows the parameters of the
module and not those of a copy.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from bp_torch.judge.undisturbed import undisturbed
from bp_torch.judge.widening import InFloat64


@contextmanager
def borrowed(
    modules: Sequence[nn.Module], *, wide: bool, everything: bool = False
) -> Iterator[None]:
    """Around what may change the modules: parameters and buffers are copies, without gradients.

    Args:
        modules: the module, and the cost where it is one.
        wide: whether the copies are in float64.
        everything: whether all else that reaches torch meanwhile is in float64 as well.
    """
    parameters = list(dict.fromkeys(p for module in modules for p in module.parameters()))
    members = list(dict.fromkeys(each for module in modules for each in module.modules()))
    kept = [(p, p.data, p.grad, p.requires_grad) for p in parameters]
    states = [_State(each) for each in members]
    with ExitStack() as stack:
        stack.callback(_give_back, kept, states)
        stack.enter_context(_other_generators())
        stack.enter_context(undisturbed())
        if wide:  # 3 / 11 of whole numbers has the default dtype
            torch.set_default_dtype(torch.float64)
        for parameter in parameters:
            parameter.grad = None
            parameter.data = _copied(parameter.data, wide)
        for each in members:
            for name, buffer in each._buffers.items():
                each._buffers[name] = None if buffer is None else _copied(buffer, wide)
            for name, value in vars(each).items():
                if isinstance(value, Tensor):  # a constant that is no buffer
                    vars(each)[name] = _copied(value, wide)
        if everything:
            stack.enter_context(InFloat64())
        yield


def _copied(tensor: Tensor, wide: bool) -> Tensor:
    tensor = tensor.detach()
    dtype = torch.float64 if wide and tensor.is_floating_point() else tensor.dtype
    return tensor.to(dtype, copy=True)


class _State:
    """What stands in a module, and in its dictionaries, lists and sets: these come back themselves,
    since a handle to a hook knows the dictionary that it is in."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._own = module, dict(vars(module))
        holding = [v for v in self._own.values() if isinstance(v, dict | list | set)]
        self._contents = [(each, each.copy()) for each in holding]

    def give_back(self) -> None:
        for each, content in self._contents:
            each.clear()
            each.extend(content) if isinstance(each, list) else each.update(content)
        vars(self._module).clear()
        vars(self._module).update(self._own)


def _give_back(
    kept: list[tuple[nn.Parameter, Tensor, Tensor | None, bool]],
    states: list[_State],
) -> None:
    for state in states:
        state.give_back()
    for parameter, data, gradient, requires_grad in kept:
        parameter.grad = None  # of another dtype than what comes
        parameter.data = data
        parameter.grad = gradient
        parameter.requires_grad_(requires_grad)


@contextmanager
def _other_generators() -> Iterator[None]:
    """Python's random numbers and NumPy's, which augmentations draw from, afterwards as before."""
    numpy = sys.modules.get("numpy")
    python, array = random.getstate(), numpy.random.get_state() if numpy else None
    try:
        yield
    finally:
        random.setstate(python)
        if numpy and array is not None:
            numpy.random.set_state(array)
