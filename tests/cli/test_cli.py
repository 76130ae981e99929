import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

import bp_torch as bp
from bp_torch import cli
from bp_torch.training.gradients import GRADIENTS


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command line in this process; gives status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bp-torch", *arguments])
        try:
            cli.main()
            status = 0
        except SystemExit as exit:
            status = exit.code or 0
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_train_ends_with_a_table_and_a_run(run, tmp_path):
    status, out, err = run("train", "--epochs", "30")
    assert (status, err) == (0, "")
    assert "gradient fused\n" in out
    assert re.search(r"in 30 steps:\n  \d+ ULP, \d.\d+e-\d\d absolute\n", out)
    assert "model        runs/breast-cancer-1/model.safetensors" in out
    assert "--logdir runs" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "TensorBoard" not in line)
    assert isinstance(bp.load(tmp_path / "runs/breast-cancer-1/model.safetensors"), bp.Neuron)


@pytest.mark.parametrize("gradient", ["manual", "chain", "fused"])
def test_train_with_the_accurate_form_says_so_and_saves_it(run, tmp_path, gradient):
    status, out, _ = run(
        "train", "--derivative", "accurate", "--gradient", gradient, "--epochs", "3"
    )
    assert status == 0
    assert f"gradient {gradient} (accurate)" in out
    saved = bp.load(tmp_path / "runs/breast-cancer-1/model.safetensors")
    assert saved.derivative == "accurate"


def test_train_takes_every_option(run):
    status, out, _ = run(
        *("train", "--dataset", "digits", "--layers", "8,6", "--cost", "cross-entropy"),
        *("--gradient", "chain", "--derivative", "accurate", "--epochs", "2"),
        *("--batch-size", "100"),
        *("--learning-rate", "0.5", "--device", "cpu", "--dtype", "float64", "--seed", "7"),
        *("--check-every", "5", "--log-every", "5", "--name", "all", "--runs", "elsewhere"),
    )
    assert status == 0
    assert "digits: a network of 64-8-6-10, 644 parameters, cross-entropy cost, gradient c" in out
    assert "largest difference in 6 steps" in out
    assert "elsewhere/all/model.safetensors" in out


