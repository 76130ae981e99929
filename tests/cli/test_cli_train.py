import itertools
import re
import signal
import time

import pytest
import torch

import bp_torch as bp
from bp_torch.cli.status import SIGNALLED
from bp_torch.mistakes import MISTAKES
from bp_torch.training.gradients import GRADIENTS


def test_train_ends_with_a_table_and_a_run(run, tmp_path):
    status, out, err = run("train", "--epochs", "30")
    assert (status, err) == (0, "")
    assert "gradient fused\n" in out
    assert "gradient     by hand: right in all 30 steps compared\n" in out
    assert re.search(r" at most 0\.\d+ rounding units from the truth, autograd 0\.\d+\n", out)
    assert "model        runs/breast-cancer-1/model.safetensors" in out
    assert "--logdir runs" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "TensorBoard" not in line)
    assert isinstance(
        bp.load(tmp_path / "runs/breast-cancer-1/model.safetensors").module, bp.Neuron
    )


@pytest.mark.parametrize("gradient", ["manual", "chain", "fused"])
def test_train_with_the_accurate_form_says_so_and_saves_it(run, tmp_path, gradient):
    status, out, _ = run(
        "train", "--derivative", "accurate", "--gradient", gradient, "--epochs", "3"
    )
    assert status == 0
    assert f"gradient {gradient} (accurate)" in " ".join(out.split())
    saved = bp.load(tmp_path / "runs/breast-cancer-1/model.safetensors")
    assert saved.module.derivative == "accurate"


def test_train_takes_every_option(run):
    status, out, _ = run(
        *("train", "--dataset", "digits", "--layers", "8,6", "--cost", "cross-entropy"),
        *("--gradient", "chain", "--derivative", "accurate", "--epochs", "2"),
        *("--batch-size", "100"),
        *("--learning-rate", "0.5", "--device", "cpu", "--dtype", "float64", "--seed", "7"),
        *("--check-every", "5", "--log-every", "5", "--name", "all", "--runs", "elsewhere"),
    )
    assert status == 0
    assert out.startswith(
        "digits: a network of 64-8-6-10, 644 parameters, cross-entropy cost, gradient\n"
        "  chain (accurate)\n"
    )
    assert "right in all 6 steps compared" in out
    assert "elsewhere/all/model.safetensors" in out


