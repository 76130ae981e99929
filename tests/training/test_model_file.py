"""Models on disk: what is saved is loaded, and what lies is refused in one line, at once."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

import bp_torch as bp
from bp_torch.table.columns import Column
from bp_torch.table.target import Target
from bp_torch.training.model_file import FORMAT
from bp_torch.training.trained import About, TrainedModel

ABOUT = About(
    columns=(Column("a"), Column("colour", ("blue", "red"))),
    target=Target("y", ("no", "maybe", "yes")),
    content="0123456789abcdef",
    training={"seed": 0},
    versions={"torch": torch.__version__},
    metrics={"held_out": {"auc": 0.9}},
)
MODULES = [
    lambda: bp.Neuron(3),
    lambda: bp.Neuron(3, dtype=torch.float64),
    lambda: bp.Network([3, 4, 3]),
    lambda: bp.Network([3, 1]),
    lambda: bp.Neuron(3, "accurate"),
    lambda: bp.Network([3, 4, 3], "accurate"),
]
NAMES = ["neuron", "float64", "network", "one output", "accurate", "accurate network"]


def trained(mean=(1.7e9, 0.0, 0.0), deviation=(3.0, 1.0, 1.0)):
    scale = (torch.tensor(each, dtype=torch.float64) for each in (mean, deviation))
    return TrainedModel(bp.Network([3, 4, 3]), *scale, ABOUT)


@pytest.mark.parametrize("make", MODULES, ids=NAMES)
def test_what_is_saved_is_loaded(make, tmp_path):
    module, path = make(), tmp_path / "model.safetensors"
    bp.save(module, path)
    state = torch.get_rng_state()
    loaded = bp.load(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert repr(loaded.module) == repr(module)
    assert loaded.feature_names == ("x1", "x2", "x3")
    x = torch.randn(5, 3, dtype=next(module.parameters()).dtype)
    assert torch.equal(loaded(x), module(x))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_trained_model_keeps_all_that_is_known_of_it(tmp_path):
    model = trained()
    bp.save(model, tmp_path / "model.safetensors")
    loaded = bp.load(tmp_path / "model.safetensors")
    assert loaded.about == ABOUT
    assert loaded.feature_names == ("a", "colour=blue", "colour=red")
    assert loaded.classes == ("no", "maybe", "yes")
    x = torch.tensor([[1.7e9 + 1, 0.0, 1.0]], dtype=torch.float64)
    assert torch.equal(loaded(x), model(x))
    bp.save(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (
        tmp_path / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_of_16_bits_are_kept_in_float32(dtype, tmp_path):
    neuron = bp.Neuron(3, dtype=dtype)
    bp.save(neuron, tmp_path / "model.safetensors")
    loaded = bp.load(tmp_path / "model.safetensors")
    assert loaded.module.weight.dtype == torch.float32
    assert torch.equal(loaded.module.weight, neuron.weight.float())


@pytest.mark.parametrize("move", ["float", "half", "double", "cpu"])
def test_mean_and_deviation_stay_in_float64_wherever_a_model_goes(move):
    model = getattr(trained(), move)()
    assert model.mean.dtype == model.deviation.dtype == torch.float64
    assert model.mean[0] == 1.7e9
    x = torch.tensor([[1.7e9 + 1, 0.0, 1.0]], dtype=torch.float64)
    assert model.standardise(x)[0, 0].item() == pytest.approx(1 / 3, rel=1e-3)


def test_the_chain_rule_is_for_the_module_and_says_so():
    model = trained()
    with pytest.raises(TypeError, match=r"bp\.backprop\(model\.module, model\.standardise\(x\)"):
        bp.backprop(model, torch.zeros(2, 3), torch.zeros(2, 3))


@pytest.mark.parametrize("x", [torch.zeros(2, 4), torch.zeros(()), torch.zeros(2, 3).int(), None])
def test_features_that_do_not_fit_are_refused(x):
    with pytest.raises((TypeError, ValueError), match="x must"):
        trained()(x)


def test_a_path_may_be_text(tmp_path):
    bp.save(bp.Neuron(3), str(tmp_path / "model.safetensors"))
    assert isinstance(bp.load(str(tmp_path / "model.safetensors")).module, bp.Neuron)


def test_another_module_is_not_saved(tmp_path):
    with pytest.raises(
        TypeError, match=r"module must be a bp_torch\.Neuron or Network, got Linear"
    ):
        bp.save(torch.nn.Linear(3, 1), tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*absent for the model"):
        bp.save(bp.Neuron(3), tmp_path / "absent/model.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no model at .*absent.safetensors; bp-torch train"
    ):
        bp.load(tmp_path / "absent.safetensors")


def test_a_folder_is_no_model_and_its_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder; expected .*/model.safetensors"):
        bp.load(tmp_path)


def refused(path, message):
    with pytest.raises(ValueError, match=message) as error:
        bp.load(path)
    said = str(error.value)
    assert said.startswith(str(path))
    assert len(said.splitlines()) == 1
    assert len(said) < len(str(path)) + 400


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not a model, but long enough to have a header")
    refused(path, "is not a safetensors file")
    save_file({"weight": torch.zeros(3)}, path)
    refused(path, "does not say that it is one, of the format 'bp_torch 2'")
    save_file({"weight": torch.zeros(3)}, path, metadata={"format": "bp_torch 1"})
    refused(path, "does not say that it is one, of the format 'bp_torch 2'")
    save_file({"weight": torch.zeros(3)}, path, metadata={FORMAT: "{}"})
    refused(path, "does not say its 'module'")


@pytest.mark.parametrize("kept", [0, 4, 100, -4], ids=["nothing", "length", "header", "all but 4"])
def test_a_file_that_ends_too_early_is_refused(tmp_path, kept):
    path = tmp_path / "model.safetensors"
    bp.save(trained(), path)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "is not a safetensors file, or not a whole one")


def changed(path, said=(), tensors=(), text=None):
    """A saved network of 3-4-3, with these of its entries changed; None takes one away."""
    bp.save(trained(), path)
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    about = json.loads(json.loads(whole[8 : 8 + length])["__metadata__"][FORMAT])
    for key, value in dict(said).items():
        *inner, last = key.split(".")
        place = about
        for each in inner:
            place = place[int(each) if each.isdigit() else each]
        if value is None:
            del place[last]
        else:
            place[int(last) if last.isdigit() else last] = value
    state = trained().module.state_dict() | {
        "mean": torch.zeros(3).double(),
        "deviation": torch.ones(3).double(),
    }
    state |= dict(tensors)
    kept = {name: tensor.contiguous() for name, tensor in state.items() if tensor is not None}
    text = json.dumps(about) if text is None else text
    save_file(kept, path, metadata={FORMAT: text})
    return path


def test_the_change_itself_is_none(tmp_path):
    assert bp.load(changed(tmp_path / "model.safetensors")).about == ABOUT


DEEP = 100_000
LIES = [
    *({key: None} for key in ("module", "sizes", "derivative", "columns", "target", "training")),
    *({key: None} for key in ("content", "versions", "metrics", "columns.0.name", "target.name")),
    {"columns.0.fill": None},
    {"columns.1.categories": None},
    {"target.is_boolean": None},
    {"module": "Transformer"},
    {"module": "Neuron"},
    {"module": ["Network"]},
    {"derivative": "exact"},
    {"derivative": ["textbook"]},
    {"derivative": {}},
    {"sizes": "[3, 4, 3]"},
    {"sizes": 3},
    {"sizes": []},
    {"sizes": {}},
    {"sizes": [3, 4.5, 3]},
    {"sizes": [3, True, 3]},
    {"sizes": [3, -4, 3]},
    {"sizes": [3, 0, 3]},
    {"sizes": [3, 5, 3]},
    {"sizes": [3, 4, 3, 1]},
    {"sizes": [3, 4]},
    {"sizes": [3]},
    {"sizes": [3, 2**40, 3]},
    {"sizes": [3, 10**400, 3]},
    {"sizes": [1] * 100_000},
    {"columns": {}},
    {"columns": []},
    {"columns": [3]},
    {"columns": [{"name": "a"}]},
    {"columns.0.name": 3},
    {"columns.0.name": "colour"},
    {"columns.0.name": "colour=red"},
    {"columns.1.categories": ["blue", "red", "violet"]},
    {"columns.1.categories": ["blue", "blue"]},
    {"columns.1.categories": ["blue", None]},
    {"columns.1.categories": ["blue", [1]]},
    {"columns.1.categories": ["blue", float("nan")]},
    {"columns.1.categories": "blue"},
    {"columns.0.fill": [1.0, 2.0]},
    {"columns.0.fill": ["1"]},
    {"columns.0.fill": [float("inf")]},
    {"columns.0.fill": 3},
    {"target": "y"},
    {"target": []},
    {"target.name": 3},
    {"target.values": ["no", "yes"]},
    {"target.values": ["no", "yes", "maybe", "never"]},
    {"target.values": ["no", "no", "yes"]},
    {"target.values": [["no"], "maybe", "yes"]},
    {"target.values": "no"},
    {"target.is_boolean": 1},
    {"target.above": "5"},
    {"target.above": float("nan")},
    {"target.above": [5]},
    {"training": []},
    {"training": "seed"},
    {"versions": 3},
    {"metrics": []},
    {"content": 3},
]


@pytest.mark.parametrize("said", LIES, ids=lambda said: str(said)[:60])
def test_a_description_that_does_not_fit_is_refused(tmp_path, said):
    refused(changed(tmp_path / "model.safetensors", said), "is not a model of this package: ")


TENSORS = {
    "missing": {"layers.1.bias": None},
    "no mean": {"mean": None},
    "no deviation": {"deviation": None},
    "other shape": {"layers.1.bias": torch.zeros(4)},
    "another number of axes": {"layers.1.bias": torch.zeros(1, 3)},
    "one too many": {"extra": torch.zeros(3)},
    "whole numbers": {"layers.1.bias": torch.zeros(3).int()},
    "two dtypes": {"layers.1.bias": torch.zeros(3).double()},
    "16 bits": {name: tensor.half() for name, tensor in bp.Network([3, 4, 3]).state_dict().items()},
    "mean in float32": {"mean": torch.zeros(3)},
    "mean of another length": {"mean": torch.zeros(4).double()},
    "NaN": {"layers.1.bias": torch.full((3,), torch.nan)},
    "infinity": {"layers.0.weight": torch.full((4, 3), torch.inf)},
    "mean NaN": {"mean": torch.full((3,), torch.nan).double()},
    "deviation 0": {"deviation": torch.zeros(3).double()},
    "deviation negative": {"deviation": -torch.ones(3).double()},
}


@pytest.mark.parametrize("name", TENSORS)
def test_weights_that_do_not_fit_are_refused(tmp_path, name):
    path = changed(tmp_path / "model.safetensors", tensors=TENSORS[name])
    refused(path, "is not a model of this package: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "3",
        "[]",
        "{}",
        '"about"',
        "[" * DEEP,
        "[" * DEEP + "]" * DEEP,
        '{"a":' * DEEP + "1" + "}" * DEEP,
    ],
    ids=lambda text: text[:8],
)
def test_a_description_that_is_none_is_refused(tmp_path, text):
    path = changed(tmp_path / "model.safetensors", text=text)
    refused(path, "is not a model of this package: ")


def with_header(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b"", b""),
        (b"nonsense", b""),
        (b"[" * DEEP, b""),
        (b"{" * DEEP, b""),
        ([], b""),
        (3, b""),
        ({"weight": 3}, b""),
        ({"weight": {"dtype": "F32"}}, b""),
        ({"weight": ONE}, b""),
        ({"weight": ONE}, b"\0" * 5),
        ({"weight": ONE | {"shape": [-1]}}, b"\0" * 4),
        ({"weight": ONE | {"shape": [2**62, 4]}}, b"\0" * 4),
        ({"weight": ONE | {"shape": "1"}}, b"\0" * 4),
        ({"weight": ONE | {"shape": [True]}}, b"\0" * 4),
        ({"weight": ONE | {"data_offsets": [0, 2**60]}}, b"\0" * 4),
        ({"weight": ONE | {"data_offsets": [0]}}, b"\0" * 4),
        ({"weight": ONE | {"dtype": 3}}, b"\0" * 4),
        ({"__metadata__": 3, "weight": ONE}, b"\0" * 4),
        ({"__metadata__": {FORMAT: 3}, "weight": ONE}, b"\0" * 4),
        ({"__metadata__": {FORMAT: ["{}"]}, "weight": ONE}, b"\0" * 4),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_header_that_is_none_is_refused(tmp_path, header, data):
    refused(with_header(tmp_path / "model.safetensors", header, data), "is not a ")


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**40, 2**63, 2**64 - 1])
def test_a_length_that_is_none_is_refused(tmp_path, length):
    path = with_header(tmp_path / "model.safetensors", {"weight": ONE}, b"\0" * 4, length)
    refused(path, "is not a safetensors file, or not a whole one")


def test_what_is_loaded_does_not_depend_on_the_file(tmp_path):
    path = changed(tmp_path / "model.safetensors")
    loaded = bp.load(path)
    before = {name: weight.clone() for name, weight in loaded.state_dict().items()}
    path.write_bytes(bytes(path.stat().st_size))
    assert all(torch.equal(loaded.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("failing", ["os.fsync", "os.replace"])
def test_a_model_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch, failing):
    def disk_full(*_, **__):
        for path in tmp_path.iterdir():
            path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(failing, disk_full)
    with pytest.raises(OSError, match=r"No space left.*model.safetensors"):
        bp.save(bp.Neuron(3), tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []
