"""The command: what it runs, what it refuses, and that it never judges."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import command
from benchmarks.benchmark import Benchmark
from benchmarks.command import BENCHMARKS, main

ROOT = Path(__file__).parents[2]


def script(*words):
    return subprocess.run(
        [sys.executable, ROOT / "scripts/benchmarks", *words],
        cwd="/",  # from anywhere
        capture_output=True,
        text=True,
    )


def test_help_says_what_each_does_and_how_long_it_takes():
    run = script("--help")
    assert run.returncode == 0
    for name, benchmark in BENCHMARKS.items():
        assert f"{name} " in run.stdout
        assert f"{benchmark.about} ({benchmark.takes})" in run.stdout


def test_as_a_script_an_unknown_name_is_one_line_and_status_2():
    run = script("stepp")
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert "stepp" in run.stderr
    assert all(name in run.stderr for name in BENCHMARKS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("step nonsense", "got nonsense"),
        ("small --rounds 0", "--rounds must be at least 1, got 0"),
        ("small --rounds many", "invalid int value: 'many'"),
        ("small --device tpu", "invalid choice: 'tpu'"),
        ("small --nonsense", "unrecognized arguments: --nonsense"),
        ("small --figure it.png", "exactly one of scale, accuracy, cluster; got small"),
        ("scale accuracy --figure it.png", "got scale, accuracy"),
        ("scale --figure it.txt", "--figure ends in .png, .svg, .pdf; got it.txt"),
        ("small --json no/such/folder/it.json", "got no/such/folder/it.json"),
        ("small --markdown .", "expected a file in a folder that is there, got ."),
    ],
)
def test_what_makes_no_sense_is_one_line_before_anything_runs(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert said in printed.err


def test_a_figure_without_matplotlib_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        main(["scale", "--figure", "it.png"])
    assert end.value.code == 2
    assert "pip install matplotlib" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(command.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as end:
        main(["step", "--device", "cuda"])
    assert end.value.code == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_what_has_no_part_for_a_gpu_is_refused_there(capsys, monkeypatch):
    monkeypatch.setattr(command.torch.cuda, "is_available", lambda: True)
    with pytest.raises(SystemExit) as end:
        main(["step", "sigmoid", "train", "--device", "cuda"])
    assert end.value.code == 2
    assert "sigmoid, train" in capsys.readouterr().err


@pytest.fixture
def planted(monkeypatch):
    """Two benchmarks, of which one breaks off."""

    def slow(report, options):
        report.row("ours", [9.0, 9.0], "s", {"times a peer's": [100.0, 100.0]})
        report.table(("", "times"), [("ours", "100")])

    def broken(report, options):
        raise RuntimeError("broken off")

    known = {"slow": Benchmark("is slow", "a second", slow), "broken": Benchmark("", "", broken)}
    monkeypatch.setattr(command, "BENCHMARKS", known)


@pytest.mark.usefixtures("planted")
def test_it_measures_and_does_not_judge(capsys):
    main(["slow"])  # returns: status 0
    printed = capsys.readouterr().out
    assert "100 (100 to 100) times a peer's" in printed
    assert "FAILS" not in printed
    assert "holds" not in printed


@pytest.mark.usefixtures("planted")
def test_what_was_measured_is_kept_where_the_next_one_breaks_off(tmp_path):
    files = [f"--json={tmp_path / 'it.json'}", f"--markdown={tmp_path / 'it.md'}"]
    with pytest.raises(RuntimeError, match="broken off"):
        main(["slow", "broken", *files])
    (record,) = json.loads((tmp_path / "it.json").read_text())["records"]
    assert (record["benchmark"], record["name"]) == ("slow", "ours")
    assert "| ours | 100 |" in (tmp_path / "it.md").read_text()


@pytest.mark.usefixtures("planted")
def test_a_quick_table_says_that_it_is_quick(tmp_path):
    main(["slow", "--quick", f"--markdown={tmp_path / 'it.md'}"])
    assert (tmp_path / "it.md").read_text().startswith("`python scripts/benchmarks slow --quick`")
