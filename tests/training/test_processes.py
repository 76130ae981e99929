"""Many processes that train one model: the same bits, whoever has which samples."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from crashes import same_run
from groups import Group, together

import bp_torch as bp
from bp_torch.fused import chunks
from bp_torch.training import course, loop, sharing
from bp_torch.training.checkpoints import found
from bp_torch.training.config import Config
from bp_torch.training.data import Samples
from bp_torch.training.descent import descend
from bp_torch.training.exact_sum import exact_total
from bp_torch.training.order import Order
from bp_torch.training.processes import (
    FirstFailedError,
    LostProcessError,
    Processes,
    processes,
)
from bp_torch.training.resumption import begun_with
from bp_torch.training.signals import Signals
from bp_torch.training.steps import Rule

ROOT = Path(__file__).parents[2]
ROWS = 1009
"""A prime: no share is as large as another."""


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Parts of 64 rows, so that small batches are shared out, too; and no pictures."""
    monkeypatch.setattr(chunks, "CHUNK", 64 * 16)
    monkeypatch.setattr(chunks, "LEAST_ROWS", 16)
    monkeypatch.setattr("bp_torch.training.monitor.Monitor.end", lambda *_: None)


def people(rows=ROWS):
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(rows, 5))
    data = pd.DataFrame(x, columns=list("abcde"))
    data["weight"] = numbers.exponential(size=rows)
    data["y"] = (x @ [1, -2, 0.5, 0, 1] + numbers.normal(size=rows) > 0).astype(int)
    return data


def train(runs, name, **options):
    begin = {"target": "y", "epochs": 3, "learning_rate": 0.5, "log_every": 2} | options
    return bp.train(people(), runs=runs, name=name, **begin)


KINDS = {
    "default": {"batch_size": 300},
    "all in one batch": {"batch_size": 0, "epochs": 9, "momentum": 0.9},
    "float64": {"batch_size": 301, "dtype": "float64", "cost": "cross-entropy"},
    "bfloat16": {"batch_size": 250, "dtype": "bfloat16"},
    "weights": {"batch_size": 200, "sample_weight": "weight", "class_weight": "balanced"},
    "a network": {"batch_size": 300, "layers": (4,), "l2": 1e-3},
    "autograd": {"batch_size": 300, "gradient": "autograd"},
    "early stopping": {"batch_size": 300, "early_stopping": 1, "learning_rate": 30, "epochs": 30},
    "too small to be shared": {"batch_size": 32},
    "a mistake": {"batch_size": 300, "mistake": "without-1/N", "learning_rate": 1e-3},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_any_number_of_processes_comes_to_the_same_bits(tmp_path, kind):
    alone = train(tmp_path, "alone", **kind)
    for size in (2, 3, 4):
        runs = tmp_path / f"{size}"

        def work(rank, runs=runs):
            result = train(runs, "mine", **kind)
            return result.model.state_dict(), result.test.cost, result.steps, result.stopped

        for state, cost, steps, stopped in together(size, tmp_path, work):
            for name, tensor in alone.model.state_dict().items():
                assert tensor.numpy().tobytes() == state[name].numpy().tobytes()
            assert (cost, steps, stopped) == (alone.test.cost, alone.steps, alone.stopped)
        same_run(runs / "mine", alone)


def test_more_processes_than_parts_leave_some_without_rows(tmp_path):
    alone = train(tmp_path, "alone", batch_size=150)  # three parts
    runs = tmp_path / "many"
    together(5, tmp_path, lambda rank: train(runs, "mine", batch_size=150).steps)
    same_run(runs / "mine", alone)


def with_floats(sums, add=lambda integers: integers, **_):
    """The usual way: each process adds up its own in floating point, and so does the all-reduce."""
    own = sums.sum(0).astype(np.float32).astype(np.float64)
    exact, wish = exact_total(own[None], add)
    return exact, wish


def test_the_usual_sum_does_not_come_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "exact_total", with_floats)
    weights = set()
    for size in (1, 2, 3, 4):

        def work(rank, size=size):
            return train(tmp_path / f"{size}", "mine", batch_size=300).model.module.weight

        weights.add(together(size, tmp_path, work)[0].detach().numpy().tobytes())
    assert len(weights) > 1


def mean_of_means(sums, add=lambda integers: integers, **_):
    """A mistake: the mean over the processes of their means, whatever their shares."""
    n = sums[:, -1].sum()
    own = sums.sum(0) / n if n else sums.sum(0)
    return exact_total(own[None], add)


def test_a_mean_of_means_is_another_model(tmp_path, monkeypatch):
    """0.1 and more off, where rounding is 10⁻⁷: what `with_floats` gets wrong is the last place."""
    alone = train(tmp_path, "alone", batch_size=300).model.module.weight
    found = {}
    for name, wrong in (("floats", with_floats), ("means", mean_of_means)):
        monkeypatch.setattr(sharing, "exact_total", wrong)

        def work(rank, name=name):
            return train(tmp_path / name, "mine", batch_size=300).model.module.weight

        weight = together(3, tmp_path, work)[0]
        found[name] = ((weight - alone).norm() / alone.norm()).item()
    assert found["floats"] < 1e-5
    assert found["means"] > 1e-3


