import pytest
import torch

from bp_torch.training.config import Config, resolve_device


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "iris"}, "data set must be one of breast-cancer, digits; got 'iris'"),
        ({"cost": "hinge"}, "cost must be one of quadratic, cross-entropy; got 'hinge'"),
        (
            {"gradient": "magic"},
            "gradient must be one of auto, manual, autograd, chain, fused; got 'magic'",
        ),
        ({"derivative": "exact"}, "derivative must be one of textbook, accurate; got 'exact'"),
        ({"gradient": "autograd", "derivative": "accurate"}, "has no 'accurate' form; choose"),
        ({"dtype": "int8"}, "dtype must be one of float64, float32, .*; got 'int8'"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda; got 'tpu'"),
        ({"learning_rate": 0.0}, "learning rate must be a number > 0"),
        ({"learning_rate": -1.0}, "learning rate must be a number > 0 .*, got -1.0"),
        ({"learning_rate": float("nan")}, "learning rate must be a number > 0 .*, got nan"),
        ({"learning_rate": float("inf")}, "learning rate must be a number > 0 .*, got inf"),
        ({"learning_rate": 1e5, "dtype": "float16"}, r"finite in float16 \(≤ 6.55e\+04\)"),
        ({"batch_size": -1}, "batch size must be at least 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"layers": (3, 0)}, "layers must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"check_every": -1}, "check-every must be at least 0"),
        ({"log_every": -1}, "log-every must be at least 0"),
        ({"name": "../elsewhere"}, "name must be a plain folder name"),
        ({"name": ""}, "name must be a plain folder name"),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Config(**changes)


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="finds no CUDA device here; use cpu or auto"):
        Config(device="cuda")
    assert resolve_device("auto") == torch.device("cpu")


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")
