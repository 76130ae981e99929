"""bp_torch: backpropagation with the derivative in plain sight."""

from bp_torch.backprop import Chain, LayerChain, backprop
from bp_torch.formulas import cross_entropy_cost, quadratic_cost
from bp_torch.functions import sigmoid
from bp_torch.modules import Layer, Network, Neuron
from bp_torch.train.checkpoint import load

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "Layer",
    "LayerChain",
    "Network",
    "Neuron",
    "backprop",
    "cross_entropy_cost",
    "load",
    "quadratic_cost",
    "sigmoid",
]
