"""bp-torch train on a user's own table, sweeps over options, and the cache."""

import numpy as np
import pandas as pd
import pytest
import torch

import bp_torch as bp


def write(path="wine.csv", rows=300, **columns):
    rng = np.random.default_rng(0)
    data = pd.DataFrame(
        {"acid": rng.normal(size=rows), "colour": rng.choice(["red", "white"], rows)}
    )
    good = data.acid + (data.colour == "red") + 0.3 * rng.normal(size=rows) > 0.5
    data.assign(good=np.where(good, "yes", "no"), **columns).to_csv(path, index=False)
    return path


def test_a_table_trains(run):
    status, out, err = run("train", write(), "--target", "good", "--epochs", "30")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "wine.csv: one neuron, 4 parameters, quadratic cost, gradient fused"
    assert lines[1] == "good: yes is 1, no is 0"
    for name in ("samples", "cost", "log loss", "Brier score", "AUC", "accuracy"):
        assert any(line.startswith(name + " ") for line in lines)
    assert any(line.startswith("held out, taken for") for line in lines)
    assert any("colour=red" in line for line in lines)
    assert "model        runs/wine-1/model.safetensors" in lines
    assert max(map(len, lines[:-1])) <= 80
    model = bp.load("runs/wine-1/model.safetensors")
    assert model.classes == ("no", "yes")
    assert model.about.metrics["held_out"]["auc"] > 0.9
    assert model.about.training["target"] == "good"
    assert len(model.about.content) == 16


def test_every_option_of_the_table_is_passed_on(run):
    path = write(id=range(300), part=[1, 2, 3] * 100, w=1.5, hole=[1, None, 3] * 100)
    status, out, err = run(
        *("train", path, "--target", "good", "--drop", "id", "--one-hot", "part"),
        *("--missing", "mean", "--sample-weight", "w", "--class-weight", "balanced"),
        *("--positive", "no", "--test-size", "0.3", "--epochs", "2", "--cache", "off"),
        *("--schedule", "cosine", "--early-stopping", "1", "--momentum", "0.5"),
        *("--l2", "0.001", "--l1", "0.001"),
    )
    assert (status, err) == (0, "")
    assert "good: no is 1, yes is 0" in out
    model = bp.load("runs/wine-1/model.safetensors")
    names = ("acid", "colour=red", "colour=white", "part=1", "part=2", "part=3", "hole")
    assert model.feature_names == names
    assert model.about.metrics["held_out"]["samples"] in (89, 90, 91)


def test_other_data_are_held_out(run):
    write("new.csv", rows=40)
    _, out, _ = run("train", write(), "--target", "good", "--test", "new.csv", "--epochs", "2")
    assert "samples           300        40\n" in out


def test_names_are_given_to_a_file_without_them(run):
    pd.read_csv(write()).to_csv("bare.data", index=False, header=False)
    arguments = ("train", "bare.data", "--columns", "acid,colour,good", "--target", "good")
    assert run(*arguments, "--epochs", "2")[0] == 0
    assert bp.load("runs/bare-1/model.safetensors").feature_names[0] == "acid"


