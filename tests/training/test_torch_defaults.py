"""Whatever torch has been set to, a run is the same to the bit, and its model can be trained."""

from contextlib import contextmanager

import pytest
import torch

import bp_torch as bp
from bp_torch.training import loop
from bp_torch.training.config import Config
from bp_torch.training.torch_defaults import torch_defaults


def setting(change, back):
    @contextmanager
    def changed():
        change()
        try:
            yield
        finally:
            back()

    return changed


SETTINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "device meta": lambda: torch.device("meta"),
    "default device meta": setting(
        lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)
    ),
    "default dtype float64": setting(
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "default dtype float16": setting(
        lambda: torch.set_default_dtype(torch.float16),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "deterministic": setting(
        lambda: torch.use_deterministic_algorithms(True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}
RUNS = {
    "fused": {},
    # Without pictures, which take most of the time of so short a run.
    "manual": {"gradient": "manual", "log_every": 0},
    "chain": {"gradient": "chain", "dtype": "float64", "log_every": 0},
    "network": {"layers": (3,), "dtype": "bfloat16", "log_every": 0},
    "digits": {"dataset": "digits", "log_every": 0},
}


def come_of(tmp_path, options):
    result = loop.run(Config(runs=tmp_path, epochs=1, **options))
    return bp.load(result.path), (result.train, result.test, result.comparison)


@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("changed", SETTINGS.values(), ids=SETTINGS)
def test_a_run_does_not_depend_on_them(tmp_path, changed, options):
    expected, scores = come_of(tmp_path, options)
    with changed():
        module, others = come_of(tmp_path, options)
    assert others == scores
    assert module.state_dict().keys() == expected.state_dict().keys()
    for name, weight in module.state_dict().items():
        assert weight.dtype == expected.state_dict()[name].dtype
        assert torch.equal(weight, expected.state_dict()[name])


@pytest.mark.parametrize("changed", SETTINGS.values(), ids=SETTINGS)
def test_what_is_loaded_can_be_trained(tmp_path, changed):
    path = loop.run(Config(runs=tmp_path, epochs=1)).path
    with changed():
        neuron = bp.load(path)
    x, y = torch.zeros(2, 30), torch.tensor([0.0, 1.0])
    bp.quadratic_cost(neuron(x), y).backward()
    for parameter in neuron.parameters():
        assert parameter.is_leaf
        assert parameter.device.type == "cpu"
        assert not parameter.is_inference()
        assert parameter.grad is not None


@pytest.mark.parametrize("changed", SETTINGS.values(), ids=SETTINGS)
def test_they_are_left_as_they_were(changed):
    def settings():
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_device(),
            torch.get_default_dtype(),
            torch.is_autocast_enabled("cpu"),
        )

    with changed():
        before = settings()
        inside = torch_defaults()(settings)()
        with pytest.raises(KeyboardInterrupt), torch_defaults():
            raise KeyboardInterrupt
        assert settings() == before
    assert inside == (True, False, torch.device("cpu"), torch.float32, False)
