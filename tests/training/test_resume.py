"""Going on with a run: to the bit, with whatever it was begun, and not with anything else."""

import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from crashes import same_run

import bp_torch as bp
from bp_torch.training import loop
from bp_torch.training.checkpoints import Checkpoints, Interval, found
from bp_torch.training.config import Config
from bp_torch.training.signals import Signals

QUICK = {"epochs": 8, "batch_size": 40, "log_every": 5}


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    monkeypatch.setattr("bp_torch.training.monitor.Monitor.end", lambda *_: None)


def cut(tmp_path, step=41, **options):
    """A run that was interrupted there."""
    signals = Signals()

    def press(progress):
        if progress.step >= step:
            signals.came = 2

    config = Config(**{"runs": tmp_path, "name": "cut", **QUICK, **options})
    result = loop.run(config, watch=press, signals=signals)
    assert result.unfinished
    return result


def people(rows=300):
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(rows, 3))
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": (x.sum(1) > 0).astype(int)})


OPTIONS = {
    "default": {},
    "every step looked at": {"log_every": 1, "check_every": 3},
    "none looked at": {"log_every": 0, "check_every": 0},
    "bfloat16": {"dtype": "bfloat16", "momentum": 0.9},
    "float16": {"dtype": "float16"},
    "float64": {"dtype": "float64", "cost": "cross-entropy", "l1": 1e-3},
    "a network": {"layers": (5, 4), "momentum": 0.5, "gradient": "chain"},
    "digits": {"dataset": "digits", "layers": (7,), "epochs": 2},
    "a mistake": {"mistake": "without-sigma-prime"},
    "balanced": {"class_weight": "balanced", "schedule": "linear"},
    "in blocks": {"batch_size": 16},
    "early stopping": {"early_stopping": 1, "learning_rate": 30.0, "epochs": 40},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_run_goes_on_to_the_bit(tmp_path, monkeypatch, options):
    monkeypatch.setattr("bp_torch.training.order.NUMBERS_PER_BLOCK", 120 * 30)
    options = QUICK | options
    whole = bp.train(runs=tmp_path, name="whole", **options)
    stopped = cut(tmp_path, step=whole.steps // 2 + 1, **options)
    again = bp.train(runs=tmp_path, resume="cut")
    assert again.steps == whole.steps
    assert stopped.steps < whole.steps
    same_run(again.directory, whole)
    assert again.comparison == whole.comparison
    assert again.stopped == whole.stopped


def test_more_epochs_are_as_if_they_had_been_asked_for_from_the_start(tmp_path):
    whole = bp.train(runs=tmp_path, name="whole", **QUICK | {"epochs": 12})
    bp.train(runs=tmp_path, name="mine", **QUICK)
    same_weights = bp.train(runs=tmp_path, resume="mine", epochs=12)
    same_steps = [path.name for path in found(whole.directory)][-1:]
    assert [path.name for path in found(same_weights.directory)][-1:] == same_steps
    assert torch.equal(same_weights.model.module.weight, whole.model.module.weight)
    bp.train(runs=tmp_path, name="cosine", schedule="cosine", **QUICK)
    with pytest.raises(ValueError, match="begun with epochs 8, and is to go on with 12"):
        bp.train(runs=tmp_path, resume="cosine", epochs=12)


def test_a_run_that_has_ended_ends_again(tmp_path):
    whole = bp.train(runs=tmp_path, name="mine", **QUICK)
    before = whole.path.read_bytes()
    assert bp.train(runs=tmp_path, resume="mine").steps == whole.steps
    assert whole.path.read_bytes() == before


def test_data_in_memory_are_given_again(tmp_path):
    frame = people()
    whole = bp.train(frame, target="y", runs=tmp_path, name="whole", **QUICK)
    cut(tmp_path, step=20, dataset=frame, target="y")
    with pytest.raises(ValueError, match="learnt from a DataFrame in memory; pass the data again"):
        bp.train(runs=tmp_path, resume="cut")
    again = bp.train(frame, target="y", runs=tmp_path, resume="cut")
    assert torch.equal(again.model.module.weight, whole.model.module.weight)


CHANGES = {
    "a value": lambda frame: frame.assign(a=frame.a.where(frame.index != 7, 3.0)),
    "the order": lambda frame: frame.iloc[::-1],
    "a row more": lambda frame: pd.concat([frame, frame.iloc[:1]]),
    "a row less": lambda frame: frame.iloc[:-5],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_other_data_are_refused(tmp_path, change):
    frame = people()
    cut(tmp_path, step=20, dataset=frame, target="y")
    with pytest.raises(ValueError, match=r"data have changed since the run 'cut' was begun: .*; "):
        bp.train(change(frame), target="y", runs=tmp_path, resume="cut")
    assert bp.train(frame, target="y", runs=tmp_path, resume="cut").steps == 48


def test_data_may_have_moved(tmp_path):
    people().to_csv(tmp_path / "here.csv", index=False)
    cut(tmp_path, step=20, dataset=str(tmp_path / "here.csv"), target="y")
    os.rename(tmp_path / "here.csv", tmp_path / "there.csv")
    with pytest.raises((ValueError, OSError), match=r"here\.csv"):
        bp.train(runs=tmp_path, resume="cut")
    again = bp.train(tmp_path / "there.csv", runs=tmp_path, resume="cut")
    assert again.steps == 48


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("learning_rate", 0.5, "learning-rate 1.0, and is to go on with 0.5"),
        ("batch_size", 41, "batch-size 40, and is to go on with 41"),
        ("seed", 1, "seed 0, and is to go on with 1"),
        ("layers", (3,), "layers none, and is to go on with 3"),
        ("target", "mean area", "target class, and is to go on with mean area"),
        ("log_every", 6, "log-every 5, and is to go on with 6"),
        ("epochs", 7, "epochs 8, and is to go on with 7"),
        ("momentum", 0.1, "momentum 0.0, and is to go on with 0.1"),
    ],
)
def test_a_changed_option_is_refused(tmp_path, option, value, said):
    cut(tmp_path)
    with pytest.raises(ValueError, match=f"the run 'cut' was begun with {said}; leave it out"):
        bp.train(runs=tmp_path, resume="cut", **{option: value})


def test_an_option_that_changes_nothing_may_change(tmp_path):
    cut(tmp_path)
    again = bp.train(runs=tmp_path, resume="cut", seed=0, checkpoint_every="5m", pt2=False)
    assert again.steps == 96


@pytest.mark.parametrize("name", [7, True, "", "a/b"])
def test_what_is_no_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="name must be a plain folder name"):
        bp.train(runs=tmp_path, resume=name)
    cut(tmp_path)
    with pytest.raises(ValueError, match="name is 'other', and the run that goes on 'cut'; leave"):
        bp.train(runs=tmp_path, resume="cut", name="other")


