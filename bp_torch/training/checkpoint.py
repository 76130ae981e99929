"""A trained module on disk: its weights as safetensors, what it is in the file's metadata."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from bp_torch import checks
from bp_torch.dtypes import NAMES
from bp_torch.forms import Derivative
from bp_torch.neuron import Model, Network, Neuron
from bp_torch.training.torch_defaults import torch_defaults

FORMAT = "bp_torch 1"
MODEL = "model.safetensors"
"""The file's name in a run's folder."""


@dataclass(frozen=True)
class About:
    """What a saved module was trained on and how; kept beside the weights, as JSON."""

    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    training: dict[str, Any]


def sizes_of(module: Model) -> list[int]:
    """The number of features, then of neurons in each layer; a lone neuron has no such number."""
    outputs = [len(layer.bias) for layer in module.layers if layer.bias.ndim]
    return [module.layers[0].weight.shape[-1], *outputs]


def save(module: Model, path: Path, about: About) -> None:
    """Write the module in one piece: a crash leaves either the whole file or none."""
    from safetensors.torch import save_file

    metadata = {
        "format": FORMAT,
        "module": type(module).__name__,
        "sizes": json.dumps(sizes_of(module)),
        "derivative": module.layers[0].derivative,
        "feature_names": json.dumps(about.feature_names),
        "class_names": json.dumps(about.class_names),
        "training": json.dumps(about.training),
    }
    unfinished = path.with_suffix(".unfinished")
    try:
        save_file(module.state_dict(), unfinished, metadata=metadata)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@torch_defaults()
def load(path: str | os.PathLike[str]) -> Model:
    """A trained module, ready for raw features as they stood in the data.

    Args:
        path: a model.safetensors that `bp-torch train` wrote.

    Returns:
        The `Neuron` or `Network` on the CPU; float32, or float64 where it was trained so.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a model of this package, or a damaged one.
    """
    metadata, weights = _read(Path(path))
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{os.fspath(path)} is not a model of this package: its format is "
            f"{metadata.get('format')!r}, expected {FORMAT!r}"
        )
    try:
        module = _described_by(metadata)
        _require_weights_of(module, weights)
    except KeyError as error:
        raise ValueError(f"{os.fspath(path)} is damaged: it has no {error}") from None
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{os.fspath(path)} is damaged: {error}") from None
    module.load_state_dict(weights, assign=True)
    return module


def about(path: str | os.PathLike[str]) -> About:
    """What the model at that path was trained on and how; raises as `load` does."""
    load(path)
    metadata, _ = _read(Path(path))
    try:
        return About(
            feature_names=tuple(json.loads(metadata["feature_names"])),
            class_names=tuple(json.loads(metadata["class_names"])),
            training=json.loads(metadata["training"]),
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{os.fspath(path)} is damaged: it does not say what it learnt from: {error}"
        ) from None


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected the model in it, {path / MODEL}")
    if not path.is_file():
        raise FileNotFoundError(
            f"no model at {path}; bp-torch train writes runs/NAME/model.safetensors"
        )
    try:
        with safe_open(path, framework="pt") as file:
            # Copies: what safetensors gives lies in the file still, which may change.
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, weights
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None


def _described_by(metadata: Mapping[str, str]) -> Model:
    """The module without its weights: on the meta device nothing is drawn, and no memory taken."""
    name, derivative = metadata["module"], cast(Derivative, metadata["derivative"])
    try:
        sizes = json.loads(metadata["sizes"])
    except json.JSONDecodeError:
        sizes = metadata["sizes"]
    if name == "Neuron" and isinstance(sizes, list) and len(sizes) == 1:
        return Neuron(sizes[0], derivative, device="meta")
    if name == "Network" and isinstance(sizes, list):
        return Network(sizes, derivative, device="meta")
    raise ValueError(f"expected a Neuron or Network, got {name!r} of sizes {sizes!r}")


def _require_weights_of(module: Model, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless these are the module's parameters, of one dtype that we know."""
    expected = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    for name in expected | found:
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"expected the shape {expected.get(name)} for {name}, got {found.get(name)}"
            )
    dtypes = {weight.dtype for weight in weights.values()}
    if len(dtypes) > 1 or not dtypes <= NAMES.keys():
        names = " and ".join(sorted(map(str, dtypes)))
        raise ValueError(f"expected weights of one of {checks.any_of(NAMES)}, got {names}")
