"""bp_torch: backpropagation with the derivative in plain sight."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bp_torch.chain_rule import Chain, LayerChain, backprop
    from bp_torch.costs import cross_entropy_cost, quadratic_cost
    from bp_torch.explanation import Explanation, explain
    from bp_torch.forms import sigmoid
    from bp_torch.fused import fused_cost
    from bp_torch.judge import GradientMismatch, Report, assert_gradients, compare
    from bp_torch.neuron import Layer, Network, Neuron
    from bp_torch.splits import SplitsReport, compare_splits
    from bp_torch.training.api import train
    from bp_torch.training.model_file import load, save
    from bp_torch.training.result import Result
    from bp_torch.training.trained import TrainedModel

__version__ = "0.1.0"

_HOMES = {
    "chain_rule": ("Chain", "LayerChain", "backprop"),
    "costs": ("cross_entropy_cost", "quadratic_cost"),
    "explanation": ("Explanation", "explain"),
    "forms": ("sigmoid",),
    "fused": ("fused_cost",),
    "judge": ("GradientMismatch", "Report", "assert_gradients", "compare"),
    "neuron": ("Layer", "Network", "Neuron"),
    "splits": ("SplitsReport", "compare_splits"),
    "training.api": ("train",),
    "training.model_file": ("load", "save"),
    "training.result": ("Result",),
    "training.trained": ("TrainedModel",),
}
"""Where each public name lives. It is imported when it is asked for: not every program needs all of
them, and the command line must hear Ctrl-C before torch is there."""

_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Chain",
    "Explanation",
    "GradientMismatch",
    "Layer",
    "LayerChain",
    "Network",
    "Neuron",
    "Report",
    "Result",
    "SplitsReport",
    "TrainedModel",
    "assert_gradients",
    "backprop",
    "compare",
    "compare_splits",
    "cross_entropy_cost",
    "explain",
    "fused_cost",
    "load",
    "quadratic_cost",
    "save",
    "sigmoid",
    "train",
]


def __dir__() -> list[str]:
    """With the names that come when they are asked for, for completion."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found  # the next time it is simply there
    return found
