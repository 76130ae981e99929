"""bp_torch: backpropagation with the derivative in plain sight."""

# As an attribute, `compare` is the function and no longer the package it comes from; modules of
# that package are imported by `from bp_torch.compare import …`.

from bp_torch.backprop import Chain, LayerChain, backprop
from bp_torch.compare import GradientMismatch, Report, assert_gradients, compare
from bp_torch.formulas import cross_entropy_cost, quadratic_cost
from bp_torch.functions import sigmoid
from bp_torch.fused import fused_cost
from bp_torch.modules import Layer, Network, Neuron
from bp_torch.train.checkpoint import load

__version__ = "0.1.0"

__all__ = [
    "Chain",
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
    "fused_cost",
    "load",
    "quadratic_cost",
    "sigmoid",
]
