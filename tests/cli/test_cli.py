"""What all commands have in common."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pyarrow.csv import write_csv
from test_imports import HEAVY

import bp_torch
from bp_torch.training import loop
from bp_torch.training.data import DATASETS

ROOT = Path(__file__).parents[2]
COMMANDS = [[], ["train"], ["predict"], ["cache"], ["explain"], ["compare"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_a_short_name(run, command):
    assert run(*command, "-h") == run(*command, "--help")


def help_of(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(*command, "--help")
    assert (status, err) == (0, "")
    return out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_80_columns(run, monkeypatch, command):
    out = help_of(run, monkeypatch, command)
    assert out.startswith("Usage: bp-torch")
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_example_of_help_runs(run, monkeypatch, command):
    out = help_of(run, monkeypatch, command)
    (example,) = re.findall(r"^  Example: bp-torch (.*)$", out, re.MULTILINE)
    table = DATASETS["breast-cancer"].read().rename_columns({"class": "quality"})
    write_csv(table.slice(0, 200), "wine.csv")
    write_csv(table.slice(200, 50), "new.csv")
    if command == ["predict"]:
        run("train", "wine.csv", "--target", "quality", "--epochs", "1")
    status, out, err = run(*example.replace("--epochs 100", "--epochs 1").split())
    assert (status, err) == (0, "")
    assert out


def test_no_command_shows_the_help(run):
    status, out, _ = run()
    assert status == 2
    assert "train" in out


def test_the_version_is_the_packages_and_torchs(run):
    status, out, err = run("--version")
    assert (status, err) == (0, "")
    assert out.startswith(f"bp-torch {bp_torch.__version__} (torch {torch.__version__}, Python 3.")


@pytest.mark.parametrize("arguments", [["tarin"], ["train", "extra"], ["--no-such-option"]])
def test_a_slip_of_the_pen_is_one_line(run, tmp_path, arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("bp-torch: ")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--dataset", "\x1b[31mred\x1b[0m\n"],
        ["train", "--name", "\x1b[31mred"],
        ["train", "--layers", "3\r4"],
        ["train", "--runs", "a\x9bb"],
        ["train", "two\nlines\x07"],
        ["\x1b[31mtrain"],
        ["compare", "torch:\x1b[31m"],
        ["compare", "torch:sigmoid", "--shape", "3\x1b[31m"],
        ["compare", "torch:sigmoid", "--json", "\x1b[31m/report.json"],
    ],
    ids=repr,
)
def test_a_message_does_not_command_the_terminal(run, tmp_path, arguments):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.removesuffix("\n").isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory_is_one_line(run, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(loop, "build", fail)
    status, out, err = run("train")
    assert (status, out) == (2, "")
    assert err == f"bp-torch: out of memory: {error}".rstrip(": ") + "\n"


def test_a_mistake_of_ours_is_not_called_the_users(run, monkeypatch):
    def fail(*_):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(loop, "build", fail)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run("train")


def test_what_runs_at_every_tab_loads_nothing_heavy_but_typer(start):
    code = (
        "import torch, sys; old = set(sys.modules); "
        "import bp_torch.cli.app; print(*set(sys.modules) - old)"
    )
    out, _ = start(code=code).communicate(timeout=60)
    assert {name.split(".")[0] for name in out.split()} & HEAVY == {"typer"}


def test_the_shell_completes_commands_and_names(tmp_path):
    """As bash does it: the script is evaluated, and its function called with the words so far."""
    command = tmp_path / "bin/bp-torch"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bp_torch "$@"\n')
    command.chmod(0o755)
    script = """\
        eval "$(bp-torch --show-completion bash)"
        complete -p bp-torch >&2
        for words in "bp-torch tr" "bp-torch train --gradient f"; do
            COMP_WORDS=($words); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
            _bp_torch_completion bp-torch
            echo "${COMPREPLY[@]}"
        done
    """
    environment = {"PATH": f"{command.parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    bash = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert bash.stdout.splitlines() == ["train", "fused"]
    assert "_bp_torch_completion bp-torch" in bash.stderr
