"""Models for other programs give what the model gives, and what would not is not kept."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from test_model_file import ABOUT

import bp_torch as bp
from bp_torch.training import export
from bp_torch.training.model_file import as_trained
from bp_torch.training.trained import TrainedModel

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

MODULES = {
    "neuron": lambda dtype: bp.Neuron(3, dtype=dtype),
    "accurate": lambda dtype: bp.Neuron(3, "accurate", dtype=dtype),
    "one output": lambda dtype: bp.Network([3, 1], dtype=dtype),
    "network": lambda dtype: bp.Network([3, 5, 3], dtype=dtype),
}


def far_from_0(name, dtype):
    """A model whose first feature is 1.7e9 ± 3."""
    module = MODULES[name](dtype)
    mean = torch.tensor([1.7e9, 0.0, 0.0], dtype=torch.float64)
    deviation = torch.tensor([3.0, 1.0, 1.0], dtype=torch.float64)
    about = ABOUT if name == "network" else as_trained(module).about
    return TrainedModel(module, mean, deviation, about)


def rows(n=20):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, dtype=torch.float64, generator=generator)
    return x * torch.tensor([3.0, 1.0, 1.0]) + torch.tensor([1.7e9, 0.0, 0.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("kind", ["onnx", pytest.param("pt2", marks=pytest.mark.slow)])
def test_it_gives_what_the_model_gives(kind, name, dtype, tmp_path):
    model, path = far_from_0(name, dtype), tmp_path / f"model.{kind}"
    write = export.to_onnx if kind == "onnx" else export.to_pt2
    write(model, path, rows())
    for n in (1, 7):
        x = rows(n)
        if kind == "onnx":
            session = onnxruntime.InferenceSession(str(path))
            found = session.run(None, {"features": x.numpy()})[0]
        else:
            found = torch.export.load(path).module()(x).detach().numpy()
        expected = model(x).detach().numpy()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=export.MOST_OFF[dtype])


def test_onnx_knows_the_names(tmp_path):
    export.to_onnx(far_from_0("network", torch.float32), tmp_path / "model.onnx", rows())
    meta = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).get_modelmeta()
    said = {key: json.loads(value) for key, value in meta.custom_metadata_map.items()}
    assert said == {
        "features": ["a", "colour=blue", "colour=red"],
        "classes": ["no", "maybe", "yes"],
    }


def test_pt2_needs_torch_alone(tmp_path):
    model, path = far_from_0("neuron", torch.float32), tmp_path / "model.pt2"
    export.to_pt2(model, path, rows())
    code = (
        "import sys, torch; "
        f"program = torch.export.load({str(path)!r}).module(); "
        "x = torch.tensor([[1.7e9 + 3, 0.5, -1.0]], dtype=torch.float64); "
        "print(program(x).item(), 'bp_torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    value, ours = run.stdout.split()
    x = torch.tensor([[1.7e9 + 3, 0.5, -1.0]], dtype=torch.float64)
    assert float(value) == pytest.approx(model(x).item(), abs=1e-6)
    assert ours == "False"


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_what_gives_something_else_is_not_kept(kind, tmp_path, monkeypatch):
    def other(model, x):
        return right(model, x) * 1.001

    model, path = far_from_0("neuron", torch.float32), tmp_path / f"model.{kind}"
    write = export.to_onnx if kind == "onnx" else export.to_pt2
    right, hold = TrainedModel.forward, export._hold_against

    def held_against_another(*arguments):
        monkeypatch.setattr(TrainedModel, "forward", other)
        hold(*arguments)

    monkeypatch.setattr(export, "_hold_against", held_against_another)
    with pytest.raises(ValueError, match="would not give what the model gives"):
        write(model, path, rows())
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'bp_torch\[onnx\]'"):
        export.to_onnx(far_from_0("neuron", torch.float32), tmp_path / "model.onnx", rows())
