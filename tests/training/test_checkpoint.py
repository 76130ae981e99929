import pytest
import torch
from safetensors.torch import save_file

import bp_torch as bp
from bp_torch.training.checkpoint import About, save

ABOUT = About(feature_names=("a", "b", "c"), class_names=("no", "yes"), training={"seed": 0})
MODULES = [
    lambda: bp.Neuron(3),
    lambda: bp.Neuron(3, dtype=torch.float64),
    lambda: bp.Network([3, 4, 2]),
    lambda: bp.Network([3, 1]),
    lambda: bp.Neuron(3, "accurate"),
    lambda: bp.Network([3, 4, 2], "accurate"),
]


@pytest.mark.parametrize(
    "make",
    MODULES,
    ids=["neuron", "float64", "network", "one output", "accurate", "accurate network"],
)
def test_what_is_saved_is_loaded(make, tmp_path):
    module, path = make(), tmp_path / "model.safetensors"
    save(module, path, ABOUT)
    state = torch.get_rng_state()
    loaded = bp.load(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert repr(loaded) == repr(module)
    x = torch.randn(5, 3, dtype=next(module.parameters()).dtype)
    assert torch.equal(loaded(x), module(x))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_path_may_be_text(tmp_path):
    save(bp.Neuron(3), tmp_path / "model.safetensors", ABOUT)
    assert isinstance(bp.load(str(tmp_path / "model.safetensors")), bp.Neuron)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no model at .*absent.safetensors; bp-torch train"
    ):
        bp.load(tmp_path / "absent.safetensors")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"not a model, but long enough to have a header")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        bp.load(tmp_path / "model.safetensors")
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is not a model of this package"):
        bp.load(tmp_path / "other.safetensors")
