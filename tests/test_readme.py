"""Every block of the README runs, and prints what the README says."""

import doctest
import os
import re
import subprocess
from pathlib import Path

import pytest
from tolerances import README_RELATIVE

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
INSTALLED = (ROOT / ".venv/installed").exists()


BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def blocks(language):
    return [text for kind, text in BLOCKS if kind == language]


def sessions():
    """The console blocks: of each its commands, with what they printed."""
    for block in blocks("console"):
        parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
        commands = [part.replace("\\\n", "").partition("\n")[::2] for part in parts]
        yield pytest.param(commands, id=" ".join(commands[0][0].split())[:60])


NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"


def same(expected, actual):
    """Equal but for numbers, which may differ a little from machine to machine, for seconds, which
    may differ at will, and for '...', which stands for anything."""
    pattern = ""
    for piece in re.split(rf"(\.\.\.|{NUMBER} s\b|{NUMBER})", expected):
        if piece == "...":
            pattern += ".*"
        elif re.fullmatch(rf"{NUMBER} s", piece):
            pattern += f"{NUMBER} s"
        elif re.fullmatch(NUMBER, piece):
            pattern += f"({NUMBER})"
        else:
            pattern += re.escape(piece)
    match = re.fullmatch(pattern, actual, re.DOTALL)
    numbers = re.findall(NUMBER, re.sub(rf"{NUMBER} s\b", "", expected))
    return match is not None and all(
        float(b) == pytest.approx(float(a), rel=README_RELATIVE)
        for a, b in zip(numbers, match.groups(), strict=True)
    )


def test_every_block_is_run_or_is_a_formula():
    assert {language for language, _ in BLOCKS} == {"", "pycon", "console"}
    assert [text.split(" = ")[0].strip() for text in blocks("")] == ["z", "ŷ", "δᴸ"]
    assert "∂C/∂w" in blocks("")[0]


def test_python_session_prints_what_it_says():
    session = "\n".join(blocks("pycon"))  # a later block goes on where an earlier one ended
    test = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)
    runner = doctest.DocTestRunner()
    runner.run(test)
    assert runner.failures == 0
    assert runner.tries >= 16


@pytest.mark.skipif(not INSTALLED, reason="the commands use .venv, which scripts/setup makes")
@pytest.mark.parametrize("commands", list(sessions()))
def test_commands_print_what_the_readme_says(commands, tmp_path):
    environment = {**os.environ, "PATH": "/usr/bin:/bin", "COLUMNS": "80"}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    for command, output in commands:
        words = command.replace("runs/", f"{tmp_path}/").split()
        if "-o" in words:
            words[words.index("-o") + 1] = f"{tmp_path}/{words[words.index('-o') + 1]}"
        if command == "./scripts/test":
            words.append("tests/test_planted.py")  # with all the tests it would run itself
        if "train" in command and "list" not in command:
            words += ["--runs", str(tmp_path)]
        run = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        actual = run.stdout.replace(f"--logdir {tmp_path}", "--logdir runs")
        for shown in ("runs/", ""):
            names = [path.name for path in tmp_path.iterdir() if path.name != "cache"]
            for name in names:
                prefix = shown if (tmp_path / name).is_dir() else ""
                actual = actual.replace(f"{tmp_path}/{name}", f"{prefix}{name}")
        assert same(output, actual), actual


@pytest.mark.parametrize(
    ("actual", "is_same"),
    [
        ("cost 0.0105 in 0.7 s", True),
        ("cost 0.0106 in 99 s", True),
        ("cost 0.0205 in 0.7 s", False),
        ("price 0.0105 in 0.7 s", False),
        ("cost 0.0105 in 0.7 s more", False),
    ],
)
def test_the_comparison_itself_can_fail(actual, is_same):
    assert same("cost 0.0105 in 0.9 s", actual) == is_same
    assert same("cost ... s", "cost 3 s")
    assert not same("cost ... passed", "cost 3 failed")


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        path, _, heading = target.partition("#")
        assert (ROOT / path).exists(), target
        if heading:
            page = (ROOT / path).read_text() if path else README
            titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in titles]
            assert heading in slugs, target
