"""bp_torch: backpropagation with the derivative in plain sight."""

from typing import TYPE_CHECKING, Any

from bp_torch.chain_rule import Chain, LayerChain, backprop
from bp_torch.costs import cross_entropy_cost, quadratic_cost
from bp_torch.forms import sigmoid
from bp_torch.fused import fused_cost
from bp_torch.neuron import Layer, Network, Neuron
from bp_torch.training.checkpoint import load

if TYPE_CHECKING:
    from bp_torch.explanation import Explanation, explain
    from bp_torch.judge import GradientMismatch, Report, assert_gradients, compare

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "Explanation",
    "GradientMismatch",
    "Layer",
    "LayerChain",
    "Network",
    "Neuron",
    "Report",
    "assert_gradients",
    "backprop",
    "compare",
    "cross_entropy_cost",
    "explain",
    "fused_cost",
    "load",
    "quadratic_cost",
    "sigmoid",
]


def __dir__() -> list[str]:
    """With the names that come when they are asked for, for completion."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """What not every program needs, when it is asked for: it would be most of the import's cost."""
    if name in ("GradientMismatch", "Report", "assert_gradients", "compare"):
        from bp_torch import judge

        return getattr(judge, name)
    if name in ("Explanation", "explain"):
        from bp_torch import explanation

        return getattr(explanation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
