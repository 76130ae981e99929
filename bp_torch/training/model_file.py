"""A trained module on disk: its weights as safetensors, what it is in the file's metadata.

Everything that the metadata say is held against the tensors that the file has before anything is
built from it: a file from elsewhere may say what it likes.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch

from bp_torch import checks
from bp_torch.forms import FORMS, Derivative
from bp_torch.neuron import Model, Network, Neuron
from bp_torch.table.columns import Column
from bp_torch.table.target import Target
from bp_torch.training.durable import write_whole
from bp_torch.training.model import sizes_of
from bp_torch.training.run_folder import MODEL
from bp_torch.training.torch_defaults import torch_defaults
from bp_torch.training.trained import About, TrainedModel

FORMAT = "bp_torch 2"
"""The one entry of the metadata, so that the same model is the same file."""

LONGEST_HEADER = 2**25
"""Bytes: the names of 65,536 features and more; a longer one is not read."""

DTYPES = {"F32": torch.float32, "F64": torch.float64}
"""Of weights, as safetensors calls them."""


def save(module: Model | TrainedModel, path: str | os.PathLike[str]) -> None:
    """Write a module in one piece: a crash leaves either the whole file or none.

    Args:
        module: a `Neuron` or `Network`, whose features are called x1 … xD then, or a model that
            `load` gave. Weights of 16 bits are written in float32.
        path: of the file.

    Raises:
        TypeError: another module.
        OSError: the file cannot be written; its path is named.
    """
    from safetensors.torch import save as to_bytes

    model = as_trained(module)
    lowest = model.module.layers[0].weight.dtype
    state = {
        name: tensor.detach().cpu().to(torch.promote_types(lowest, torch.float32)).contiguous()
        for name, tensor in model.module.state_dict().items()
    }
    state |= {"mean": model.mean.cpu(), "deviation": model.deviation.cpu()}
    said = {
        "module": type(model.module).__name__,
        "sizes": sizes_of(model.module),
        "derivative": model.module.layers[0].derivative,
        **asdict(model.about),
    }
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for the model")
    write_whole(path, to_bytes(state, {FORMAT: json.dumps(said)}))


def as_trained(module: Any) -> TrainedModel:
    """The module as a model; features are as they are, and called x1 … xD."""
    if isinstance(module, TrainedModel):
        return module
    checks.require_model(module, (Neuron, Network))
    features = module.layers[0].weight.shape[-1]
    zeros = torch.zeros(features, dtype=torch.float64)
    columns = tuple(Column(f"x{place}") for place in range(1, features + 1))
    outputs = module.layers[-1].bias.shape
    values = tuple(float(k) for k in range(outputs[0])) if outputs and outputs[0] > 2 else ()
    return TrainedModel(module, zeros, zeros + 1, About(columns, Target("y", values)))


@torch_defaults()
def load(path: str | os.PathLike[str]) -> TrainedModel:
    """A trained model, ready for raw features as they stood in the data.

    Args:
        path: a model.safetensors that `bp-torch train` or `save` wrote.

    Returns:
        The model on the CPU, with `.feature_names`, `.classes`, `.module`; float32, or float64
        where it was trained so.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a model of this package, or a damaged one.
    """
    from safetensors.torch import load_file

    path = _file(path)
    tensors, metadata = _header(path)
    try:
        if FORMAT not in metadata:
            raise ValueError(f"it does not say that it is one, of the format {FORMAT!r}")
        module, about = _described(metadata, tensors)
        state = load_file(path)
        for name, tensor in state.items():
            checks.require_finite(name, tensor)
        if not (state["deviation"] > 0).all():
            raise ValueError("a deviation is not positive")
    except Exception as error:  # what a file may make of this is not to be foreseen
        raise ValueError(f"{path} is not a model of this package: {_said(error)}") from None
    mean, deviation = (state.pop(name) for name in ("mean", "deviation"))
    module.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, assign=True)
    return TrainedModel(module, mean.clone(), deviation.clone(), about)


def _file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected the model in it, {path / MODEL}")
    if not path.is_file():
        raise FileNotFoundError(
            f"no model at {path}; bp-torch train writes runs/NAME/model.safetensors"
        )
    return path


def _header(path: Path) -> tuple[dict[str, tuple[str, tuple[int, ...]]], dict[str, str]]:
    """The dtype and shape of every tensor, and the metadata; nothing else is read."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            raise ValueError(f"{path} is not a safetensors file, or not a whole one")
        text = file.read(length)
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", {})
        tensors, expected = {}, 0
        for name, tensor in header.items():
            shape, (start, end) = tensor["shape"], tensor["data_offsets"]
            if not all(type(n) is int and n >= 0 for n in (*shape, start, end)):
                raise ValueError("a shape is none")
            tensors[name] = (str(tensor["dtype"]), tuple(shape))
            expected = max(expected, end)
        if not all(type(value) is str for value in metadata.values()):
            raise ValueError("metadata must be texts")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a safetensors file: {_said(error)}") from None
    if 8 + length + expected != size:
        raise ValueError(f"{path} is not a safetensors file, or not a whole one")
    return tensors, metadata


