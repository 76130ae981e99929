"""Terminals that lack Greek letters, and readers that leave early."""

import io
import os
import subprocess
import sys

import pytest

from bp_torch.cli.output import any_terminal, one_line
from bp_torch.cli.status import BAD_INPUT, WRONG

QUICK = "--no-compile --dtype float32"
WRONGLY = f"compare mine:Negated --reference torch:sigmoid {QUICK}"
COMMANDS = {
    "--help": (0, "Usage: bp-torch"),
    "--version": (0, "bp-torch"),
    "train --help": (0, "nu in w <- w - nu dC/dw"),
    "train --dataset list": (0, "569 x 30"),
    "train --epochs 1 --derivative accurate": (0, "breast-cancer: one neuron"),
    "train --epochs 1 --name σ′": (0, "runs/sigma'/model.safetensors"),
    "train --learning-rate 0": (BAD_INPUT, "finite in float32 (<= 3.403e+38), got 0.0"),
    "compare --help": (0, "Usage: bp-torch compare"),
    "compare --no-compile": (0, "sigmoid, textbook"),
    f"compare torch:sigmoid --reference torch:sigmoid {QUICK}": (0, "right: nothing of what"),
    WRONGLY: (WRONG, "wrong: the gradient of z has the wrong sign"),
}

EVERY_COMMAND = """
import sys
from bp_torch.cli import main

for command in sys.argv[1:]:
    sys.argv = ["bp-torch", *command.split()]
    print("$", command.encode("unicode_escape").decode(), flush=True)
    try:
        main()
    except SystemExit as exit:
        print("status", exit.code)
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_command_is_read_where_letters_are_missing(start, mine, encoding):
    """What is missing stands in ASCII, and no command ends otherwise than it would."""
    process = start(
        *COMMANDS,
        code=EVERY_COMMAND,
        env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "COLUMNS": "80"},
        encoding=encoding,
        stderr=subprocess.STDOUT,
    )
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert "?" not in out
    sections = out.split("$ ")[1:]
    for section, (command, (status, text)) in zip(sections, COMMANDS.items(), strict=True):
        # latin-1 has the product's cross.
        expected = text if encoding != "latin-1" else text.replace(" x ", " × ")
        assert expected in section, command
        assert section.endswith(f"status {status}\n"), command
        assert max(map(len, section.splitlines()[1:])) <= 100, command


def printed(text, encoding):
    """What a stream of that encoding is given where the text is printed."""
    bytes_ = io.BytesIO()
    stream, before = io.TextIOWrapper(bytes_, encoding=encoding), sys.stdout
    sys.stdout = stream
    try:
        with any_terminal():
            print(text, end="")
        assert sys.stdout is stream
        assert stream.errors == "strict"
        assert not stream.closed
    finally:
        sys.stdout = before
    return bytes_.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("text", "ascii", "latin_1"),
    [
        ("ŷ = σ(z), σ′ = ŷ(1 − ŷ)", "y_hat = sigma(z), sigma' = y_hat(1 - y_hat)", None),
        ("∂C/∂ŷ · ∂²", "dC/dy_hat * d^2", "dC/dy_hat · d²"),
        ("Σᵢ δᵢ xᵢ, Wᵀδ", "sum_i delta_i x_i, W^Tdelta", None),
        ("‖∂C/∂θ‖ ≤ ½ × 10⁻³", "||dC/dtheta|| <= 1/2 x 10^-3", "||dC/dtheta|| <= ½ × 10^-³"),
        ("Δ … – “schön”", 'Delta ... - "schon"', 'Delta ... - "schön"'),
        ("⅓ 世 \udcff", "1/3 ? ?", None),
    ],
)
def test_what_is_missing_is_written_in_ascii(text, ascii, latin_1):
    assert printed(text, "ascii") == ascii
    assert printed(text, "latin-1") == (latin_1 or ascii)


def test_nothing_is_replaced_where_nothing_is_missing():
    assert printed("ŷ = σ(z) 世", "utf-8") == "ŷ = σ(z) 世"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("one\n  two\ttabs", "one two tabs"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("ŷ ≤ 1", "ŷ ≤ 1"),
        ("\udcff\x9b", r"\udcff\x9b"),
    ],
)
def test_one_line_shows_what_a_terminal_would_obey(text, line):
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("--help", 0),
        ("train --epochs 1", 0),
        (WRONGLY, WRONG),
        ("train --seed -1", BAD_INPUT),
    ],
)
def test_the_status_is_what_was_found_and_not_who_read_it(start, mine, command, status):
    """As with `… 2>&1 | true`, in which nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*command.split(), stdout=writing, stderr=writing)
    os.close(writing)
    assert process.wait(timeout=60) == status


def test_what_head_does_not_read_is_not_missed(start, mine):
    process = start(*WRONGLY.split(), env={"PYTHONUNBUFFERED": "1"})
    assert process.stdout.readline().startswith("wrong: ")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == WRONG


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_one_line(start):
    with open("/dev/full", "w") as full:
        process = start("train", "--dataset", "list", stdout=full)
    _, err = process.communicate(timeout=60)
    assert process.returncode == BAD_INPUT
    assert err == "bp-torch: [Errno 28] No space left on device\n"


def test_a_stream_that_is_closed_is_not_missed(start):
    code = "import os, sys; os.close(1); os.close(2); os.execv(sys.executable, sys.argv[1:])"
    process = start(
        *(sys.executable, "-m", "bp_torch", "compare", "torch:sigmoid", *QUICK.split()), code=code
    )
    assert process.wait(timeout=60) == 0
