import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from batches import agrees, draw, draw_without_cancellation
from errors import in_eps
from tolerances import CHAIN_EPS
from truth import of_neuron

import bp_torch as bp
from bp_torch import fused
from bp_torch.fused import cpu
from bp_torch.fused.inputs import Inputs
from bp_torch.fused.step import step_with_rows

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
COSTS = ["quadratic", "cross-entropy"]

# One sample of one feature; rows shorter than a vector, as long, longer by one; blocks that are not
# full; several chunks; rows that are added up in several parts.
SHAPES = [(1, 1), (5, 3), (16, 16), (17, 17), (32, 30), (1000, 64), (20_000, 33), (7, 5000)]


def step(batch):
    return fused.cost_and_gradients(*batch.tensors, batch.cost, sample_weight=batch.sample_weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_exact(shape, dtype, cost, weighted):
    batch = draw_without_cancellation(*shape, dtype, cost, weighted=weighted)
    results = step(batch)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert [result.dtype for result in results] == [wide, dtype, dtype]
    assert [result.shape for result in results] == [(), batch.weight.shape, ()]
    assert agrees(results, batch)


@pytest.mark.parametrize("narrow", ["weight", "bias"])
def test_each_gradient_has_the_dtype_of_its_parameter(narrow):
    batch = draw(40, 20, torch.bfloat16)
    parameters = {"weight": batch.weight.float(), "bias": batch.bias.float()}
    parameters[narrow] = parameters[narrow].bfloat16()
    _, *gradients = fused.cost_and_gradients(batch.x, batch.y, **parameters)
    assert [g.dtype for g in gradients] == [p.dtype for p in parameters.values()]


def slips(batch):
    """Results with the four slips and others of their kind."""
    cost, by_weight, by_bias = step(batch)
    n = len(batch.x)
    yield "minus sign", (cost, -by_weight, by_bias)
    yield "factor x", (cost, by_bias.expand_as(by_weight), by_bias)
    yield "N + 1 terms", tuple(result * n / (n + 1) for result in (cost, by_weight, by_bias))
    yield "1/N", (cost, by_weight * n, by_bias * n)
    yield "factor ½", (2 * cost, by_weight, by_bias)
    yield "last sample", step(replace(batch, x=batch.x[:-1], y=batch.y[:-1]))
    yield "last feature", (cost, by_weight * (torch.arange(len(by_weight)) < 4), by_bias)


def test_a_slip_is_caught():
    batch = draw_without_cancellation(33, 5, torch.float64, "quadratic")
    assert agrees(step(batch), batch)
    assert {name for name, results in slips(batch) if agrees(results, batch)} == set()


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_agrees_with_the_chain_rule_by_hand(dtype, cost):
    neuron = bp.Neuron(30, dtype=dtype)
    batch = draw(64, 30, dtype, cost)
    chain = bp.backprop(neuron, batch.x, batch.y, cost=cost)
    expected = [chain.cost, *chain.gradients.values()]
    results = fused.cost_and_gradients(batch.x, batch.y, neuron.weight, neuron.bias, cost)
    for actual, other in zip(results, expected, strict=True):
        unit = torch.finfo(dtype).eps * other.abs().max()
        assert (actual - other).abs().max() <= CHAIN_EPS * unit


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("shape", [(32, 30), (1000, 64), (100_000, 8), (4, 70_000)], ids=str)
def test_is_as_exact_as_autograd_on_average(shape, cost):
    """In float32, terms of both signs: medians over draws of the errors of cost and gradients."""
    errors = []
    for _ in range(min(400, 2_000_000 // (shape[0] * shape[1]) + 5)):
        batch = draw(*shape, torch.float32, cost)
        weight, bias = batch.weight.requires_grad_(), batch.bias.requires_grad_()
        y_hat = torch.sigmoid(batch.x @ weight + bias)
        if cost == "quadratic":
            value = bp.quadratic_cost(y_hat, batch.y)
        else:
            value = torch.nn.functional.binary_cross_entropy(y_hat, batch.y)
        eager = (value, *torch.autograd.grad(value, (weight, bias)))
        expected = of_neuron(batch)[:3]
        errors.append([list(map(in_eps, r, expected)) for r in (step(batch), eager)])
    ours, autograds = torch.tensor(errors).median(0).values
    half = 0.5  # unit, which the rounding of the result costs by itself
    assert (ours <= autograds.clamp(min=half)).all()


def test_saturation_loses_nothing():
    """σ′ and 1 − ŷ where ŷ rounds to 1, or to 0: all digits, on both sides."""
    z = torch.tensor([-100.0, -80.0, -30.0, -17.0, 17.0, 30.0, 80.0, 100.0])
    for cost in COSTS:
        for y in (0.0, 1.0):
            batch = draw_without_cancellation(len(z), 1, torch.float32, cost)
            batch = replace(batch, x=z[:, None], y=torch.full_like(z, y))
            batch = replace(batch, weight=torch.ones(1), bias=torch.zeros(()))
            *_, rows = step_with_rows(Inputs(*batch.tensors, cost, None))
            by_z = of_neuron(batch)[3][:, 0]
            unit = torch.tensor(abs(by_z).astype(float)).float()
            spacing = torch.nextafter(unit, torch.tensor(torch.inf)) - unit
            error = (rows[0].double() - torch.tensor(by_z.astype(float))).abs()
            assert (error <= 4 * spacing).all(), (cost, y, rows[0], by_z)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_may_lie_apart(dtype):
    batch = draw(300, 20, dtype)
    wide = torch.full((300, 50), torch.nan, dtype=dtype)
    wide[:, 7:27] = batch.x
    results = step(replace(batch, x=wide[:, 7:27]))
    assert all(torch.equal(a, b) for a, b in zip(results, step(batch), strict=True))


def test_one_row_may_stand_for_all():
    batch = draw(1, 20, torch.float32)
    repeated = replace(batch, x=batch.x.expand(40, 20), y=batch.y.expand(40))
    for once, often in zip(step(batch), step(repeated), strict=True):
        assert torch.allclose(once, often, rtol=1e-6)


@pytest.mark.parametrize("shape", [(50, 7), (6000, 100)], ids=str)
def test_a_sample_of_weight_two_counts_twice(shape):
    batch = draw(*shape, torch.float64)
    weights = torch.randint(0, 3, (shape[0],)).double()
    weighted = step(replace(batch, sample_weight=weights))
    order = torch.repeat_interleave(torch.arange(shape[0]), weights.long())
    repeated = step(replace(batch, x=batch.x[order], y=batch.y[order]))
    for a, b in zip(weighted, repeated, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-15)


@pytest.fixture
def _threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads_as_before")
@pytest.mark.parametrize("team", ["torch's", "Python's"])
def test_the_bits_do_not_depend_on_the_threads(team, monkeypatch):
    if team == "Python's":
        monkeypatch.setattr(cpu, "_gomp_parallel", lambda: None)
    batch = draw(30_000, 40, torch.float32, weighted=True)
    results = []
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        results.append(step(batch))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_steps_may_be_taken_in_several_threads_at_once():
    batches = [draw(samples, 40, torch.float32) for samples in (5, 300, 30_000, 50_000)]
    expected = [step(batch) for batch in batches]
    wrong = []

    def work(batch, results):
        for _ in range(20):
            if not all(torch.equal(a, b) for a, b in zip(step(batch), results, strict=True)):
                wrong.append(batch)

    pairs = zip(batches * 2, expected * 2, strict=True)
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_a_thread_leaves_undone_is_no_result(monkeypatch):
    """An error in a thread reaches nobody."""
    monkeypatch.setattr(cpu, "_in_team", lambda function, argument, threads: None)
    assert all(result.isnan().all() for result in step(draw(30_000, 40, torch.float32)))


def test_the_threads_are_torchs_own():
    """On Linux torch's wheels bring an OpenMP library; the step must not start threads besides."""
    batch = draw(30_000, 40, torch.float32)
    step(batch)
    assert cpu._gomp_parallel() is not None or sys.platform != "linux"
    before = threading.active_count()
    step(batch)
    assert threading.active_count() == before


def test_nan_comes_out_as_nan():
    for samples in (40, 30_000):
        batch = draw(samples, 40, torch.float32)
        batch.x[samples // 2, 3] = torch.nan
        cost, by_weight, by_bias = step(batch)
        assert cost.isnan()
        assert by_bias.isnan()
        assert by_weight.isnan().all()


@pytest.mark.parametrize("cost", COSTS)
def test_infinite_z_has_a_finite_cost_where_it_is_right(cost):
    x, y = torch.tensor([[3e38], [-3e38]]), torch.tensor([1.0, 0.0])
    results = fused.cost_and_gradients(x, y, torch.tensor([10.0]), torch.tensor(0.0), cost)
    assert [result.item() for result in results] == [0.0, 0.0, 0.0]


def test_rows_that_a_block_lacks_do_not_count():
    """They have δ = 0, which times infinity would be NaN."""
    x, y = torch.tensor([[torch.inf, 1.0]]), torch.zeros(1)
    weight, bias = torch.tensor([1.0, 0.0]), torch.tensor(0.0)
    _, by_weight, by_bias = fused.cost_and_gradients(x, y, weight, bias, "cross-entropy")
    assert by_weight.tolist() == [torch.inf, 1.0]
    assert by_bias.item() == 1.0


def test_memory_is_that_of_the_results():
    """What a step takes beyond its inputs is below 1% of x, copies of x above all."""
    code = """
import resource, torch
from bp_torch import fused
x, y = torch.randn(1_000_000, 64), torch.rand(1_000_000)
weight, bias = torch.randn(64), torch.zeros(())
fused.cost_and_gradients(x[:100_000], y[:100_000], weight, bias)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fused.cost_and_gradients(x, y, weight, bias)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / x.nbytes)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 0.01


def test_ctrl_c_ends_a_long_step(monkeypatch):
    monkeypatch.setattr(cpu, "SLAB", 1)  # many calls, as for very much data
    batch = draw(20_000, 512, torch.float32)
    step(batch)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        step_after_step(batch, until=time.monotonic() + 60)
    assert step(batch)[0].isfinite()


def step_after_step(batch, until):
    while time.monotonic() < until:
        step(batch)


def test_the_sums_of_chunks_are_those_that_a_step_divides():
    x, y = torch.randn(40_000, 30), torch.rand(40_000)
    s = torch.rand(40_000)
    neuron = bp.Neuron(30)
    for cost in ("quadratic", "cross-entropy"):
        sums = fused.chunk_sums(x, y, neuron.weight, neuron.bias, cost, sample_weight=s)
        assert sums.shape == (-(-40_000 // fused.rows_per_chunk(30)), 33)
        step = fused.cost_and_gradients(x, y, neuron.weight, neuron.bias, cost, sample_weight=s)
        total = torch.from_numpy(sums.sum(0))
        means = total[:-1] / total[-1]
        for found, expected in zip((means[-1], means[:30], means[30]), step, strict=True):
            assert torch.equal(found.to(expected.dtype), expected)


@pytest.mark.parametrize(
    "wrong",
    [torch.ones(39), torch.full((40,), -1.0), torch.full((40,), torch.nan), torch.ones(40, 1)],
    ids=["too few", "negative", "NaN", "two axes"],
)
def test_the_sums_of_chunks_refuse_weights_that_are_none(wrong):
    x, y, neuron = torch.randn(40, 3), torch.rand(40), bp.Neuron(3)
    with pytest.raises(ValueError, match="sample_weight must"):
        fused.chunk_sums(x, y, neuron.weight, neuron.bias, sample_weight=wrong)
    strided = torch.rand(80)[::2]  # every second number, where the kernel reads one after another
    given = (x, y, neuron.weight, neuron.bias)
    found = fused.chunk_sums(*given, sample_weight=strided)
    assert (found == fused.chunk_sums(*given, sample_weight=strided.clone())).all()
