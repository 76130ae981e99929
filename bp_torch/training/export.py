"""Trained models for other programs: ONNX, and programs that torch runs without this package.

Both take raw features, in float64, and give what the model gives; each is held against it on real
rows before it is kept.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bp_torch.training.torch_defaults import torch_defaults
from bp_torch.training.trained import TrainedModel

OPSET = 17
"""Of ONNX; what is used here has been in it, as it is, since 14."""

MOST_OFF = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Of an output, for the rounding of sums in another order; a wrong graph is off by far more."""

Outputs = Callable[[Tensor], Any]


@torch_defaults()
def to_onnx(model: TrainedModel, path: str | os.PathLike[str], rows: Tensor) -> None:
    """Write the model as ONNX: `features` (N, D) in float64 → `y_hat` (N,) or (N, K).

    Names of features and classes are in the file's metadata, as JSON.

    Args:
        rows: raw features (n, D), on which it is held against the model.

    Raises:
        ImportError: onnx and onnxruntime are not installed (pip install 'bp_torch[onnx]').
        ValueError: its outputs are not the model's; nothing is kept.
    """
    onnx = _needed("onnx")
    runtime = _needed("onnxruntime")
    path = Path(path)
    path.write_bytes(_graph(onnx, model).SerializeToString())
    session = runtime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    _hold_against(model, rows, lambda x: session.run(None, {"features": x.numpy()})[0], path)


@torch_defaults()
def to_pt2(model: TrainedModel, path: str | os.PathLike[str], rows: Tensor) -> None:
    """Write the model with torch.export, for `torch.export.load(path).module()`, which needs torch
    and not this package; as `to_onnx` otherwise."""
    path = Path(path)
    example = rows[:2] if len(rows) > 1 else rows.expand(2, -1)
    shapes = ({0: torch.export.Dim("rows", min=1)},)
    torch.export.save(torch.export.export(model, (example,), dynamic_shapes=shapes), path)
    program = torch.export.load(path).module()
    _hold_against(model, rows, lambda x: program(x).detach().numpy(), path)


def _needed(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(
            f"ONNX needs {name}, which is not installed; pip install 'bp_torch[onnx]'"
        ) from None


@torch.no_grad()
def _hold_against(model: TrainedModel, rows: Tensor, outputs: Outputs, path: Path) -> None:
    """Remove the file and raise ValueError where its outputs are not the model's."""
    expected = model(rows).numpy()
    found = np.asarray(outputs(rows))
    most = MOST_OFF[model.module.layers[0].weight.dtype]
    if found.shape != expected.shape or not np.abs(found - expected).max(initial=0) <= most:
        path.unlink()
        raise ValueError(
            f"{path} would not give what the model gives, so it is not kept; the model itself is"
        )


def _graph(onnx: Any, model: TrainedModel) -> Any:
    """(x − μ)/s in float64, then Sigmoid(xWᵀ + b) for each layer, written out."""
    helper, numpy_helper, kinds = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    dtype = model.module.layers[0].weight.dtype
    kind = kinds.FLOAT if dtype == torch.float32 else kinds.DOUBLE
    constants = {"mean": model.mean, "deviation": model.deviation}
    nodes = [
        helper.make_node("Sub", ["features", "mean"], ["from_mean"]),
        helper.make_node("Div", ["from_mean", "deviation"], ["standardised"]),
        helper.make_node("Cast", ["standardised"], ["a_0"], to=kind),
    ]
    layers = model.module.layers
    for place, layer in enumerate(layers, start=1):
        weight, bias = f"weight_{place}", f"bias_{place}"
        constants |= {weight: layer.weight.detach().t(), bias: layer.bias.detach()}
        out = "y_hat" if place == len(layers) else f"a_{place}"
        nodes += [
            helper.make_node("MatMul", [f"a_{place - 1}", weight], [f"xw_{place}"]),
            helper.make_node("Add", [f"xw_{place}", bias], [f"z_{place}"]),
            helper.make_node("Sigmoid", [f"z_{place}"], [out]),
        ]
    outputs = list(layers[-1].bias.shape)
    graph = helper.make_graph(
        nodes,
        "bp_torch",
        [helper.make_tensor_value_info("features", kinds.DOUBLE, ["N", len(model.mean)])],
        [helper.make_tensor_value_info("y_hat", kind, ["N", *outputs])],
        [
            numpy_helper.from_array(tensor.cpu().contiguous().numpy(), name)
            for name, tensor in constants.items()
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    for key, value in (("features", model.feature_names), ("classes", model.classes)):
        entry = made.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    onnx.checker.check_model(made)
    return made