@pytest.mark.parametrize("arguments", [["--dataset"], ["--dataset", "list"]], ids=" ".join)
def test_dataset_lists_what_there_is(run, arguments):
    status, out, _ = run("train", *arguments)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["breast-cancer", "digits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "iris"], "one of breast-cancer, digits; got 'iris'"),
        (["--device", "tpu"], "one of auto, cpu, cuda; got 'tpu'"),
        (["--learning-rate", "0"], "learning rate must be a number > 0"),
        (["--learning-rate", "inf"], "learning rate must be a number > 0"),
        (["--batch-size", "-1"], "batch size must be at least 0"),
        (["--layers", "3,x"], "whole numbers separated by commas"),
        (["--epochs", "many"], "--epochs"),
        (["--no-such-option"], "--no-such-option"),
        (["--runs", "taken"], "runs must be a folder, got the file taken"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_status_2(run, tmp_path, arguments, message):
    (tmp_path / "taken").touch()
    status, out, err = run("train", *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("bp-torch: ")
    assert len(err.splitlines()) == 1
    assert message in err
    assert not (tmp_path / "runs").exists()


def test_an_existing_run_is_left_as_it_is(run, tmp_path):
    assert run("train", "--epochs", "1", "--name", "mine")[0] == 0
    model = tmp_path / "runs/mine/model.safetensors"
    before = model.read_bytes()
    status, _, err = run("train", "--epochs", "1", "--name", "mine")
    assert status == 2
    assert "choose another name" in err
    assert model.read_bytes() == before


def test_a_run_that_diverges_says_when_and_what_to_try(run, monkeypatch):
    def nan_at_step_7(*arguments):
        cost, gradients = fused(*arguments)
        return cost * (torch.nan if next(steps) == 7 else 1), gradients

    fused, steps = GRADIENTS["fused"], itertools.count()
    monkeypatch.setitem(GRADIENTS, "fused", nan_at_step_7)
    status, out, err = run("train", "--learning-rate", "50")
    assert (status, out) == (1, "")
    assert err == (
        "bp-torch: the cost stopped being finite at step 7 and nothing was saved; "
        "try a smaller learning rate than 50, or a wider dtype\n"
    )


def test_ctrl_c_ends_with_a_saved_model(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "bp_torch", "train", "--epochs", "1000000", "--name", "long"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    # The event file grows past its header once training runs.
    while not any(file.stat().st_size > 2000 for file in tmp_path.glob("runs/long/events*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert "interrupted after" in out
    assert "Traceback" not in err
    assert bp.load(tmp_path / "runs/long/model.safetensors").weight.isfinite().all()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["compare", "--help"]], ids=" ".join
)
def test_help_fits_80_columns(run, monkeypatch, arguments):
    monkeypatch.setitem(os.environ, "COLUMNS", "80")
    status, out, _ = run(*arguments)
    assert status == 0
    assert out.startswith("Usage: bp-torch")
    assert max(map(len, out.splitlines())) <= 80


def test_the_example_of_help_runs(run):
    _, out, _ = run("train", "--help")
    example = " ".join(out[out.index("Example: ") :].split()).removeprefix("Example: bp-torch ")
    status, _, err = run(*example.replace("--epochs 100", "--epochs 1").split())
    assert (status, err) == (0, "")


def test_no_command_shows_the_help(run):
    status, out, _ = run()
    assert status == 2
    assert "train" in out


@pytest.fixture
def user_module(tmp_path):
    """A module of the user's, in the working directory."""
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Negated(torch.autograd.Function):\n"
        "    @staticmethod\n"
        "    def forward(ctx, z):\n"
        "        y = torch.sigmoid(z)\n"
        "        ctx.save_for_backward(y)\n"
        "        return y\n"
        "    @staticmethod\n"
        "    def backward(ctx, g):\n"
        "        y, = ctx.saved_tensors\n"
        "        return -g * y * (1 - y)\n"
        "def make_inputs(generator):\n"
        "    return (torch.randn(5, 2, generator=generator),)\n"
        "def broken(z):\n"
        "    raise RuntimeError('no such kernel')\n"
    )
    yield "mine"
    sys.modules.pop("mine", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]


def test_compare_says_right_with_status_0(run):
    status, out, err = run(
        *("compare", "torch:sigmoid", "--reference", "torch:sigmoid", "--no-compile"),
    )
    assert (status, err) == (0, "")
    assert out.startswith("right: ")
    assert "in float32 autograd itself loses the derivative" in " ".join(out.split())


def test_compare_names_a_mistake_with_status_1(run, user_module, tmp_path):
    status, out, err = run(
        *("compare", "mine:Negated", "--reference", "torch:sigmoid", "--no-compile"),
        *("--dtype", "float32", "--inputs", "mine:make_inputs", "--json", "report.json"),
    )
    assert (status, err) == (1, "")
    assert out.startswith("wrong: the gradient of input has the wrong sign")
    assert max(map(len, out.splitlines())) <= 80
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["diagnosis"]["mistake"] == "sign"


def test_compare_without_a_target_proves_the_packages_own(run):
    status, out, _ = run("compare", "--no-compile")
    assert status == 0
    sigmoids = ["sigmoid, textbook", "sigmoid, accurate"]
    subjects = [*sigmoids, "neuron", "network", "quadratic cost", "cross-entropy cost"]
    lines = out.splitlines()[2:]
    assert [line[:20].strip() for line in lines] == subjects
    assert all(line.endswith("right") for line in lines)
    for line in lines:  # the four witnesses agree with 50 digits, each as well as it can
        by_chain, by_function, by_autograd, by_differences = map(float, line[20:68].split())
        assert max(by_chain, by_function, by_autograd) < 50
        assert by_differences < 1e8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["torch.sigmoid"], "expected package.module:function"),
        (["nowhere:f"], "cannot import 'nowhere'"),
        (["torch:nothing"], "'torch' has no 'nothing'"),
        (["torch:pi"], "must be callable, got float"),
        (["torch:sigmoid", "--shape", "3xy"], "sizes joined by x"),
        (["torch:sigmoid", "--dtype", "int8"], "any of float64, float32, bfloat16, float16"),
        (["torch:sigmoid", "--device", "tpu"], "one of auto, cpu, cuda"),
        (["mine:broken"], "could not be tried: RuntimeError: no such kernel (raised in"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_tried_is_one_line_and_status_2(run, user_module, arguments, message):
    status, out, err = run("compare", *arguments)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