def _said(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "what it says is nested too deep"
    if isinstance(error, KeyError):
        return f"it does not say its {error}"
    return str(error)[:300]


def _described(
    metadata: Mapping[str, str], tensors: Mapping[str, tuple[str, tuple[int, ...]]]
) -> tuple[Model, About]:
    """The module without its weights, and what is said of it, once both fit what the file holds."""
    said = json.loads(metadata[FORMAT])
    if type(said) is not dict:
        raise ValueError("it describes no model")
    kind, sizes, derivative = said["module"], said["sizes"], said["derivative"]
    if kind not in ("Neuron", "Network"):
        raise ValueError(f"expected a Neuron or Network, got {kind!r:.60}")
    if derivative not in FORMS:
        raise ValueError(f"the derivative {derivative!r:.60} is none of {', '.join(FORMS)}")
    if type(sizes) is not list or not all(type(n) is int and n > 0 for n in sizes):
        raise ValueError(f"sizes must be whole numbers, got {sizes!r:.60}")
    if (kind == "Neuron") != (len(sizes) == 1) or not sizes or len(sizes) > len(tensors):
        raise ValueError(f"a {kind} of the sizes {sizes!r:.60} is none that the file holds")
    if kind == "Neuron":
        shapes: dict[str, tuple[int, ...]] = {"weight": (sizes[0],), "bias": ()}
    else:
        shapes = {}
        for place, (inputs, outputs) in enumerate(pairwise(sizes)):
            shapes[f"layers.{place}.weight"] = (outputs, inputs)
            shapes[f"layers.{place}.bias"] = (outputs,)
    dtype = tensors[next(iter(shapes))][0] if next(iter(shapes)) in tensors else None
    expected = {name: (dtype, shape) for name, shape in shapes.items()}
    expected |= {"mean": ("F64", (sizes[0],)), "deviation": ("F64", (sizes[0],))}
    for name in dict.fromkeys([*expected, *tensors]):
        if expected.get(name) != tensors.get(name):
            raise ValueError(
                f"{name[:60]!r} should be {expected.get(name)} and is {tensors.get(name)}"
            )
    if dtype not in DTYPES:
        raise ValueError(f"weights must be in float32 or float64, got {dtype!r:.60}")
    about = _about(said, sizes[0], None if kind == "Neuron" else sizes[-1])
    form = cast(Derivative, derivative)
    # On the meta device nothing is drawn, and no memory taken.
    if kind == "Neuron":
        return Neuron(sizes[0], form, device="meta"), about
    return Network(sizes, form, device="meta"), about


def _about(said: Mapping[str, Any], features: int, outputs: int | None) -> About:
    columns = tuple(
        Column(
            _text(each["name"]),
            _tuple(each["categories"], (str, float, int)),
            _tuple(each["fill"], (float, int)),
        )
        for each in _list(said["columns"])
    )
    names = [name for column in columns for name in column.features]
    if len(names) != features:
        raise ValueError(f"it names {len(names)} features, and has {features}")
    if len({column.name for column in columns}) != len(columns) or len(set(names)) != len(names):
        raise ValueError("two of its features share a name")
    for column in columns:
        if column.fill is not None and len(column.fill) != column.width:
            raise ValueError(f"{column.name!r:.60} is filled with {len(column.fill)} values")
    target = said["target"]
    values = _tuple(target["values"], (str, float, int)) or ()
    if len(values) not in ({0, 2} if outputs in (None, 1) else {0, outputs}):
        raise ValueError(f"it names {len(values)} classes, and has {outputs or 1} outputs")
    if len(set(values)) != len(values) or type(target["is_boolean"]) is not bool:
        raise ValueError("its classes are none")
    (above,) = _tuple([target["above"]], (float, int, type(None))) or (None,)
    for name in ("training", "versions", "metrics"):
        if type(said[name]) is not dict:
            raise ValueError(f"its {name} must be a mapping")
    return About(
        columns=columns,
        target=Target(_text(target["name"]), values, target["is_boolean"], above),
        content=_text(said["content"]),
        training=said["training"],
        versions=said["versions"],
        metrics=said["metrics"],
    )


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"expected a text, got {value!r:.60}")
    return value


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ValueError(f"expected a list, got {value!r:.60}")
    return value


def _tuple(value: Any, kinds: tuple[type, ...]) -> tuple[Any, ...] | None:
    if value is None:
        return None
    for each in _list(value):
        if type(each) not in kinds or (type(each) is float and not abs(each) < float("inf")):
            raise ValueError(f"a value is {each!r:.60}")
    return tuple(value)