def test_a_process_reads_its_own_share_and_no_other():
    parts = sharing.parts_of(300, 5)
    order = Order(ROWS, 5, 300, 0, parts)
    for size in (1, 2, 3, 4):
        seen = []
        for rank in range(size):
            mine = range(len(parts) * rank // size, len(parts) * (rank + 1) // size)
            epochs = []
            for epoch in (0, 1):
                rows = [
                    order.block(epoch, number, mine).rows(0, order.batches(number))
                    for number in order.blocks(epoch)
                ]
                epochs.append(torch.cat(rows).sort().values)
            assert torch.equal(*epochs)  # the same samples in every epoch
            seen.append(epochs[0])
        assert torch.equal(torch.cat(seen).sort().values, torch.arange(ROWS))


def test_local_steps_with_a_mean_after_each_are_those_of_the_whole_batch(tmp_path):
    """w − ν Σ nᵣ gᵣ / N: to rounding, also in the last batch, where one process has no rows."""
    torch.manual_seed(0)
    x, y = torch.randn(103, 3).double(), torch.rand(103).double()
    rule = Rule(learning_rate=0.5, momentum=0.8)

    def walk(size, every):
        neuron = bp.Neuron(3, generator=torch.Generator().manual_seed(0)).double()
        config = Config(batch_size=20, sync_every=every, gradient="fused")
        of = processes() if size > 1 else Processes()
        work = course.sharing_of(config, neuron, Samples(x, y), of, rule)
        list(descend(work, epochs=2, next_seen=lambda step: step + 100))
        return neuron.weight.detach()

    def with_torch():
        order = Order(103, 3, 20, 0, sharing.equal_parts(20, 3))
        neuron = bp.Neuron(3, generator=torch.Generator().manual_seed(0)).double()
        optimizer = torch.optim.SGD(neuron.parameters(), lr=0.5, momentum=0.8)
        for epoch, batch in ((e, b) for e in (0, 1) for b in range(order.batches(0))):
            rows = order.block(epoch, 0, range(3)).rows(batch, batch + 1)
            optimizer.zero_grad()
            bp.quadratic_cost(neuron(x[rows]), y[rows]).backward()
            optimizer.step()
        return neuron.weight.detach()

    whole = with_torch()
    for every, rtol in ((1, 1e-12), (3, None)):
        found = together(3, tmp_path, lambda rank, every=every: walk(3, every))
        assert all(torch.equal(found[0], other) for other in found[1:])
        if rtol is None:
            assert not torch.allclose(found[0], whole, rtol=1e-6, atol=0)  # another algorithm
        else:
            torch.testing.assert_close(found[0], whole, rtol=rtol, atol=0)


def test_local_steps_learn_too(tmp_path):
    def work(rank):
        return train(tmp_path, "mine", batch_size=32, sync_every=8, epochs=20).test.accuracy

    assert set(together(2, tmp_path, work)).pop() > 0.8


def test_processes_that_read_other_tables_are_told(tmp_path):
    def work(rank):
        kind = FirstFailedError if rank else ValueError  # one of them is enough to say it
        with pytest.raises(kind, match="process 1: has read another table than the first"):
            bp.train(people().iloc[rank:], target="y", runs=tmp_path, epochs=1)
        with pytest.raises(kind, match="process 1 was given epochs 2, and the first 1; give all"):
            bp.train(people(), target="y", runs=tmp_path, epochs=1 + rank)
        people().to_csv(tmp_path / "0.csv")
        with pytest.raises(kind, match=r"process 1: there is no file .*1\.csv"):
            bp.train(tmp_path / f"{rank}.csv", target="y", runs=tmp_path)
        return True

    assert together(2, tmp_path, work) == [True, True]


def test_local_steps_go_on_with_as_many_processes(tmp_path):
    options = {"batch_size": 32, "sync_every": 8}
    together(2, tmp_path, lambda rank: train(tmp_path, "mine", epochs=2, **options).steps)
    whole = together(2, tmp_path, lambda rank: train(tmp_path, "whole", epochs=4, **options))[0]

    def go_on(rank):
        return bp.train(people(), target="y", runs=tmp_path, resume="mine", epochs=4)

    with pytest.raises(ValueError, match=r"makes local steps .* in 2 processes, and here is 1; st"):
        go_on(0)
    again = together(2, tmp_path, go_on)[0]
    assert torch.equal(again.model.module.weight, whole.model.module.weight)


def goes_on(data, runs):
    """Raise AssertionError unless the run does, from its last checkpoint."""
    stood_at = int(found(runs / "mine")[-1].stem.split("-")[1])
    config = begun_with(runs, "mine", {"dataset": data})
    signals = Signals()

    def press(progress):
        if progress.step >= stood_at + 20:
            signals.came = signal.SIGINT

    again = loop.run(config, goes_on=True, watch=press, signals=signals)
    assert stood_at + 20 <= again.steps < stood_at + 500


@pytest.mark.parametrize("batch_size", [300, 32])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_ends_all_and_nothing_is_lost(tmp_path, batch_size, victim):
    options = {"batch_size": batch_size, "epochs": 4000, "checkpoint_every": 20, "check_every": 0}
    options["log_every"] = 50
    group = Group(2, tmp_path, lambda rank: train(tmp_path, "mine", **options).steps)
    deadline = time.monotonic() + 60
    while not found(tmp_path / "mine"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(group.children[victim], signal.SIGKILL)
    ended = group.results(seconds=15)
    assert ended[victim] == -signal.SIGKILL
    other = ended[1 - victim]
    assert isinstance(other, LostProcessError)
    assert len(str(other).splitlines()) == 1
    goes_on(people(), tmp_path)


@pytest.mark.parametrize("batch_size", [300, 32])
def test_a_signal_to_any_of_them_stops_all_which_go_on_as_any_number(tmp_path, batch_size):
    options = {"batch_size": batch_size, "epochs": 1500, "log_every": 500}
    alone = train(tmp_path, "alone", **options)

    def work(rank):
        if rank == 1:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        result = train(tmp_path, "mine", **options)
        return result.steps, result.path.name

    (steps, _), other = together(2, tmp_path, work)
    assert (steps, _) == other
    assert steps < alone.steps
    bp.train(people(), runs=tmp_path, resume="mine")
    same_run(tmp_path / "mine", alone)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
LAUNCHED = ["-m", "bp_torch", "train", "t.csv", "--target", "y", "--batch-size", "20000"]


def test_torchrun_starts_again_what_has_died(tmp_path):
    """The model is that of one process which nothing has happened to; the name is found again."""
    people(30_011).to_csv(tmp_path / "t.csv", index=False)
    options = [*LAUNCHED, "--epochs", "300", "--checkpoint-every", "10", "--runs", "lives"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, "--nproc-per-node", "2", "--max-restarts", "3", *options]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not found(tmp_path / "lives/t-1"):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    alone = subprocess.run(
        [sys.executable, *options[:-1], "alone"], cwd=tmp_path, env=env, capture_output=True
    )
    assert alone.returncode == 0
    lives, whole = (tmp_path / f"{name}/t-1/model.safetensors" for name in ("lives", "alone"))
    assert lives.read_bytes() == whole.read_bytes()


IN_NAMESPACE = """
import os, sys
from datetime import timedelta
from bp_torch.training import processes
processes.PATIENCE = timedelta(seconds={patience})
sys.argv = ["bp-torch", *{arguments!r}]
from bp_torch.cli import main
main()
"""


@pytest.fixture
def two_machines():
    """Two network namespaces with a cable between them; gives how to run there, and to cut it."""
    names = [f"bp{os.getpid()}a", f"bp{os.getpid()}b"]

    def ip(*arguments):
        return subprocess.run(["ip", *arguments], capture_output=True, text=True)

    if shutil.which("ip") is None or ip("netns", "add", names[0]).returncode:
        pytest.skip("network namespaces cannot be made here")
    ip("netns", "add", names[1])
    ip("link", "add", "bp-a", "netns", names[0], "type", "veth", "peer", "bp-b", "netns", names[1])
    for name, end, address in zip(names, ("bp-a", "bp-b"), ("10.9.0.1", "10.9.0.2"), strict=True):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
        ip("-n", name, "link", "set", end, "up")
        ip("-n", name, "link", "set", "lo", "up")
    yield names, lambda: ip("-n", names[1], "link", "set", "bp-b", "down")
    for name in names:
        ip("netns", "del", name)


@pytest.mark.parametrize("patience", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_cable_that_is_cut_ends_all_with_a_line_and_nothing_is_lost(
    tmp_path, two_machines, patience
):
    names, cut = two_machines
    people(30_011).to_csv(tmp_path / "t.csv", index=False)
    arguments = [*LAUNCHED[2:], "--epochs", "9999", "--name", "mine", "--checkpoint-every", "50"]
    code = IN_NAMESPACE.format(patience=patience, arguments=arguments)
    started = []
    for rank, (name, end) in enumerate(zip(names, ("bp-a", "bp-b"), strict=True)):
        env = {
            **os.environ,
            **{"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": end},
            **{"RANK": str(rank), "WORLD_SIZE": "2"},
            **{"MASTER_ADDR": "10.9.0.1", "MASTER_PORT": "29511"},
        }
        command = ["ip", "netns", "exec", name, sys.executable, "-c", code]
        started.append(
            subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
        )
    deadline = time.monotonic() + 60
    while not found(tmp_path / "runs/mine"):
        assert all(each.poll() is None for each in started), started[0].stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    cut()
    at = time.monotonic()
    said = [each.communicate(timeout=60)[1] for each in started]
    assert time.monotonic() - at < patience + 10
    assert [each.returncode for each in started] == [4, 4]
    lines = [[line for line in each.splitlines() if "bp-torch:" in line] for each in said]
    assert all(len(each) == 1 and "has lost contact with another one" in each[0] for each in lines)
    assert "can go on from runs/mine/checkpoint-" in lines[0][0]
    assert "Traceback" not in "".join(said)
    goes_on(tmp_path / "t.csv", tmp_path / "runs")
