"""Kernels kept on disk: what is damaged there is made anew, and never taken for machine code."""

import os
import pickle
import subprocess
import sys

import numba
import pytest
import torch
from batches import agrees, draw, draw_without_cancellation

from bp_torch import fused
from bp_torch.fused import backends, cpu_kernels
from bp_torch.fused.compiled import kept_on_disk

KERNEL = cpu_kernels.step_kernel


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where Numba keeps kernels, with one in it."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert hits_on_disk() == 0
    yield tmp_path
    KERNEL.cache_clear()


def hits_on_disk():
    """How often the disk served, in taking a step with a kernel that this process does not have."""
    KERNEL.cache_clear()
    batch = draw_without_cancellation(5, 3, torch.float32, "quadratic")
    assert agrees(fused.cost_and_gradients(*batch.tensors), batch)
    return sum(KERNEL(torch.float32, torch.float32).stats.cache_hits.values())


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def of_another_version(path):
    path.write_bytes(pickle.dumps("0.1.0") + b"of another form")


DAMAGES = {
    "garbage": lambda path: path.write_bytes(b"\x93garbage\x00" * 50),
    "empty": lambda path: path.write_bytes(b""),
    "cut short": cut_short,
    "of another version": of_another_version,
    "another pickle": lambda path: path.write_bytes(pickle.dumps(numba.__version__) * 2),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", ["nbi", "nbc"], ids=["index", "code"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_made_anew(folder, kind, damage):
    assert hits_on_disk() == 1
    (path,) = folder.rglob(f"*.{kind}")
    damage(path)
    assert hits_on_disk() == 0
    assert hits_on_disk() == 1


@pytest.mark.parametrize("kind", ["nbi", "nbc"], ids=["index", "code"])
def test_a_folder_in_the_place_of_a_file_is_no_harm(folder, kind):
    (path,) = folder.rglob(f"*.{kind}")
    replace_by_folder(path)
    assert hits_on_disk() == 0
    assert path.is_dir()


def test_each_pair_of_dtypes_has_files_of_its_own(folder):
    """In one index, two processes that compile at the same time could each write the other's."""
    batch = draw_without_cancellation(5, 3, torch.float64, "quadratic")
    assert agrees(fused.cost_and_gradients(*batch.tensors), batch)
    assert len(list(folder.rglob("*.nbi"))) == 2


def test_kernels_compile_where_nothing_can_be_kept():
    def compiler(signature, cache=False):
        def compiled(function):
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return signature

        return compiled

    assert kept_on_disk(compiler, "compiled", lambda: None) == "compiled"


CODE = """
import torch
from bp_torch import fused
print(fused.cost_and_gradients(torch.ones(4, 3), torch.ones(4), torch.zeros(3), torch.zeros(()))[0])
"""


def run(**environment):
    return subprocess.run(
        [sys.executable, "-c", CODE], env=os.environ | environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("place", ["new/er", "file", "file/below"])
def test_a_folder_that_cannot_be_had_is_no_harm(place, tmp_path):
    (tmp_path / "file").touch()
    result = run(NUMBA_CACHE_DIR=str(tmp_path / place))
    assert (result.stdout, result.stderr) == ("tensor(0.1250)\n", "")


def test_without_the_compiler_it_says_what_to_do():
    result = run(NUMBA_DISABLE_JIT="1")
    assert result.stderr.splitlines()[-1] == (
        "RuntimeError: fused steps are compiled by Numba, and NUMBA_DISABLE_JIT is set; unset it"
    )


def test_every_public_function_says_so(monkeypatch):
    x, y, weight, bias = draw(5, 3, torch.float32).tensors
    backends._module.cache_clear()
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    for call in (
        lambda: fused.cost_and_gradients(x, y, weight, bias),
        lambda: fused.fused_cost(x, y, weight, bias),
        lambda: fused.sgd_epoch(x, y, weight, bias, 0.1, 2),
    ):
        with pytest.raises(RuntimeError, match="NUMBA_DISABLE_JIT is set; unset it"):
            call()
    monkeypatch.undo()
    assert fused.cost_and_gradients(x, y, weight, bias)[0].isfinite()
