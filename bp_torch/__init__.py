"""bp_torch: backpropagation with the derivative in plain sight."""

from bp_torch.chain_rule import Chain, LayerChain, backprop
from bp_torch.costs import cross_entropy_cost, quadratic_cost
from bp_torch.forms import sigmoid
from bp_torch.fused import fused_cost
from bp_torch.judge import GradientMismatch, Report, assert_gradients, compare
from bp_torch.neuron import Layer, Network, Neuron
from bp_torch.training.checkpoint import load

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
