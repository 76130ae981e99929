import os
import subprocess
import sys
from pathlib import Path

import pytest

from bp_torch import cli

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    """Whatever a command writes, it writes here; and what it imports is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; gives status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bp-torch", *arguments])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        captured = capsys.readouterr()
        return exit.value.code, captured.out, captured.err

    return run


@pytest.fixture
def start(tmp_path):
    """Start the command line, or other code with it, in a process of its own."""
    processes = []

    def start(*arguments, code=None, **options):
        ours = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
        environment = {**os.environ, **ours, **options.pop("env", {})}
        command = ["-m", "bp_torch"] if code is None else ["-c", code]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [sys.executable, *command, *arguments],
            cwd=tmp_path,
            env=environment,
            **{"encoding": "utf-8", **pipes, **options},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


MINE = """\
import torch

class Negated(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        y = torch.sigmoid(z)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        y, = ctx.saved_tensors
        return -g * y * (1 - y)

def right(z):
    return torch.sigmoid(z)

def make_inputs(generator):
    return (torch.randn(5, 2, generator=generator),)

def make_one(generator):
    return torch.randn(5, 2, generator=generator)

def make_many(generator, n):
    return torch.randn(n, generator=generator)

def make_nothing(generator):
    return None

def make_numbers(generator):
    return 1.0, 2.0

def make_of_nothing():
    return ()

def broken(z):
    raise RuntimeError("no such kernel")

def ends(z):
    raise SystemExit(0)

def skips(z):
    import pytest
    pytest.skip("no such kernel")

def dies(z):
    import os
    os.abort()

def talks(z):
    print("in the function")
    return torch.sigmoid(z)

def __getattr__(name):
    if name == "lazy":
        raise RuntimeError("no such kernel")
    raise AttributeError(name)

layer = torch.nn.Linear(3, 2)
number = 3
"""


@pytest.fixture
def mine(tmp_path):
    """Modules of the user's, in the working directory."""
    for name, text in {
        "mine": MINE,
        "talks": "print('while importing')\nfrom mine import right",
        "fails": "raise RuntimeError('no licence\\nfound')",
        "quits": "import sys\nsys.exit(0)",
        "misspelt": "def f(:",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
