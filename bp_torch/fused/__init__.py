"""One pass over the data: a neuron's cost and gradients for the price of reading x once."""

from bp_torch.fused.function import fused_cost
from bp_torch.fused.step import cost_and_gradients, sgd_epoch

__all__ = ["cost_and_gradients", "fused_cost", "sgd_epoch"]