def test_rows_and_columns_that_are_left_out_are_said(run):
    path = write(flat=1, hole=[1, None, 3] * 100)
    _, out, _ = run("train", path, "--target", "good", "--missing", "drop", "--epochs", "1")
    assert "note: 100 rows with missing values were dropped\n" in out
    assert "note: never varies, so nothing is learnt from it: flat\n" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.csv", "--target", "good"], "there is no file none.csv"),
        (["wine.csv"], "which column of wine.csv is to be learnt?"),
        (["wine.csv", "--target", "goood"], "did you mean 'good'?"),
        (["wine.csv", "--target", "acid"], "expected two values, numbers from 0 to 1"),
        (
            ["wine.csv", "--target", "good", "--missing", "zero"],
            "missing must be one of drop, mean",
        ),
        (["wine.csv", "--target", "good", "--test-size", "1"], "a share between 0 and 1, got 1.0"),
        (
            ["wine.csv", "--target", "good", "--class-weight", "x"],
            "class-weight must be one of bal",
        ),
        (["wine.csv", "--target", "good", "--momentum", "1"], "momentum must be a number from 0"),
        (["wine.csv", "--target", "good", "--l2", "-1"], "l2 must be a number ≥ 0"),
        (
            ["wine.csv", "--target", "good", "--schedule", "step"],
            "schedule must be one of constant",
        ),
        (
            ["wine.csv", "--target", "good", "--early-stopping", "0"],
            "early stopping must be a whole",
        ),
        (
            ["wine.csv", "--target", "good", "--layers", "3", "--class-weight", "balanced"],
            "sample and class weights are for one neuron",
        ),
        (["wine.csv", "--dataset", "digits"], "choose one of them"),
        (["wine.csv", "--target", "good", "--sweep", "colour=1"], "--sweep must be an option"),
        (["wine.csv", "--target", "good", "--sweep", "seed"], "--sweep must be an option"),
        (["wine.csv", "--target", "good", "--sweep", "seed=a"], "--sweep seed must have numbers"),
        (["wine.csv", "--target", "good", "--sweep", "seed=3:3"], "must have values, each once"),
        (["wine.csv", "--target", "good", "--sweep", "seed=0:2000"], "asks for 2,000 runs"),
        (["wine.csv", "--target", "good", "--sweep", "cost=hinge"], "cost must be one of"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_status_2(run, tmp_path, arguments, said):
    write()
    status, out, err = run("train", *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["wine.csv"]


def test_a_sweep_is_a_run_for_each_combination_and_a_line_for_each(run, tmp_path):
    status, out, err = run(
        *("train", write(), "--target", "good", "--epochs", "3", "--log-every", "0"),
        *("--sweep", "learning-rate=0.001,1", "--sweep", "seed=0:3"),
    )
    assert (status, err) == (0, "")
    header, *rows = out.splitlines()[:7]
    names = ["learning-rate", "seed", "cost", "held", "out", "accuracy", "AUC", "run"]
    assert header.split() == names
    assert [tuple(row.split()[:2]) for row in rows] == [
        (rate, seed) for rate in ("0.001", "1.0") for seed in "012"
    ]
    costs = [float(row.split()[2]) for row in rows]
    assert max(costs[3:]) < min(costs[:3])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        f"wine-{number}" for number in range(1, 7)
    ]
    assert max(map(len, out.splitlines()[:7])) <= 80


def test_a_sweep_of_named_runs_names_each(run, tmp_path):
    arguments = ("train", write(), "--target", "good", "--epochs", "1", "--name", "a")
    assert run(*arguments, "--sweep", "layers=2,3")[0] == 0
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["a-layers=2", "a-layers=3"]


def test_the_cache_is_listed_and_cleared(run, tmp_path, monkeypatch):
    monkeypatch.setattr("bp_torch.table.decode.IN_MEMORY", 0)
    arguments = ("--target", "good", "--epochs", "1", "--cache", "kept")
    assert run("train", write(), *arguments)[0] == 0
    status, out, _ = run("cache", "--cache", "kept")
    assert status == 0
    assert out.splitlines()[0].startswith("wine-")
    assert "300 × 3" in out
    assert out.splitlines()[-1].startswith("1 table, ")
    assert run("cache", "--cache", "kept", "--clear")[1] == "1 table removed from kept\n"
    assert run("cache", "--cache", "kept")[1].startswith("0 tables, 0.0 MiB")


def test_a_model_for_other_programs_is_written_and_gives_the_same(run):
    import onnxruntime

    status, out, err = run("train", write(), "--target", "good", "--epochs", "2", "--onnx", "--pt2")
    assert (status, err) == (0, "")
    assert "             runs/wine-1/model.onnx\n             runs/wine-1/model.pt2\n" in out
    model = bp.load("runs/wine-1/model.safetensors")
    x = np.array([[0.5, 1.0, 0.0], [-2.0, 0.0, 1.0]])
    expected = model(torch.from_numpy(x)).detach().numpy()
    session = onnxruntime.InferenceSession("runs/wine-1/model.onnx")
    found = session.run(["y_hat"], {"features": x})[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    program = torch.export.load("runs/wine-1/model.pt2").module()
    np.testing.assert_allclose(program(torch.from_numpy(x)).detach(), expected, atol=1e-6)


def test_rows_of_which_not_all_is_known_are_no_test_of_an_export(run):
    arguments = ("--target", "good", "--missing", "drop", "--epochs", "1", "--onnx")
    status, out, _ = run("train", write(hole=[1, None, 3] * 100), *arguments)
    assert status == 0
    assert "runs/wine-1/model.onnx\n" in out


def test_without_the_extra_nothing_is_trained_in_vain(run, tmp_path, monkeypatch):
    monkeypatch.setattr("bp_torch.training.config.find_spec", lambda name: None)
    status, _, err = run("train", write(), "--target", "good", "--onnx")
    assert status == 2
    assert err == "bp-torch: onnx needs onnx; pip install 'bp_torch[onnx]'\n"
    assert not (tmp_path / "runs").exists()
