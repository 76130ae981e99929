import pandas as pd
import pytest
import torch

import bp_torch as bp
from bp_torch.explanation.why import TOPICS
from bp_torch.training import reading
from bp_torch.training.config import Config


def test_explain_alone_explains_a_small_neuron(run):
    status, out, err = run("explain")
    assert (status, err) == (0, "")
    assert out.startswith("One step of a neuron\n\n1. What goes forward\n")
    assert "ŷ = σ(z) = 1/(1 + e^(−1)) = 0.731059" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_explain_takes_the_users_numbers(run):
    status, out, _ = run(
        *("explain", "--weights", "0.5,−1", "--bias", "0.25", "--x", "1,-2", "--target", "1"),
        *("--learning-rate", "0.5", "--cost", "cross-entropy"),
    )
    assert status == 0
    assert "= 0.5·1 + (−1)·(−2) + 0.25 = 2.75" in out
    assert "C = −[y·ln ŷ + (1 − y)·ln(1 − ŷ)]" in out
    assert "ν = 0.5" in out


@pytest.mark.parametrize(
    "typed", ["0.05,0.10", "0.05 0.10", "[0.05, 0.10]", "(.05,.1)", "5e-2,1e-1"]
)
def test_numbers_may_be_written_as_people_write_them(run, typed):
    status, out, _ = run("explain", "--x", typed, "--weights", "1,2", "--bias", "0")
    assert status == 0
    assert "= 1·0.05 + 2·0.1 + 0 = 0.25" in out


def test_explain_takes_a_network_and_several_samples(run):
    status, out, _ = run(
        *("explain", "--layers", "2,1", "--x", "1,2;3,4;5,6", "--target", "0;1;1", "--seed", "3")
    )
    assert status == 0
    assert "Backward, to layer 1" in out
    assert "summed over the 3" in out
    given = run(
        *("explain", "--layers", "2,1", "--x", "1,2", "--target", "0", "--bias", "0,0,0.5"),
        *("--weights", "1,2,3,4,5,6"),
    )[1]
    assert "= 5·0.993307 + 6·0.999983 + 0.5 =" in given


def test_explain_takes_a_trained_model_and_a_row_of_its_data(run):
    run("train", "--epochs", "3", "--log-every", "0")
    model = "runs/breast-cancer-1/model.safetensors"
    status, out, _ = run("explain", "--model", model, "--row", "3")
    assert status == 0
    table = reading.read(Config())
    first, third = ((x - table.mean[0]) / table.deviation[0] for x in (17.99, 19.69))
    assert f"·{third:.6f}" in out
    assert f"·{first:.6f}" not in out
    for arguments, said in (
        (["--row", "0"], "--row must be from 1 to 569, the rows of breast-cancer; got 0"),
        ([], "--model needs a sample"),
        (["--x", "1,2"], "--model needs a sample"),
        (["--row", "1", "--x", "1"], "--row brings its own numbers"),
        (["--row", "1", "--weights", "1"], "--model brings its own weights"),
    ):
        status, out, err = run("explain", "--model", model, *arguments)
        assert (status, out) == (2, "")
        assert said in err


@pytest.mark.parametrize(
    ("target", "options", "wanted"),
    [
        ("word", [], [0, 1, 0]),  # no, yes
        ("word", ["--positive", "no"], [1, 0, 1]),
        ("truth", [], [0, 1, 0]),
        ("number", ["--above", "1.5"], [0, 1, 1]),
        ("share", [], [0.25, 0.5, 1]),
    ],
)
def test_a_row_of_a_users_own_table_has_its_target(run, target, options, wanted):
    columns = {
        "word": ["no", "yes", "no"],
        "truth": [False, True, False],
        "number": [1.0, 2.0, 3.0],
        "share": [0.25, 0.5, 1.0],
    }
    data = pd.DataFrame({name: values * 20 for name, values in columns.items()})
    data.assign(x=range(60), colour=["red", "blue"] * 30).to_csv("own.csv", index=False)
    arguments = ("--features", "x,colour", "--epochs", "1", "--log-every", "0")
    assert run("train", "own.csv", "--target", target, *arguments, *options)[0] == 0
    for row, value in enumerate(wanted, start=1):
        _, out, _ = run("explain", "--model", "runs/own-1/model.safetensors", "--row", str(row))
        assert f"The target is {value:g};" in out


def test_a_row_of_which_not_all_is_known_is_said(run):
    data = pd.DataFrame({"x": [None, *range(59)], "y": ["a", None, "b"] * 20})
    data.to_csv("own.csv", index=False)
    arguments = ("--target", "y", "--missing", "drop", "--epochs", "1", "--log-every", "0")
    assert run("train", "own.csv", *arguments)[0] == 0
    for row, lacking in ((1, "x"), (2, "y")):
        model = ("--model", "runs/own-1/model.safetensors")
        status, out, err = run("explain", *model, "--row", str(row))
        assert (status, out) == (2, "")
        assert f"row {row} of own.csv has no {lacking}" in err


