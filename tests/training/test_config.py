from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
import torch

from bp_torch.costs import COSTS
from bp_torch.dtypes import DTYPES
from bp_torch.forms import FORMS, Derivative
from bp_torch.training.config import Config, CostName, DtypeName
from bp_torch.training.data import DATASETS, DatasetName
from bp_torch.training.device import DeviceName, resolve_device
from bp_torch.training.gradients import GRADIENTS, GradientChoice, GradientName


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dataset": "iris"},
            "data set must be one of breast-cancer, digits, or a file .* no file 'iris'",
        ),
        ({"cost": "hinge"}, "cost must be one of quadratic, cross-entropy; got 'hinge'"),
        (
            {"gradient": "magic"},
            "gradient must be one of auto, manual, autograd, chain, fused; got 'magic'",
        ),
        ({"derivative": "exact"}, "derivative must be one of textbook, accurate; got 'exact'"),
        ({"gradient": "autograd", "derivative": "accurate"}, "has no 'accurate' form; choose"),
        ({"dtype": "int8"}, "dtype must be one of float64, float32, .*; got 'int8'"),
        ({"dtype": torch.float32}, "dtype must be one of float64, .*; got torch.float32"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda; got 'tpu'"),
        ({"device": torch.device("cpu")}, "device must be one of auto, cpu, cuda; got device"),
        ({"learning_rate": 0.0}, "learning rate must be a number > 0"),
        ({"learning_rate": -1.0}, "learning rate must be a number > 0 .*, got -1.0"),
        ({"learning_rate": float("nan")}, "learning rate must be a number > 0 .*, got nan"),
        ({"learning_rate": float("inf")}, "learning rate must be a number > 0 .*, got inf"),
        ({"learning_rate": 1e5, "dtype": "float16"}, r"finite in float16 \(≤ 6.55e\+04\)"),
        ({"learning_rate": 1e300, "dtype": "float64"}, r"finite in float32 \(≤ 3.403e\+38\)"),
        ({"learning_rate": 10**400}, "learning rate must be a number > 0"),
        ({"learning_rate": "1"}, "learning rate must be a number > 0 .*, got '1'"),
        ({"learning_rate": True}, "learning rate must be a number > 0 .*, got True"),
        ({"learning_rate": None}, "learning rate must be a number > 0 .*, got None"),
        ({"batch_size": -1}, r"batch size must be a whole number of at least 0 \(samples"),
        ({"batch_size": 2.0}, "batch size must be a whole number of at least 0 .*, got 2.0"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"epochs": True}, "epochs must be a whole number of at least 1 .*, got True"),
        ({"epochs": 2.0}, "epochs must be a whole number of at least 1 .*, got 2.0"),
        ({"epochs": None}, "epochs must be a whole number of at least 1 .*, got None"),
        ({"layers": (3, 0)}, "layers must be a whole number of at least 1"),
        ({"layers": (3.5,)}, "layers must be a whole number of at least 1 .*, got 3.5"),
        ({"layers": 30}, r"layers must be sizes, as \(30,\) or \(30, 20\), got 30"),
        ({"layers": "30"}, "layers must be a whole number of at least 1 .*, got '3'"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"seed": 2**64}, "seed must be less than 2.64, got 18446744073709551616"),
        ({"check_every": -1}, "check-every must be a whole number of at least 0"),
        ({"check_every": 0.5}, "check-every must be a whole number of at least 0"),
        ({"log_every": -1}, "log-every must be a whole number of at least 0"),
        ({"name": "../elsewhere"}, "name must be a plain folder name"),
        ({"name": ""}, "name must be a plain folder name"),
        ({"name": ".."}, "name must be a plain folder name"),
        ({"name": "a/"}, "name must be a plain folder name"),
        ({"name": 3}, "name must be a plain folder name, got 3"),
        ({"name": "a\0b"}, r"name must hold characters that can be shown, got 'a\\x00b'"),
        ({"name": "a\nb"}, r"name must hold characters that can be shown, got 'a\\nb'"),
        ({"name": "\x1b[31mred"}, r"name must hold characters that can be shown, got '\\x1b"),
        ({"name": "a\x9bb"}, "name must hold characters that can be shown"),
        ({"name": "a\u2028b"}, "name must hold characters that can be shown"),
        ({"name": "a\udcff"}, "name must hold characters that can be shown"),
        ({"name": "a" * 256}, "name must be at most 255 bytes long, got 256"),
        ({"name": "σ" * 128}, "name must be at most 255 bytes long, got 256"),
        ({"runs": ""}, r"runs must be the path of a folder, as runs or '\.', got ''"),
        ({"runs": None}, "runs must be the path of a folder"),
        ({"runs": "a\0b"}, "runs must hold characters that can be shown"),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, dict) else "",
)
def test_a_value_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        Config(**changes)
    assert str(caught.value).isprintable()


def test_numbers_of_numpy_are_taken_as_pythons_own():
    config = Config(
        layers=np.array([3, 2]),
        epochs=np.int32(4),
        batch_size=np.int64(2),
        learning_rate=np.float32(0.5),
        seed=np.uint64(2**64 - 1),
        check_every=np.int64(0),
        log_every=np.int8(1),
    )
    expected = Config(
        layers=(3, 2),
        epochs=4,
        batch_size=2,
        learning_rate=0.5,
        seed=2**64 - 1,
        check_every=0,
        log_every=1,
    )
    assert repr(config) == repr(expected)  # == would take NumPy's for the same


@pytest.mark.parametrize("value", [1, 0.25, Fraction(1, 3), np.float64(1.5)], ids=repr)
def test_every_kind_of_real_number_is_a_learning_rate(value):
    rate = Config(learning_rate=value).learning_rate
    assert type(rate) is float
    assert rate == value or isinstance(value, Fraction)


@pytest.mark.parametrize("name", ["mine", "lauf 3", "größer", "σ′", ".hidden", "-x", "a" * 255])
def test_a_name_may_be_any_that_a_terminal_can_show(name):
    assert Config(name=name).name == name


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (CostName, COSTS),
        (DtypeName, DTYPES),
        (DatasetName, DATASETS),
        (GradientName, GRADIENTS),
        (GradientChoice, {"auto": None, **GRADIENTS}),
        (Derivative, FORMS),
    ],
    ids=["cost", "dtype", "dataset", "gradient", "choice", "derivative"],
)
def test_the_type_checker_knows_the_same_names(names, table):
    assert sorted(get_args(names)) == sorted(table)


@pytest.mark.parametrize("name", get_args(DeviceName))
def test_the_type_checker_knows_the_same_devices(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device(name).type in ("cpu", "cuda")


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA device here; use cpu or auto"):
        Config(device="cuda")
    assert resolve_device("auto") == torch.device("cpu")


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")
