import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import bp_torch as bp
from bp_torch.training.checkpoint import FORMAT, About, save

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


def test_a_folder_is_no_model_and_its_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder; expected .*/model.safetensors"):
        bp.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 100, -4], ids=["nothing", "length", "header", "all but 4"])
def test_a_file_that_ends_too_early_is_refused(tmp_path, kept):
    path = tmp_path / "model.safetensors"
    save(bp.Network([3, 4, 2]), path, ABOUT)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="is not a safetensors file"):
        bp.load(path)


def changed(path, metadata=(), weights=()):
    """A saved network of 3-4-2, with these of its entries changed; None takes one away."""
    save(bp.Network([3, 4, 2]), path, ABOUT)
    with safe_open(path, framework="pt") as file:
        entries = file.metadata() | dict(metadata)
        tensors = {name: file.get_tensor(name) for name in file.keys()} | dict(weights)  # noqa: SIM118
    save_file(
        {name: tensor for name, tensor in tensors.items() if tensor is not None},
        path,
        metadata={name: entry for name, entry in entries.items() if entry is not None},
    )
    return path


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "bp_torch 2"}, "its format is 'bp_torch 2', expected 'bp_torch 1'"),
        ({"module": None}, "is damaged: it has no 'module'"),
        ({"sizes": None}, "is damaged: it has no 'sizes'"),
        ({"derivative": None}, "is damaged: it has no 'derivative'"),
        ({"module": "Transformer"}, "expected a Neuron or Network, got 'Transformer' of sizes"),
        ({"module": "Neuron"}, r"expected a Neuron or Network, got 'Neuron' of sizes \[3, 4, 2\]"),
        ({"derivative": "exact"}, "derivative must be one of textbook, accurate; got 'exact'"),
        ({"sizes": "[3, 4"}, r"got 'Network' of sizes '\[3, 4'"),
        ({"sizes": "3"}, "got 'Network' of sizes 3"),
        ({"sizes": "[]"}, "sizes must name the features and at least one layer"),
        ({"sizes": "[3, 4.5, 2]"}, "must be a whole number of at least 1, got 4.5"),
        ({"sizes": "[3, 5, 2]"}, r"expected the shape \(5, 3\) for layers.0.weight, got \(4, 3\)"),
        ({"sizes": "[3, 4, 2, 1]"}, r"expected the shape \(1, 2\) for layers.2.weight, got None"),
        ({"sizes": "[3, 4]"}, r"expected the shape None for layers.1.bias, got \(2,\)"),
        ({"sizes": f"[3, {2**40}, {2**40}]"}, "Storage size calculation overflowed"),
    ],
    ids=str,
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, metadata, message):
    with pytest.raises(ValueError, match=message):
        bp.load(changed(tmp_path / "model.safetensors", metadata))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"layers.1.bias": None}, r"expected the shape \(2,\) for layers.1.bias, got None"),
        ({"layers.1.bias": torch.zeros(3)}, r"for layers.1.bias, got \(3,\)"),
        ({"extra": torch.zeros(3)}, r"expected the shape None for extra, got \(3,\)"),
        ({"layers.1.bias": torch.zeros(2).int()}, "got torch.float32 and torch.int32"),
        ({"layers.1.bias": torch.zeros(2).double()}, "got torch.float32 and torch.float64"),
    ],
    ids=["missing", "other shape", "one too many", "whole numbers", "two dtypes"],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, weights, message):
    with pytest.raises(ValueError, match=f"is damaged: .*{message}"):
        bp.load(changed(tmp_path / "model.safetensors", weights=weights))


def test_a_file_without_weights_is_refused(tmp_path):
    save_file({}, tmp_path / "model.safetensors", metadata={"format": FORMAT})
    with pytest.raises(ValueError, match="is damaged"):
        bp.load(tmp_path / "model.safetensors")


def test_what_is_loaded_does_not_depend_on_the_file(tmp_path):
    path = changed(tmp_path / "model.safetensors")
    loaded = bp.load(path)
    before = {name: weight.clone() for name, weight in loaded.state_dict().items()}
    path.write_bytes(bytes(path.stat().st_size))
    assert all(torch.equal(loaded.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("failing", ["safetensors.torch.save_file", "os.replace"])
def test_a_model_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, failing):
    def disk_full(*_, **__):
        for path in tmp_path.iterdir():
            path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(failing, disk_full)
    with pytest.raises(OSError, match="No space left"):
        save(bp.Neuron(3), tmp_path / "model.safetensors", ABOUT)
    assert list(tmp_path.iterdir()) == []
