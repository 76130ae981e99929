"""A disk without room: the path is named, the name stays free, what was learnt is kept.

A limit on the size of files stands for it: the system answers a write in the same way.
"""

import pandas as pd
import pytest
import torch

import bp_torch as bp

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.argv = ["bp-torch", *{arguments!r}]
from bp_torch.cli import main
main()
"""


@pytest.fixture
def with_room_for(start):
    def run(limit, *arguments):
        process = start(code=LIMITED.format(limit=limit, arguments=arguments))
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return process.returncode, out, err

    return run


def test_a_log_without_room_stops_the_run_and_takes_nothing_with_it(with_room_for, run, tmp_path):
    arguments = ("--epochs", "300", "--name", "mine", "--log-every", "5")
    status, out, err = with_room_for(160_000, "train", *arguments, "--checkpoint-every", "20")
    assert status == 2
    assert len(err.splitlines()) == 1
    assert err.startswith(
        "bp-torch: the log for TensorBoard ends early: [Errno 27] File too large: 'runs/mine/"
    )
    assert "; the run has stopped, and can go on from runs/mine/checkpoint-0" in err
    assert bp.load(tmp_path / "runs/mine/model.safetensors").module.weight.isfinite().all()
    assert out.count("bp-torch train --resume mine") == 1
    assert run("train", "--resume", "mine")[0] == 0
    assert run("train", *arguments[:2], "--name", "whole")[0] == 0
    mine, whole = (bp.load(f"runs/{name}/model.safetensors").module for name in ("mine", "whole"))
    assert torch.equal(mine.weight, whole.weight)


def test_a_table_without_room_is_said_and_leaves_nothing(with_room_for, run, tmp_path):
    data = pd.DataFrame({"x": range(20_000), "y": [0, 1] * 10_000})
    data.to_csv("t.csv", index=False)
    arguments = ("train", "t.csv", "--target", "y", "--epochs", "1", "--cache", "kept")
    status, out, err = with_room_for(8000, *arguments)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "File too large: 'kept/unfinished-" in err
    assert not (tmp_path / "runs").exists()
    assert list((tmp_path / "kept").iterdir()) == []
    assert run(*arguments)[0] == 0


def test_predictions_without_room_are_said_and_leave_nothing(with_room_for, run, tmp_path):
    data = pd.DataFrame({"x": range(20_000), "y": [0, 1] * 10_000})
    data.to_csv("t.csv", index=False)
    run("train", "t.csv", "--target", "y", "--epochs", "1", "--log-every", "0")
    model = "runs/t-1/model.safetensors"
    for name in ("out.csv", "out.parquet"):
        status, out, err = with_room_for(8000, "predict", model, "t.csv", "-o", name)
        assert (status, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert name in err
        assert not (tmp_path / name).exists()
    assert not list(tmp_path.glob(".*unfinished"))