def test_there_must_be_something_to_go_on_with(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no run 'mine' in "):
        bp.train(runs=tmp_path, resume="mine")
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileNotFoundError, match="has no checkpoint to go on from"):
        bp.train(runs=tmp_path, resume="mine")


@pytest.mark.parametrize("damage", ["cut off", "empty", "a byte flipped", "another file", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    whole = bp.train(runs=tmp_path, name="whole", **QUICK)
    stopped = cut(tmp_path, checkpoint_every=6)
    older, newest = found(stopped.directory)
    content = newest.read_bytes()
    damaged = {
        "cut off": content[:-9],
        "empty": b"",
        "a byte flipped": content[:-9] + bytes([content[-9] ^ 4]) + content[-8:],
        "another file": stopped.path.read_bytes(),
    }
    if damage == "gone":
        newest.unlink()
    else:
        newest.write_bytes(damaged[damage])
    again = bp.train(runs=tmp_path, resume="cut")
    said = " ".join(again.notes)
    if damage != "gone":
        assert f"{newest.name} is damaged (" in said
        assert f"so the run goes on from the one before, {older.name}" in said
    same_run(again.directory, whole)


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_a_log_that_lacks_something_is_said_and_the_run_goes_on(tmp_path, damage):
    whole = bp.train(runs=tmp_path, name="whole", **QUICK)
    (log,) = cut(tmp_path).directory.glob("events*")
    if damage == "gone":
        log.unlink()
    else:
        os.truncate(log, 500)
    again = bp.train(runs=tmp_path, resume="cut")
    assert f"TensorBoard lacks steps before this one: {log.name} is not whole" in again.notes
    assert torch.equal(again.model.module.weight, whole.model.module.weight)


def test_every_byte_counts(tmp_path):
    stopped = cut(tmp_path, checkpoint_every=6, log_every=0)
    newest = found(stopped.directory)[-1]
    content = newest.read_bytes()
    whole, _ = Checkpoints(stopped.directory, Interval()).newest()
    rng = np.random.default_rng(0)
    for place in [0, 5, 8, 9, *rng.integers(10, len(content), 150).tolist()]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        newest.write_bytes(flipped)
        state, trouble = Checkpoints(stopped.directory, Interval()).newest()
        assert trouble or str(state) == str(whole), place
        assert all(len(line.splitlines()) == 1 for line in trouble)


def test_where_all_are_damaged_one_line_says_so(tmp_path):
    stopped = cut(tmp_path, checkpoint_every=6)
    for path in found(stopped.directory):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"cannot go on: .* is damaged .* is damaged") as error:
        bp.train(runs=tmp_path, resume="cut")
    assert len(str(error.value).splitlines()) == 1
    assert bp.load(stopped.path).module.weight.isfinite().all()  # what was learnt is there still


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own with 300 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_stops_the_run_which_goes_on_when_there_is_room(tmp_path, small_disk):
    options = QUICK | {"checkpoint_every": 5, "epochs": 40}
    whole = bp.train(runs=tmp_path, name="whole", **options)
    filled = []

    def fill(progress):
        if progress.step >= 200 and not filled:
            left = os.statvfs(small_disk)
            (small_disk / "film").write_bytes(bytes(left.f_bavail * left.f_frsize))
            filled.append(progress.step)

    stopped = loop.run(Config(runs=small_disk, name="mine", **options), watch=fill)
    assert "No space left on device" in " ".join(stopped.trouble)
    assert str(small_disk / "mine") in " ".join(stopped.trouble)
    assert stopped.checkpoint is not None
    assert stopped.checkpoint.is_file()
    assert not stopped.path.is_relative_to(small_disk)  # what was learnt is elsewhere
    assert stopped.steps >= 200
    (small_disk / "film").unlink()
    same_run(bp.train(runs=small_disk, resume="mine").directory, whole)
    stopped.path.unlink()


@pytest.mark.parametrize("written", [0, 1000, 3000])
def test_room_that_ends_within_a_checkpoint(tmp_path, monkeypatch, written):
    """The last one is whole, the one before as well, and nothing else is left of it."""

    def full(descriptor):
        if ".unfinished" in os.readlink(f"/proc/self/fd/{descriptor}") and armed:
            os.ftruncate(descriptor, written)
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    fsync, armed = os.fsync, []
    whole = bp.train(runs=tmp_path, name="whole", **QUICK)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        config = Config(runs=tmp_path, name="mine", **QUICK | {"checkpoint_every": 6})
        stopped = loop.run(config, watch=lambda p: armed.append(1) if p.step > 50 else None)
    assert "mine/checkpoint-" in " ".join(stopped.trouble)
    assert not list(stopped.directory.glob("*.unfinished"))
    assert len(found(stopped.directory)) == 2
    same_run(bp.train(runs=tmp_path, resume="mine").directory, whole)


def test_a_folder_that_becomes_read_only(tmp_path, monkeypatch):
    def refused(path, *arguments, **options):
        if str(path).endswith(".unfinished") and armed and "/mine/" in str(path):
            raise OSError(30, "Read-only file system", str(path))
        return opened(path, *arguments, **options)

    import builtins

    opened, armed = builtins.open, []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", refused)
        config = Config(runs=tmp_path, name="mine", **QUICK | {"checkpoint_every": 6})
        stopped = loop.run(config, watch=lambda p: armed.append(1) if p.step > 50 else None)
    assert "Read-only file system" in " ".join(stopped.trouble)
    assert bp.load(stopped.path).module.weight.isfinite().all()
    assert stopped.path.parent == tmp_path


def test_checkpoints_are_two_and_the_interval_is_kept(tmp_path):
    whole = bp.train(runs=tmp_path, name="often", **QUICK | {"checkpoint_every": 24})
    steps = [int(path.stem.split("-")[1]) for path in found(whole.directory)]
    assert steps == [whole.steps - 24, whole.steps] or steps == [whole.steps - 12, whole.steps]
    never = bp.train(runs=tmp_path, name="never", **QUICK | {"checkpoint_every": 0})
    assert found(never.directory) == []
    assert never.checkpoint is None
    once = bp.train(runs=tmp_path, name="once", **QUICK)
    assert len(found(once.directory)) == 1


@pytest.mark.parametrize(
    "given", ["", "s", "-1s", "0s", "infs", "nans", -1, "1.5", "1 d", True, 1.5]
)
def test_an_interval_that_is_none_is_refused(given):
    with pytest.raises(ValueError, match="checkpoint-every must be a number of steps, or a time"):
        Config(checkpoint_every=given)


def test_intervals():
    assert [Interval.of(g).seconds for g in ("30s", "5m", "0.5h")] == [30, 300, 1800]
    assert [Interval.of(g).steps for g in (7, "7", 0, "0")] == [7, 7, 0, 0]


def test_another_version_is_said(tmp_path, monkeypatch):
    cut(tmp_path)
    monkeypatch.setattr(bp, "__version__", "9.9")
    again = bp.train(runs=tmp_path, resume="cut")
    assert any("and is 9.9: the last places may not be" in note for note in again.notes)


def test_the_order_is_a_function_of_its_place():
    from bp_torch.training.order import Order

    order = Order(1000, 3, 32, 5, (32,))
    later = replace(order)
    assert order.blocks(3) == later.blocks(3)
    assert torch.equal(order.block(3, 0, range(1)).whole, later.block(3, 0, range(1)).whole)
    assert not torch.equal(order.block(4, 0, range(1)).whole, later.block(3, 0, range(1)).whole)
