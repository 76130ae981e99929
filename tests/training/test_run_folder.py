import threading

import pytest

from bp_torch.training import run_folder as run_folder_module
from bp_torch.training.run_folder import run_folder


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def claim(runs, name="mine"):
    return run_folder(runs, name, otherwise="data")


def fail(runs, *written, name="mine"):
    """A run that writes these files and no model."""
    with claim(runs, name) as directory:
        for file in written:
            (directory / file).write_text("of a failed run")


EVENTS = "events.out.tfevents.1.bp_torch"


def test_the_folder_is_there_for_the_run_and_holds_what_the_run_leaves(tmp_path):
    with claim(tmp_path / "runs") as directory:
        assert directory == tmp_path / "runs/mine"
        (directory / "model.safetensors").touch()
    assert names(directory) == ["model.safetensors"]


def test_a_name_with_a_model_is_taken(tmp_path):
    with claim(tmp_path) as directory:
        (directory / "model.safetensors").touch()
    with pytest.raises(FileExistsError, match=r"'mine' exists .*\(model.safetensors is in it\)"):
        claim(tmp_path).__enter__()
    assert names(directory) == ["model.safetensors"]


def test_a_failed_run_leaves_its_chart_until_another_of_its_name_begins(tmp_path):
    fail(tmp_path, EVENTS, "model.safetensors.unfinished")
    assert EVENTS in names(tmp_path / "mine")
    with claim(tmp_path) as directory:
        assert not (directory / EVENTS).exists()
        assert not (directory / "model.safetensors.unfinished").exists()


def test_a_failed_run_with_nothing_to_look_at_leaves_no_folder(tmp_path):
    fail(tmp_path)
    fail(tmp_path, name=None)
    assert names(tmp_path) == []


@pytest.mark.parametrize("file", ["notes.txt", "events.out.tfevents.1.another_program"])
def test_a_folder_of_the_users_is_left_as_it_is(tmp_path, file):
    fail(tmp_path, EVENTS)
    (tmp_path / "mine" / file).touch()
    with pytest.raises(FileExistsError, match=f"{file} is in it"):
        claim(tmp_path).__enter__()
    assert names(tmp_path / "mine") == sorted([EVENTS, file])


def test_what_ends_a_run_goes_on_its_way(tmp_path):
    with pytest.raises(KeyboardInterrupt), claim(tmp_path):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "mine").mkdir()
    with claim(tmp_path) as directory:
        assert directory == tmp_path / "mine"


def test_a_file_of_that_name_is_no_folder(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(FileExistsError, match="mine is a file"):
        claim(tmp_path).__enter__()
    with pytest.raises(NotADirectoryError, match="runs must be a folder, got the file"):
        claim(tmp_path / "mine").__enter__()


def test_a_name_is_taken_while_its_run_goes_on(tmp_path):
    with claim(tmp_path) as directory:
        (directory / EVENTS).touch()
        with pytest.raises(FileExistsError, match=r"'mine' is going on .* or wait for it"):
            claim(tmp_path).__enter__()
        assert EVENTS in names(directory)
    with claim(tmp_path):
        pass


def test_a_run_that_ends_between_a_look_and_the_lock_is_not_overwritten(tmp_path, monkeypatch):
    def late(directory):
        (directory / "model.safetensors").touch()
        (directory / EVENTS).touch()
        return lock(directory)

    lock = run_folder_module._lock
    monkeypatch.setattr(run_folder_module, "_lock", late)
    with pytest.raises(FileExistsError, match=r"model.safetensors is in it"):
        claim(tmp_path).__enter__()
    assert names(tmp_path / "mine") == [EVENTS, "model.safetensors"]


def test_a_number_is_given_once_and_skips_what_is_there(tmp_path):
    (tmp_path / "data-2").mkdir()
    with claim(tmp_path, None) as one, claim(tmp_path, None) as other:
        assert [one.name, other.name] == ["data-1", "data-3"]
    fail(tmp_path, EVENTS, name=None)
    with claim(tmp_path, None) as directory:
        assert directory.name == "data-3"


@pytest.mark.parametrize("name", ["mine", None])
def test_of_many_at_once_each_name_goes_to_one(tmp_path, name):
    """Each thread holds a file of its own, which is as good as a process to the system's locks."""

    def run():
        together.wait()
        try:
            with claim(tmp_path / "runs", name) as directory:
                won.append(directory.name)
                ended.wait()
        except FileExistsError:
            lost.append(name)

    won, lost = [], []
    together, ended = threading.Barrier(8), threading.Event()
    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(won) + len(lost) < 8:
        ended.wait(0.01)
    ended.set()
    for thread in threads:
        thread.join()
    expected = ["mine"] if name else [f"data-{number}" for number in range(1, 9)]
    assert sorted(won) == expected