@pytest.mark.parametrize("name", ["mazur", "nielsen", "cs231n", "seed"])
def test_explain_has_what_others_published(run, name):
    status, out, _ = run("explain", "--example", name)
    assert status == 0
    assert all(len(line) <= 80 for line in out.splitlines())
    assert len(out.splitlines()) > 60


@pytest.mark.parametrize("topic", TOPICS)
def test_every_question_is_answered(run, topic):
    status, out, _ = run("explain", "--why", topic)
    assert status == 0
    assert out.startswith(TOPICS[topic].text)


@pytest.mark.parametrize("arguments", [["--why"], ["--example", "mazur", "--why"]], ids=" ".join)
def test_why_alone_lists_the_questions(run, arguments):
    status, out, _ = run("explain", *arguments)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [*TOPICS]
    assert all(len(line) <= 80 for line in out.splitlines())


def test_explain_writes_a_page_and_a_figure(run, tmp_path):
    status, out, _ = run("explain", "--html", "mine.html", "--figure", "mine.svg")
    assert status == 0
    assert "page    mine.html\n" in out
    assert (tmp_path / "mine.html").read_text().startswith("<!DOCTYPE html>")
    assert "http" not in (tmp_path / "mine.html").read_text()  # nothing is fetched
    assert "<svg" in (tmp_path / "mine.svg").read_text()
    run("explain", "--figure", "again.svg")
    assert (tmp_path / "mine.svg").read_text() == (tmp_path / "again.svg").read_text()


@pytest.mark.parametrize("picture", ["circuit", "sigma-prime", "cost"])
@pytest.mark.parametrize("example", ["mazur", "nielsen", "seed"])
def test_each_picture_can_be_drawn(run, tmp_path, picture, example):
    arguments = ("--example", example, "--figure", "mine.svg", "--picture", picture)
    status, _, err = run("explain", *arguments)
    assert (status, err) == (0, "")
    assert {"circuit": "backward", "sigma-prime": "saturated", "cost": "descent"}[picture] in (
        (tmp_path / "mine.svg").read_text()
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--x", "1,two"], "--x must be numbers with commas between them"),
        (["--x", "1,2;3"], "rows of the same length"),
        (["--x", ""], "--x must be numbers"),
        (["--weights", "1,2"], "--x must say what goes in"),
        (["--x", "1,2", "--weights", "1"], "--weights must be 2 numbers for these inputs"),
        (["--x", "1,2", "--bias", "1,2"], "--bias must be 1 number for these inputs"),
        (["--x", "1,2", "--target", "0,1"], "--target must have 1 number for each"),
        (["--x", "1,2", "--target", "3"], "must lie in [0, 1]"),
        (["--x", "nan,2"], "must be finite"),
        (["--x", "1", "--layers", "2,x"], "--layers must be whole numbers"),
        (["--x", "1", "--layers", "0"], "at least 1"),
        (["--learning-rate", "-1"], "must be a positive number"),
        (["--learning-rate", "fast"], "expected a number"),
        (["--cost", "mse"], "must be one of quadratic, cross-entropy"),
        (["--example", "mazzur"], "must be one of mazur, nielsen, cs231n, seed"),
        (["--example", "mazur", "--x", "1"], "--example brings its own numbers, and --x was"),
        (["--why", "not"], "must be one of sigma-prime"),
        (["--row", "3"], "--row is for --model"),
        (["--model", "nothing.safetensors", "--row", "1"], "no model at nothing.safetensors"),
        (["--html", "nowhere/mine.html"], "--html must name a file in a folder that exists"),
        (["--figure", "mine.gif"], "must end with .svg or .png"),
        (["--picture", "pie"], "--picture must be one of circuit, sigma-prime, cost"),
        (["--seed", "-1"], "seed must be a whole number"),
        (["--layers", "9,9", "--x", "1,2", "--figure", "a.svg"], "explain a smaller network"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_status_2(run, arguments, said):
    status, _, err = run("explain", *arguments)
    assert status == 2
    assert said in err
    assert err.startswith("bp-torch: ")
    assert len(err.splitlines()) == 1


def test_without_greek_it_can_still_be_read(start):
    process = start("explain", "--example", "mazur", env={"PYTHONIOENCODING": "ascii"})
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "delta(o_1) = dC/do_1 * sigma'(z(o_1))" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert out.isascii()


def test_the_same_from_python():
    neuron = bp.Neuron(2)
    story = bp.explain(neuron, torch.ones(2), torch.tensor(1.0))
    assert isinstance(story, bp.Explanation)
    assert str(story).startswith("1. What goes forward")
    assert story.why("bias").startswith("Is the bias updated as well?")
