"""Each benchmark runs, as small as can be, and says what it is there to say."""

import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
from benchmarks import cluster, scale, sigmoid, step
from benchmarks.benchmark import Options
from benchmarks.command import BENCHMARKS, main
from benchmarks.data import size_here
from benchmarks.peers import epochs, steps
from benchmarks.peers.epochs import OURS as OUR_EPOCH
from benchmarks.peers.steps import EAGER
from benchmarks.peers.steps import OURS as OUR_STEP
from devices import needs_cuda

ROOT = Path(__file__).parents[2]


@pytest.fixture
def quick(tmp_path):
    """Run one and return its records and its table."""

    def run(name, *words):
        files = [f"--json={tmp_path / 'it.json'}", f"--markdown={tmp_path / 'it.md'}"]
        main([name, "--quick", *files, *words])
        records = json.loads((tmp_path / "it.json").read_text())["records"]
        return records, (tmp_path / "it.md").read_text()

    return run


@pytest.fixture
def uncompiled(monkeypatch):
    """Compiling takes seconds and is tried by the slow tests."""
    for module in (steps, epochs):
        monkeypatch.setattr(module, "compiled", lambda function: function)
    monkeypatch.setitem(sigmoid.MODES, "compiled", lambda function: function)


def rows(records):
    return {record["name"]: record for record in records if "name" in record}


@pytest.mark.usefixtures("uncompiled")
def test_step_gives_passes_ratios_memory_and_threads(quick):
    records, table = quick("step")
    said = [record["said"] for record in records if "said" in record]
    assert said[0].startswith("x of ")
    assert "last-level cache" in said[0]
    assert any("one pass is " in line for line in said)
    found = rows(records)
    for features in step.QUICK_FEATURES:
        ours, eager = found[f"D = {features}: {OUR_STEP}"], found[f"D = {features}: {EAGER}"]
        assert set(ours["ratios"]) == {"passes"}
        assert set(eager["ratios"]) == {"passes", "times ours"}
    assert f"| {OUR_STEP} |" in table
    assert "thread's time by" in table


@pytest.mark.usefixtures("uncompiled")
def test_step_takes_ratios_within_rounds_and_the_fastest_way_to_read_as_one_pass(
    quick, monkeypatch
):
    seconds = {
        "x.sum()": [1.0, 4.0],  # lucky once
        "torch.mv(x, w)": [2.0, 2.0],
        OUR_STEP: [2.0, 6.0],
        EAGER: [8.0, 6.0],
        1: [3.0, 3.0],
    }

    def planted(timers, rounds, *, settle):
        return {name: seconds.get(name, [9.0, 9.0]) for name in timers}

    monkeypatch.setattr(step, "interleave", planted)
    records, table = quick("step")
    assert any("one pass is torch.mv(x, w)" in record.get("said", "") for record in records)
    found = rows(records)["D = 8: " + EAGER]["ratios"]
    assert found["passes"] == {"median": 3.5, "smallest": 3.0, "largest": 4.0}
    assert found["times ours"] == {"median": 2.5, "smallest": 1.0, "largest": 4.0}
    assert found["times ours"]["median"] != median(seconds[EAGER]) / median(seconds[OUR_STEP])
    assert f"| {OUR_STEP} | 2.00 | 2.00 |" in table


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("name", ["small", "epoch", "sigmoid"])
def test_it_runs_and_compares(quick, name):
    records, table = quick(name)
    assert any(record["ratios"] for record in rows(records).values())
    assert table.startswith(f"`python scripts/benchmarks {name} --quick`: ")
    assert len(table.splitlines()) >= 5


@pytest.mark.usefixtures("uncompiled")
def test_an_epoch_is_told_in_passes_and_times_ours(quick):
    records, table = quick("epoch")
    assert set(rows(records)[OUR_EPOCH]["ratios"]) == {"passes", "times ours"}
    assert "| s | passes over x | times ours |" in table


def test_scale_reaches_as_far_as_x_goes_and_draws(quick, tmp_path):
    records, _ = quick("scale", f"--figure={tmp_path / 'it.png'}")
    assert (tmp_path / "it.png").read_bytes()[1:4] == b"PNG"
    largest = size_here(Options(quick=True)).floats // scale.FEATURES
    assert f"N (D = {scale.FEATURES}): {largest:,}" in rows(records)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.3])
def test_the_slope_is_that_of_the_upper_half(power):
    bent = {2**k: 2.0 ** (power * max(k, 6)) for k in range(12)}  # flat where x is small
    assert scale.slope_of(bent) == pytest.approx(power)
    assert scale.slope_of({8: 3.0}) == 0.0


def test_the_model_of_many_machines_is_its_formula():
    node, link = cluster.Node(row=1e-8, call=1e-5), cluster.Link(latency=1e-5, bandwidth=1e9)
    assert link.all_reduce(1, 1e9) == 0
    assert link.all_reduce(8, 1e6) == pytest.approx(2 * 3 * 1e-5 + 2 * 7 / 8 * 1e-3)
    alone = cluster.step_time(node, link, 1, 30, 2**20)
    assert alone == pytest.approx(2**20 * 1e-8 + 1e-5, rel=1e-3)
    assert cluster.efficiency(node, link, 1, 30, 2**20) == 1
    shares = [cluster.efficiency(node, link, nodes, 30, 2**20) for nodes in (1, 2, 4, 64, 1024)]
    assert shares == sorted(shares, reverse=True)
    # A batch has 121 parts: more machines than that do not make it faster.
    assert cluster.step_time(node, link, 128, 30, 2**20) < cluster.step_time(
        node, link, 1024, 30, 2**20
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name != "accuracy"])
def test_the_script_runs_it_as_it_is(name, tmp_path):
    words = [name, "--quick", "--rounds=1", f"--markdown={tmp_path / 'it.md'}"]
    run = subprocess.run(
        [sys.executable, ROOT / "scripts/benchmarks", *words], capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")
    tables = re.findall(r"(?:^\|.*\n)+", (tmp_path / "it.md").read_text(), re.MULTILINE)
    assert all(table in run.stdout for table in tables)
    assert tables
    assert tables[0].count("\n") >= 3


@needs_cuda
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, each in BENCHMARKS.items() if each.on_cuda])
def test_on_a_gpu_it_runs_as_well(quick, name):
    records, table = quick(name, "--device=cuda")
    assert rows(records)
    assert "--device cuda" in table
