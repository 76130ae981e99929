"""One pass over the data: a neuron's cost and gradients for the price of reading x once."""

from bp_torch.fused.autograd import fused_cost
from bp_torch.fused.chunks import rows_per_chunk
from bp_torch.fused.epoch import sgd_epoch
from bp_torch.fused.step import chunk_sums, cost_and_gradients

__all__ = ["chunk_sums", "cost_and_gradients", "fused_cost", "rows_per_chunk", "sgd_epoch"]
