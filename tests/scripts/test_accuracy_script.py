"""What the script finds is what the accurate form promises, and what the page says."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks import accuracy
from benchmarks.accuracy import DTYPES, Task, work
from benchmarks.command import main
from benchmarks.peers.sigmoids import OURS
from tolerances import ACCURATE_ULP

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "scripts/benchmarks/README.md").read_text(encoding="utf-8")
SIXTEEN_BITS = (torch.float16, torch.bfloat16)


@pytest.fixture
def threads():
    """`work` expects a process of its own, and takes one thread there."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", SIXTEEN_BITS, ids=["float16", "bfloat16"])
def test_the_page_has_what_the_script_prints(dtype):
    table = {(dtype, *key): seen for key, seen in work(Task(dtype, 0, 2**16), False).items()}
    lines = [" | ".join(row) for row in accuracy.rows(table)]
    assert len(lines) >= 3
    for line in lines:
        assert f"| {line} |" in PAGE


@pytest.mark.slow
def test_the_script_finds_no_more_than_is_promised(tmp_path):
    numbers, figure = tmp_path / "it.json", tmp_path / "it.png"
    main(["accuracy", "--quick", f"--json={numbers}", f"--figure={figure}"])
    records = [r for r in json.loads(numbers.read_text())["records"] if "sigmoid" in r]
    ours = {(r["dtype"], r["quantity"]): r for r in records if r["sigmoid"] == OURS}
    assert len(ours) == 12
    for dtype, limits in ACCURATE_ULP.items():
        for quantity, limit in limits.items():
            found = ours[str(dtype), quantity]
            assert found["max_ulp"] <= limit
            assert found["zeros"] == 0
    others = [r for r in records if r["sigmoid"] == "torch.sigmoid" and r["quantity"] == "σ′"]
    assert all(r["max_ulp"] > 100 and r["zeros"] > 0 for r in others)  # the measure can fail
    assert figure.read_bytes()[1:4] == b"PNG"
    assert set(DTYPES) == set(ACCURATE_ULP)
