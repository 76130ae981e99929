"""The module that a run trains: built in memory that there is, and described in words."""

from itertools import pairwise

import torch

from bp_torch import checks
from bp_torch.dtypes import DTYPES
from bp_torch.neuron import Model, Network, Neuron
from bp_torch.table.table import Table
from bp_torch.training.config import Config
from bp_torch.training.data import NUMBERS_LOOKED_AT
from bp_torch.training.device import resolve_device

BYTES_PER_NUMBER = 64
"""At the peak, measured, for each parameter and for each neuron's output for each sample: gradients
are compared, and all factors of the chain rule looked at, in several copies, some in float64."""


def sizes_of(module: Model) -> list[int]:
    """The number of features, then of neurons in each layer; a lone neuron has no such number."""
    outputs = [len(layer.bias) for layer in module.layers if layer.bias.ndim]
    return [module.layers[0].weight.shape[-1], *outputs]


def build(config: Config, table: Table, generator: torch.Generator) -> Model:
    """One neuron where two classes and no hidden layer allow it, a network otherwise.

    The weights are drawn on the CPU and in float32, so that they are the same on every device and,
    rounded, in every dtype. Raises ValueError for layers that do not fit into memory.
    """
    features, outputs = table.train.x.shape[1], table.target.outputs
    sizes = [features, *config.layers, outputs or 1]
    device = resolve_device(config.device)
    _require_memory(sizes, min(len(table.train.x), NUMBERS_LOOKED_AT // features), device)
    module: Model
    if outputs or config.layers:
        module = Network(sizes, config.derivative, dtype=torch.float32, generator=generator)
    else:
        module = Neuron(features, config.derivative, dtype=torch.float32, generator=generator)
    with torch.no_grad():
        for layer in module.layers:
            if config.init_weight is not None:
                layer.weight.fill_(config.init_weight)
            if config.init_bias is not None:
                layer.bias.fill_(config.init_bias)
    return module.to(device=device, dtype=DTYPES[config.dtype])


def describe(module: Model) -> str:
    """ "one neuron, 31 parameters" or "a network of 64-30-10, 2260 parameters"."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if isinstance(module, Neuron):
        return f"one neuron, {parameters} parameters"
    return f"a network of {'-'.join(map(str, sizes_of(module)))}, {parameters} parameters"


def _require_memory(sizes: list[int], samples: int, device: torch.device) -> None:
    parameters = sum(inputs * outputs + outputs for inputs, outputs in pairwise(sizes))
    checks.require_memory(
        f"training a network of {'-'.join(map(str, sizes))}, with {parameters:,} parameters,",
        BYTES_PER_NUMBER * (parameters + samples * sum(sizes[1:])),
        device,
        "choose fewer or smaller layers",
    )
