"""What is printed and kept of a measurement."""

import json

import pytest
from benchmarks.machine import Machine
from benchmarks.report import Report, Spread, figure

MACHINE = Machine("a processor", 2, "Linux", {"torch": "2.13.0"}, "2026-01-31")


@pytest.fixture
def report():
    made = Report(MACHINE)
    made.begin("step", "python scripts/benchmarks step")
    return made


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.2, "1.20"),
        (12.25, "12.2"),
        (1234.4, "1,234"),
        (0.00243, "0.00243"),
        (-3, "-3.00"),
    ],
)
def test_a_figure_has_three_digits(value, text):
    assert figure(value) == text


def test_a_row_shows_the_median_and_both_ends(report, capsys):
    report.row("ours", [0.003, 0.001, 0.002], "ms", {"passes": [3.0, 1.0, 1.5]}, "a note")
    printed = capsys.readouterr().out.split()
    assert " ".join(printed) == "ours 2.00 ms (1.00 to 3.00) 1.50 (1.00 to 3.00) passes a note"


def test_everything_is_kept_as_json(report, tmp_path):
    report.row("ours", [0.003, 0.001, 0.002], "ms", {"passes": [3.0, 1.0, 1.5]})
    report.save(tmp_path / "it.json", None)
    kept = json.loads((tmp_path / "it.json").read_text())
    assert kept["processor"] == "a processor"
    (record,) = kept["records"]
    assert record["benchmark"] == "step"
    assert (record["median"], record["unit"]) == (2.0, "ms")
    assert record["ratios"]["passes"] == {"median": 1.5, "smallest": 1.0, "largest": 3.0}


def test_a_table_says_which_command_and_machine_it_is_from(report, tmp_path):
    report.table(("", "", "D"), [("ours", "", "1.20")])
    report.save(None, tmp_path / "it.md")
    assert (tmp_path / "it.md").read_text() == (
        "`python scripts/benchmarks step`: a processor, 2 threads, Linux; torch 2.13.0; "
        "2026-01-31.\n\n| | | D |\n|---|---|---|\n| ours | | 1.20 |\n"
    )


def test_a_table_of_rows_has_those_of_its_own_benchmark(report, tmp_path):
    report.row("of step", [1.0], "s")
    report.begin("train", "python scripts/benchmarks train")
    report.row("of train", [2.0], "s")
    report.table_of_rows()
    assert report.pages[0].splitlines()[-1] == "| of train | 2.00 s | 2.00 s | 2.00 s |"


def test_the_median_is_not_the_mean():
    assert Spread.of([1.0, 1.0, 10.0]).median == 1.0
