"""A trained module on disk: its weights as safetensors, what it is in the file's metadata."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from bp_torch.forms import Derivative
from bp_torch.neuron import Model, Network, Neuron

FORMAT = "bp_torch 1"


@dataclass(frozen=True)
class About:
    """What a saved module was trained on and how; kept beside the weights, as JSON."""

    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    training: dict[str, Any]


def save(module: Model, path: Path, about: About) -> None:
    """Write the module in one piece: a crash leaves either the whole file or none."""
    from safetensors.torch import save_file

    layers = module.layers
    outputs = [len(layer.bias) for layer in layers if layer.bias.ndim]
    metadata = {
        "format": FORMAT,
        "module": type(module).__name__,
        "sizes": json.dumps([layers[0].weight.shape[-1], *outputs]),
        "derivative": layers[0].derivative,
        "feature_names": json.dumps(about.feature_names),
        "class_names": json.dumps(about.class_names),
        "training": json.dumps(about.training),
    }
    unfinished = path.with_suffix(".unfinished")
    save_file(module.state_dict(), unfinished, metadata=metadata)
    os.replace(unfinished, path)


def load(path: str | os.PathLike[str]) -> Model:
    """A trained module, ready for raw features as they stood in the data.

    Args:
        path: a model.safetensors that `bp-torch train` wrote.

    Returns:
        The `Neuron` or `Network` on the CPU; float32, or float64 where it was trained so.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a model of this package.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(
            f"no model at {os.fspath(path)}; bp-torch train writes runs/NAME/model.safetensors"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)} is not a safetensors file: {error}") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{os.fspath(path)} is not a model of this package: its format is "
            f"{metadata.get('format')!r}, expected {FORMAT!r}"
        )
    module = _build(metadata)
    module.to(next(iter(weights.values())).dtype).load_state_dict(weights)
    return module


def _build(metadata: dict[str, str]) -> Model:
    sizes = json.loads(metadata["sizes"])
    # The initial weights are overwritten at once: drawing them must not disturb the caller's seed.
    generator = torch.Generator()
    derivative = cast(Derivative, metadata["derivative"])
    if metadata["module"] == "Neuron":
        (features,) = sizes
        return Neuron(features, derivative, generator=generator)
    return Network(sizes, derivative, generator=generator)
