"""The graph that autograd recorded, and what torch keeps in its nodes. Private names of torch that
the judge needs stand here, in transforms/marks.py and in truth/rounding.py."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

Node = Any
"""torch.autograd.graph.Node"""


def nodes(outputs: Iterable[Tensor]) -> list[Node]:
    """Every node behind `outputs`, those nearest to them first."""
    waiting = [output.grad_fn for output in outputs]
    found: dict[Node, None] = {}
    for node in waiting:  # which grows
        if node is not None and node not in found:
            found[node] = None
            waiting += [parent for parent, _ in node.next_functions]
    return list(found)


def is_leaf(node: Node) -> bool:
    """Whether the gradient ends here, at an input."""
    return bool(node.name().endswith("AccumulateGrad"))


def operation(node: Node) -> str:
    """ "sigmoid", of a SigmoidBackward0."""
    return str(node.name()).rstrip("0123456789").removesuffix("Backward").lower()


def refuses_again(gradients: Iterable[Tensor]) -> bool:
    """Whether a backward marked @once_differentiable gave these: its node raises, but only where
    the engine comes past it, and on its way to the inputs it does not."""
    return any(node.name() == "Error" for node in nodes(gradients))


def function_of(node: Node) -> type[torch.autograd.Function] | None:
    """The autograd.Function that a node belongs to."""
    return getattr(node, "_forward_cls", None)


def saved_output(node: Node) -> Tensor:
    """What σ, tanh or softmax saved for its backward: its output."""
    output: Tensor = node._saved_result.detach()
    return output
