import numpy as np
import pytest
import torch

from bp_torch import checks
from bp_torch.dtypes import DTYPES
from bp_torch.table.columns import Column
from bp_torch.table.table import Part, Table
from bp_torch.table.target import Target
from bp_torch.training import model
from bp_torch.training.config import Config


def table(outputs=None):
    part = Part(np.zeros((4, 3), np.float32), np.zeros(4, np.float32))
    target = Target("y", tuple(map(float, range(outputs or 2))))
    columns = (Column("a"), Column("b"), Column("c"))
    return Table("t", part, part, columns, target, np.zeros(3), np.ones(3), "", "")


def build(outputs=None, **options):
    generator = torch.Generator().manual_seed(0)
    return model.build(Config(**options), table(outputs), generator)


@pytest.mark.parametrize(
    ("outputs", "layers", "description"),
    [
        (None, (), "one neuron, 4 parameters"),
        (None, (5,), "a network of 3-5-1, 26 parameters"),
        (3, (), "a network of 3-3, 12 parameters"),
        (4, (5, 4), "a network of 3-5-4-4, 64 parameters"),
    ],
)
def test_the_data_and_the_layers_say_what_is_built(outputs, layers, description):
    assert model.describe(build(outputs, layers=layers)) == description


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_weights_are_the_same_in_every_dtype_but_for_rounding(dtype):
    drawn = build(3, layers=(5,), dtype="float32").state_dict()
    for name, weight in build(3, layers=(5,), dtype=dtype).state_dict().items():
        assert torch.equal(weight, drawn[name].to(DTYPES[dtype]))


@pytest.mark.parametrize(
    ("layers", "numbers"),
    [
        ((10**12,), r"3-1000000000000-1, with 5,000,000,000,001 parameters, .* 536,442 GiB"),
        ((10**5, 10**5), "with 10,000,600,001 parameters, would take some 597 GiB"),
        ((10**400,), "would take some 5,?364,?418,"),
    ],
    ids=["one layer", "two", "beyond float64"],
)
def test_layers_beyond_the_memory_are_refused_with_both_numbers(monkeypatch, layers, numbers):
    monkeypatch.setattr(checks, "_memory", lambda device: 7 * 2**30)
    with pytest.raises(ValueError, match=numbers + ".* and there are 7 GiB here; choose fewer or"):
        build(layers=layers)


def test_the_memory_is_the_containers_where_there_is_one(tmp_path, monkeypatch):
    absent, unlimited, limited = (tmp_path / name for name in ("absent", "unlimited", "limited"))
    unlimited.write_text("max\n")
    limited.write_text(f"{2**28}\n")
    cpu = torch.device("cpu")
    monkeypatch.setattr(checks, "CONTAINER_LIMITS", ())
    of_the_machine = checks._memory(cpu)
    assert of_the_machine > 2**28
    monkeypatch.setattr(checks, "CONTAINER_LIMITS", (absent, unlimited))
    assert checks._memory(cpu) == of_the_machine
    monkeypatch.setattr(checks, "CONTAINER_LIMITS", (absent, unlimited, limited))
    assert checks._memory(cpu) == 2**28