@pytest.mark.parametrize("arguments", [["--dataset"], ["--dataset", "list"]], ids=" ".join)
def test_dataset_lists_what_there_is(run, arguments):
    status, out, _ = run("train", *arguments)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["breast-cancer", "digits"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--dataset", "iris"],
            "one of breast-cancer, digits, or a file with a table; there is no file 'iris'",
        ),
        (["--cost", "hinge"], "one of quadratic, cross-entropy; got 'hinge'"),
        (["--device", "tpu"], "one of auto, cpu, cuda; got 'tpu'"),
        (["--learning-rate", "0"], "learning rate must be a number > 0"),
        (["--learning-rate", "inf"], "learning rate must be a number > 0"),
        (["--learning-rate", "1e300", "--dtype", "float64"], "finite in float32 (≤ 3.403e+38)"),
        (["--batch-size", "-1"], "batch size must be a whole number of at least 0"),
        (["--layers", "3,x"], "whole numbers separated by commas"),
        (["--layers", "-3"], "layers must be a whole number of at least 1"),
        (["--layers", "3,"], "whole numbers separated by commas"),
        (["--layers", "1000000000000"], "with 32,000,000,000,001 parameters, would take some"),
        (["--layers", "100000,100000"], "with 10,003,300,001 parameters, would take some 602 GiB"),
        (["--layers", "1" + 400 * "0"], "GiB here; choose fewer or smaller layers"),
        (["--layers", "3", "--gradient", "fused"], "gradient fused is for one neuron"),
        (["--epochs", "many"], "'--epochs': expected a whole number, got 'many'"),
        (["--epochs", "1e3"], "'--epochs': expected a whole number, got '1e3'"),
        (["--batch-size", "32.0"], "'--batch-size': expected a whole number, got '32.0'"),
        (["--log-every", ""], "'--log-every': expected a whole number, got ''"),
        (["--learning-rate", "0,5"], "'--learning-rate': expected a number, got '0,5'"),
        (["--seed", 5000 * "9"], "'--seed': expected a whole number, got '999"),
        (["--epochs", "0"], "epochs must be a whole number of at least 1"),
        (["--seed", "-1"], "seed must be a whole number of at least 0"),
        (["--seed", "18446744073709551616"], "seed must be less than 2^64"),
        (["--name", "a/b"], "name must be a plain folder name, got 'a/b'"),
        (["--name", ""], "name must be a plain folder name, got ''"),
        (["--name", "\x1b[31mred"], r"characters that can be shown, got '\x1b[31mred'"),
        (["--name", "two\nlines"], r"characters that can be shown, got 'two\nlines'"),
        (["--name", 300 * "a"], "name must be at most 255 bytes long, got 300"),
        (["--runs", ""], "runs must be the path of a folder"),
        (["--runs", "a\x1b[31m"], r"characters that can be shown, got 'a\x1b[31m'"),
        (["--runs", "taken"], "runs must be a folder, got the file taken"),
        (["--runs", "taken/below"], "taken"),
        (["--no-such-option"], "--no-such-option"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_status_2(run, tmp_path, arguments, message):
    (tmp_path / "taken").touch()
    status, out, err = run("train", *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("bp-torch: ")
    assert len(err.splitlines()) == 1
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("name", ["größer σ′", "-x", "a b", "a'b", "$HOME"])
def test_a_name_may_be_unusual(run, name):
    status, out, err = run("train", "--epochs", "1", "--name", name, "--runs", "my runs")
    assert (status, err) == (0, "")
    assert f"model        my runs/{name}/model.safetensors" in out
    assert "--logdir 'my runs'" in out  # as a shell takes it for one word


def test_a_run_that_tensorboard_does_not_see_is_not_sent_there(run):
    _, out, _ = run("train", "--epochs", "1", "--log-every", "0")
    assert "TensorBoard" not in out


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

    fused, steps = GRADIENTS["manual"], itertools.count()
    with monkeypatch.context() as patched:
        patched.setitem(GRADIENTS, "manual", nan_at_step_7)
        status, out, err = run(
            "train", "--learning-rate", "50", "--name", "mine", "--gradient", "manual"
        )
    assert (status, out) == (1, "")
    assert err == (
        "bp-torch: the cost stopped being finite at step 7 and nothing was saved; "
        "try a smaller learning rate than 50, or a wider dtype\n"
    )
    assert run("train", "--epochs", "1", "--name", "mine")[0] == 0  # the same again, but for that


def wait_until_it_trains(process, folder):
    deadline = time.monotonic() + 60
    # The event file grows past its header once training runs.
    while not any(file.stat().st_size > 2000 for file in folder.glob("events*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


LONG = ["train", "--epochs", "1000000", "--name", "long"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGHUP, signal.SIGTERM),
    ],
)
def test_a_signal_ends_with_a_saved_model_and_a_second_one_changes_nothing(
    start, tmp_path, first, second
):
    process = start(*LONG)
    wait_until_it_trains(process, tmp_path / "runs/long")
    process.send_signal(first)
    time.sleep(0.1)
    process.send_signal(second)
    out, err = process.communicate(timeout=60)
    assert process.returncode == SIGNALLED + first
    assert f"interrupted by {first.name} after" in out
    assert re.search(r"^go on with   \S*bp-torch train --resume long$", out, re.MULTILINE)
    assert "Traceback" not in err
    model = bp.load(tmp_path / "runs/long/model.safetensors")
    assert model.module.weight.isfinite().all()


def test_a_run_is_gone_on_with_from_the_command_line(run, tmp_path):
    quick = ("--epochs", "3", "--name", "mine", "--log-every", "0", "--runs", "elsewhere")
    assert run("train", *quick)[0] == 0
    status, out, err = run("train", "--resume", "mine", "--runs", "elsewhere", "--epochs", "5")
    assert (status, err) == (0, "")
    assert "trained after 75 steps" in out
    status, out, _ = run("train", "--resume", "mine", "--runs", "elsewhere")
    assert status == 0
    assert "note: the run had come to its end, and nothing was left to learn" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--resume", "nope"], "there is no run 'nope' in runs to go on with"),
        (["--resume", "mine", "--sweep", "seed=0:2"], "--resume goes on with one run, and --sweep"),
        (["--resume", "mine", "--seed", "3"], "begun with seed 0, and is to go on with 3; leave"),
        (
            ["--resume", "mine", "--name", "other"],
            "name is 'other', and the run that goes on",
        ),
        (["--resume", "mine", "--dataset", "digits"], "the data have changed since the run 'mine'"),
        (["--checkpoint-every", "often"], "must be a number of steps, or a time, as 30s or 5m"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_go_on_is_one_line_and_status_2(run, arguments, said):
    run("train", "--epochs", "1", "--name", "mine", "--log-every", "0")
    status, out, err = run("train", *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_ctrl_c_while_it_starts_leaves_no_traceback(start, tmp_path, seconds):
    process = start(*LONG)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (SIGNALLED + signal.SIGINT, -signal.SIGINT)
    assert "Traceback" not in err


def test_two_processes_that_want_one_name(start, run, tmp_path):
    """The second is told, the first goes on; and when it is killed its name is free."""
    first = start(*LONG)
    wait_until_it_trains(first, tmp_path / "runs/long")
    status, out, err = run(*LONG)
    assert (status, out) == (2, "")
    assert err.startswith("bp-torch: a run named 'long' is going on at runs/long; choose another")
    assert first.poll() is None
    first.kill()
    first.wait()
    status, out, err = run("train", "--epochs", "1", "--name", "long")
    assert (status, err) == (0, "")
    assert sum("tfevents" in path.name for path in (tmp_path / "runs/long").iterdir()) == 1


def test_without_a_compiler_one_line_says_what_to_do(start, tmp_path):
    """The variable is read where Numba is imported: in a process of its own."""
    process = start("train", "--epochs", "1", env={"NUMBA_DISABLE_JIT": "1"})
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert error.splitlines() == [
        "bp-torch: fused steps are compiled by Numba, and NUMBA_DISABLE_JIT is set; unset it"
    ]
    assert not (tmp_path / "runs" / "breast-cancer-1" / "model.safetensors").exists()


# Mistakes on purpose.


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["--without", "sigma-prime"], "without-sigma-prime"),
        (["--without", "x"], "without-x"),
        (["--without", "1/N"], "without-1/N"),
        (["--mistake", "sigma-twice"], "sigma-twice"),
        (["--mistake", "one-term-too-many"], "one-term-too-many"),
        (["--mistake", "updated-weights", "--layers", "3"], "updated-weights"),
    ],
)
def test_a_mistake_on_purpose_is_marked_and_named(run, tmp_path, arguments, mistake):
    status, out, _ = run("train", "--epochs", "3", *arguments)
    assert status == 0
    assert f"\nWITH A MISTAKE, on purpose: {mistake}\n" in out
    assert "gradient     by hand: WRONG in all 3 steps compared\n" in out
    assert f"             {MISTAKES[mistake].sentence}\n" in out
    assert all(len(line) <= 80 for line in out.splitlines() if "TensorBoard" not in line)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name == f"breast-cancer-{mistake}-1".replace("/", "-over-")
    assert bp.load(folder / "model.safetensors").about.training["mistake"] == mistake


def test_a_mistake_that_the_dtype_hides_is_said_to_be_hidden(run):
    _, out, _ = run(
        *("train", "--epochs", "1", "--dtype", "bfloat16", "--mistake", "one-term-too-many"),
        *("--init-weight", "0", "--init-bias", "0"),
    )
    verdict = "right" if "too small to be seen in bfloat16" in out else "WRONG"
    assert f"by hand: {verdict} in " in out


def test_a_neuron_can_start_saturated(run):
    arguments = ("train", "--epochs", "1", "--init-weight", "2", "--init-bias", "2")
    status, _, _ = run(*arguments, "--learning-rate", "1e-9", "--log-every", "0")
    assert status == 0
    model = bp.load("runs/breast-cancer-1/model.safetensors")
    assert model.about.training["init_weight"] == 2
    assert (model.module.weight - 2).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mistake", "typo"], "mistake must be one of without-sigma-prime, "),
        (["--without", "y"], "--without must be one of sigma-prime, x, 1/N; got 'y'"),
        (["--without", "x", "--mistake", "wrong-sign"], "choose one of them"),
        (["--mistake", "wrong-sign", "--gradient", "autograd"], "leave it out, or choose gradient"),
        (["--mistake", "updated-weights"], "needs a hidden layer"),
        (["--init-weight", "nan"], "init-weight must be a finite number"),
        (["--init-bias", "inf"], "init-bias must be a finite number"),
        (["--init-weight", "2", "--layers", "3"], "units that start alike stay alike"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_one_line_and_status_2(run, tmp_path, arguments, said):
    status, out, err = run("train", *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_before_anything_listens_is_one_line(run, monkeypatch):
    def press(*arguments):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("bp_torch.cli.train.begun_with", press)
    status, out, err = run("train", "--resume", "mine")
    assert (status, out) == (130, "")
    assert err == "bp-torch: SIGINT came before anything was learnt\n"
