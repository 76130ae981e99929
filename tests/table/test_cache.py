"""A table that was read once need not be read again, and one that is damaged is."""

import os

import numpy as np
import pytest
from tables import bits, frame

from bp_torch.table import cache, storage
from bp_torch.table.choice import Choice
from bp_torch.table.opening import open_source

CHOICE = Choice(target="y")


@pytest.fixture(autouse=True)
def everything_counts_as_large(monkeypatch):
    monkeypatch.setattr("bp_torch.table.decode.IN_MEMORY", 0)


@pytest.fixture
def path(tmp_path):
    frame().to_csv(path := tmp_path / "t.csv", index=False)
    return path


def kept(path, folder, choice=CHOICE, **options):
    return cache.table_of(open_source(path), choice, cache=folder, **options)


@pytest.fixture
def unreadable(monkeypatch):
    def refuse():
        def read(*arguments, **options):
            raise AssertionError("read again")

        monkeypatch.setattr(cache, "read_table", read)

    return refuse


def test_the_second_time_nothing_is_read(path, tmp_path, unreadable):
    first = kept(path, tmp_path / "cache")
    unreadable()
    again = kept(path, tmp_path / "cache")
    assert isinstance(again.train.x, np.memmap)
    assert bits(again) == bits(first)
    for name in ("name", "columns", "target", "content", "notes"):
        assert getattr(again, name) == getattr(first, name)
    np.testing.assert_array_equal(again.mean, first.mean)
    np.testing.assert_array_equal(again.deviation, first.deviation)


@pytest.mark.parametrize("what", ["time", "content", "choice", "dtype", "damage", "lost"])
def test_what_has_changed_is_read_again(what, path, tmp_path):
    first = bits(kept(path, tmp_path / "cache"))
    (directory,) = (tmp_path / "cache").iterdir()
    choice, dtype, changed = CHOICE, "float32", directory / "train_x.npy"
    if what == "time":
        os.utime(path, (1, 1))
    elif what == "content":
        frame(seed=1).to_csv(path, index=False)
    elif what == "choice":
        choice = Choice(target="y", drop=("a",))
    elif what == "dtype":
        dtype = "float64"
    elif what == "damage":
        with open(changed, "r+b") as file:
            file.seek(1000)
            file.write(b"\1")
    else:
        changed.unlink()
    again = kept(path, tmp_path / "cache", choice, dtype=dtype)
    assert (bits(again) == first) is (what in ("time", "damage", "lost"))
    assert bits(kept(path, tmp_path / "cache", choice, dtype=dtype)) == bits(again)


def test_nothing_is_left_of_what_was_not_finished(path, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", "matrix")

    monkeypatch.setattr(storage.Matrix, "add", full)
    with pytest.raises(OSError, match="No space left on device"):
        kept(path, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_off_leaves_nothing(path, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    table = kept(path, "off")
    assert not (tmp_path / "home").exists()
    assert np.isfinite(table.train.x).all()  # still there
    kept(path, None)
    assert (tmp_path / "home" / "bp_torch").exists()


def test_it_can_be_looked_at_and_cleared(path, tmp_path):
    folder = tmp_path / "cache"
    kept(path, folder)
    (folder / "unfinished-x").mkdir()
    (folder / "mine.txt").write_text("mine")
    (entry,) = cache.entries(folder)
    assert (entry.samples, entry.features) == (1000, 7)
    assert entry.size > 1000 * 7 * 4
    assert cache.clear(folder) == 1
    assert os.listdir(folder) == ["mine.txt"]


def test_small_tables_stay_in_memory(path, tmp_path, monkeypatch):
    monkeypatch.undo()
    kept(path, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
