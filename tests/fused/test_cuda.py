"""The kernels for CUDA: on a GPU where there is one, else on the CPU in Triton's interpreter."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from batches import agree, agrees, draw, draw_without_cancellation
from devices import needs_cuda
from errors import in_eps
from tolerances import EPOCH_RELATIVE, FUSED_EPS
from truth import Batch, of_neuron

from bp_torch import fused
from bp_torch.dtypes import WIDE
from bp_torch.fused import backends
from bp_torch.fused.inputs import Inputs
from bp_torch.fused.step import step_with_rows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRETED = {} if DEVICE == "cuda" else {"TRITON_INTERPRET": "1"}

with pytest.MonkeyPatch.context() as patch:
    # Whether a kernel is compiled or interpreted is settled where it is defined, Triton's own too.
    for variable in INTERPRETED.items():
        patch.setenv(*variable)
    triton = pytest.importorskip("triton", reason="Triton is there for Linux alone")
    import triton.language as tl

    from bp_torch.fused import cuda, cuda_kernels

    @triton.jit
    def without_masks(x, stride, places, present, columns, used, wide: tl.constexpr):
        return tl.load(x + places[:, None] * stride + columns[None, :]).to(wide)

    @triton.jit
    def rows_that_are_not_there_count(order, sample_weight, i, present, wide: tl.constexpr):
        places = i.to(tl.int64)
        return places, (present | True).to(wide)

    @triton.jit
    def prime_from_the_output(z, y, cross_entropy: tl.constexpr):
        y_hat = 1.0 / (1.0 + tl.exp(-z))
        error = y_hat - y
        return 0.5 * error * error, error * (y_hat * (1.0 - y_hat)), -error


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
COSTS = ["quadratic", "cross-entropy"]

# One number; tiles that are not full; chunks of one tile, the last not full; a few rows per tile; a
# row that does not fit into a tile.
SHAPES = [(1, 1), (5, 3), (33, 30), (200, 64), (19, 1000), (7, 5000)]

# The interpreter of Triton 3.6 makes numbers of arrays in a way that NumPy warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0 to a scalar")

only_interpreted = pytest.mark.skipif(not INTERPRETED, reason="kernels that are compiled are kept")


@pytest.fixture(autouse=True)
def _every_tensor_goes_to_the_kernels(monkeypatch):
    for variable in INTERPRETED.items():
        monkeypatch.setenv(*variable)
    monkeypatch.setattr(backends, "backend_of", lambda x: cuda)


def on_device(batch):
    s = batch.sample_weight
    moved = (tensor.to(DEVICE) for tensor in batch.tensors)
    return Batch(*moved, batch.cost, s if s is None else s.to(DEVICE))


def step(batch):
    batch = on_device(batch)
    results = fused.cost_and_gradients(
        *batch.tensors, batch.cost, sample_weight=batch.sample_weight
    )
    return [result.cpu() for result in results]


def rows(batch):
    batch = on_device(batch)
    given = Inputs(*batch.tensors, batch.cost, batch.sample_weight)
    return step_with_rows(given)[3].cpu()


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


@pytest.mark.parametrize("shape", [(300, 64), (30, 5000)], ids=str)
def test_chunks_of_several_tiles(shape, monkeypatch):
    monkeypatch.setattr(cuda, "FEWEST_CHUNKS", 2)
    monkeypatch.setattr(cuda, "CHUNKS", 2)
    batch = draw_without_cancellation(*shape, torch.float32, "quadratic", weighted=True)
    assert agrees(step(batch), batch)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(5, 3), (70, 64), (7, 5000)], ids=str)
def test_what_each_row_contributes(shape, dtype, cost, weighted):
    batch = draw_without_cancellation(*shape, dtype, cost, weighted=weighted)
    by_x, by_y = of_neuron(batch)[3:]
    by_z, by_target = rows(batch)
    assert in_eps(torch.outer(by_z, batch.weight.to(by_z)), by_x) <= FUSED_EPS
    assert in_eps(by_target, by_y) <= FUSED_EPS


def amid_nan(batch):
    """The same batch as a part of tensors that hold NaN everywhere else."""
    samples, features = batch.x.shape
    x = torch.full((samples + 40, features + 20), torch.nan, dtype=batch.x.dtype, device=DEVICE)
    x[20:-20, 7:-13] = batch.x
    ends = [
        torch.cat([t.new_full((20,), torch.nan), t, t.new_full((20,), torch.nan)]).to(DEVICE)
        for t in (batch.y, batch.sample_weight, batch.weight)
    ]
    y, s, weight = (t[20:-20] for t in ends)
    return Batch(x[20:-20, 7:-13], y, weight, batch.bias.to(DEVICE), batch.cost, s)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(5, 3), (33, 30), (7, 5000)], ids=str)
def test_rows_lie_apart_and_nothing_around_them_counts(shape, dtype):
    batch = draw_without_cancellation(*shape, dtype, "cross-entropy", weighted=True)
    assert agrees(step(amid_nan(batch)), batch)


@pytest.mark.parametrize("features", [64, 5000])
def test_nothing_is_written_beside_the_rows(features):
    batch = on_device(draw(5, features, torch.float32))
    around = torch.full((2, 40), 7.0, device=DEVICE)
    cuda.step(Inputs(*batch.tensors, "quadratic", None), around[:, 8:13])
    assert (around[:, :8] == 7).all()
    assert (around[:, 13:] == 7).all()
    assert (around[:, 8:13] != 7).all()


@only_interpreted
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("_features", without_masks),
        ("_rows", rows_that_are_not_there_count),
        ("_chain", prime_from_the_output),
    ],
)
def test_a_slip_is_caught(name, wrong, monkeypatch):
    batch = draw_without_cancellation(5, 3, torch.float32, "quadratic", weighted=True)
    batch = replace(batch, sample_weight=torch.ones(5), bias=torch.tensor(9.0))
    assert agrees(step(amid_nan(batch)), batch)
    monkeypatch.setattr(cuda_kernels, name, wrong)
    assert not agrees(step(amid_nan(batch)), batch)


@pytest.mark.parametrize("shape", [(200, 64), (7, 5000)], ids=str)
def test_the_same_bits_again(shape):
    batch = draw(*shape, torch.float32, weighted=True)
    first = step(batch)
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(step(batch), first, strict=True))


@pytest.mark.parametrize("shape", [(40, 7), (200, 64), (7, 5000)], ids=str)
def test_nan_comes_out_as_nan(shape):
    batch = draw(*shape, torch.float32)
    batch.x[shape[0] // 2, 3] = torch.nan
    cost, by_weight, by_bias = step(batch)
    assert cost.isnan()
    assert by_bias.isnan()
    assert by_weight.isnan().all()


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("cost", COSTS)
def test_infinite_z_has_a_finite_cost_where_it_is_right(cost):
    x, y = torch.tensor([[3e38], [-3e38]]), torch.tensor([1.0, 0.0])
    batch = Batch(x, y, torch.tensor([10.0]), torch.tensor(0.0), cost)
    assert [result.item() for result in step(batch)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_saturation_loses_nothing(dtype, cost, target):
    """δ where ŷ rounds to 1, or to 0: all digits, on both sides, until numbers are subnormal."""
    z = torch.tensor([0.0, 1e-3, 0.3, 9.0, 17.0, 30.0, 60.0, 80.0, 100.0, 300.0, 700.0])
    z = torch.cat((z, -z)).to(dtype)
    one, y = torch.ones(1, dtype=dtype), torch.full_like(z, target)
    batch = Batch(z[:, None], y, one, torch.zeros((), dtype=dtype), cost)
    expected = of_neuron(batch)[3][:, 0]
    size = torch.from_numpy(abs(expected).astype(float)).to(dtype)
    spacing = torch.nextafter(size, torch.full_like(size, torch.inf)) - size
    error = abs(rows(batch)[0].double().numpy() - expected)
    assert (error <= FUSED_EPS * spacing.double().numpy()).all()


def by_autograd(batch, learning_rate, batch_size, order):
    """The epoch in float64, as everyone would write it."""
    x, y, weight, bias = (tensor.double().cpu() for tensor in batch.tensors)
    s = torch.ones_like(y) if batch.sample_weight is None else batch.sample_weight.double()
    order = torch.arange(len(x)) if order is None else order
    costs = []
    for chosen in order.split(batch_size):
        weight, bias = weight.detach().requires_grad_(), bias.detach().requires_grad_()
        z = x[chosen] @ weight + bias
        if batch.cost == "quadratic":
            c = (torch.sigmoid(z) - y[chosen]) ** 2 / 2
        else:
            c = torch.nn.functional.binary_cross_entropy_with_logits(z, y[chosen], reduction="none")
        cost = (s[chosen] * c).sum() / s[chosen].sum()
        by_weight, by_bias = torch.autograd.grad(cost, (weight, bias))
        weight, bias = weight - learning_rate * by_weight, bias - learning_rate * by_bias
        costs.append(cost.detach())
    return torch.stack(costs).mean(), weight.detach(), bias.detach()


def epoch(batch, learning_rate, batch_size, order=None):
    x, y, weight, bias = (tensor.to(DEVICE, copy=True) for tensor in batch.tensors)
    s = on_device(batch).sample_weight
    order = order if order is None else order.to(DEVICE)
    arguments = x, y, weight, bias, learning_rate, batch_size, order, batch.cost
    cost = fused.sgd_epoch(*arguments, sample_weight=s)
    return cost.cpu(), weight.cpu(), bias.cpu()


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("dtype", EPOCH_RELATIVE, ids=str)
@pytest.mark.parametrize(
    ("shape", "batch_size"),
    # The last batch smaller; one sample a step; one batch; batches of several tiles.
    [((40, 5), 16), ((6, 64), 1), ((40, 20), 64), ((20, 1000), 12)],
    ids=str,
)
def test_an_epoch_equals_the_loop_of_steps(shape, batch_size, dtype, cost, weighted, shuffled):
    batch = draw(*shape, dtype, cost, weighted=weighted)
    order = torch.randperm(shape[0]) if shuffled else None
    expected = by_autograd(batch, 0.3, batch_size, order)
    assert agree(epoch(batch, 0.3, batch_size, order), expected, EPOCH_RELATIVE[dtype])
    if dtype != torch.bfloat16:
        slip = by_autograd(batch, 0.31, batch_size, order)
        assert not agree(epoch(batch, 0.3, batch_size, order), slip, EPOCH_RELATIVE[dtype])


@pytest.mark.parametrize("shuffled", [False, True])
def test_an_epoch_of_two_passes(shuffled):
    batch = draw(7, 5000, torch.float64, weighted=True)
    order = torch.randperm(7) if shuffled else None
    expected = by_autograd(batch, 0.3, 3, order)
    assert agree(epoch(batch, 0.3, 3, order), expected, EPOCH_RELATIVE[torch.float64])


def test_an_order_may_repeat_and_leave_out():
    batch, order = draw(50, 6, torch.float64), torch.tensor([3, 3, 49, 0, 7, 7])[::2]
    expected = by_autograd(batch, 0.5, 2, order)
    assert agree(epoch(batch, 0.5, 2, order), expected, EPOCH_RELATIVE[torch.float64])


@pytest.mark.parametrize("features", [5, 5000])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_batch_whose_weights_are_all_0_is_no_step(shuffled, features):
    batch = draw(20, features, torch.float64, weighted=True)
    order = torch.randperm(20) if shuffled else torch.arange(20)
    left_out, kept = order[4:8], torch.cat((order[:4], order[8:]))
    batch.sample_weight[left_out] = 0
    batch.x[left_out] = torch.nan
    expected = by_autograd(batch, 0.5, 4, kept)
    actual = epoch(batch, 0.5, 4, order if shuffled else None)
    assert agree(actual, expected, EPOCH_RELATIVE[torch.float64])


@pytest.mark.parametrize("wrong", [0.0, -1.0, torch.nan])
def test_weights_that_make_no_mean_change_nothing(wrong):
    batch = draw(20, 5, torch.float32, weighted=True)
    batch = on_device(replace(batch, sample_weight=batch.sample_weight * 0 + wrong))
    before = batch.weight.clone()
    with pytest.raises(ValueError, match="sample_weight must be"):
        step(batch)
    with pytest.raises(ValueError, match="sample_weight must be"):
        fused.sgd_epoch(*batch.tensors, 0.5, 4, sample_weight=batch.sample_weight)
    assert torch.equal(batch.weight, before)


def test_long_epochs_are_cut_into_launches(monkeypatch):
    batch = draw(50, 6, torch.float32)
    whole = epoch(batch, 0.5, 7)
    monkeypatch.setattr(cuda, "STEPS_PER_LAUNCH", 3)
    assert all(torch.equal(a, b) for a, b in zip(epoch(batch, 0.5, 7), whole, strict=True))


@pytest.mark.parametrize("features", [1, 2, 30, 64, 1000, 4096, 5000, 10**6])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_chunks_take_little_memory(features, dtype):
    """At most 1% of x, or what the fewest chunks take; and hold every row."""
    wide = torch.empty(0, dtype=WIDE[dtype])
    for samples in (1, 77, 4096, 10**5, 10**8):
        x = torch.empty(samples, features, dtype=dtype, device="meta")
        tile = cuda._tile(x, samples, wide)
        chunk = cuda._chunk(x, samples, tile["block_rows"], wide.itemsize)
        chunks = -(-samples // chunk)
        sums = chunks * (features + 3) * wide.itemsize
        assert chunk % tile["block_rows"] == 0
        assert chunks <= cuda.FEWEST_CHUNKS or sums <= 0.01 * x.nbytes
        assert features <= cuda.WIDEST or chunks == 1 or sums <= 0.01 * x.nbytes
        assert tile["block_d"] >= min(features, cuda.SEGMENT)


COMPILE = """
import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from bp_torch.fused import cuda, cuda_kernels as kernels

types = dict.fromkeys(("x", "y", "sample_weight"), "*bf16")
types |= {"order": "*i64", "learning_rate": "*fp64", "costs_and_steps": "*fp64"}
numbers = ("stride", "samples", "features", "chunk", "chunks", "first", "last", "batch_size")
types |= dict.fromkeys(numbers, "i32")
tile = cuda._tile(torch.empty(2, 30), 40, torch.empty(0))
for kernel, constants in (
    (kernels.sum_chunk, {"by_c": None, "by_z": None, "by_y": None, "cross_entropy": True, **tile}),
    (kernels.row_by_row, {"by_y": None, "cross_entropy": False, **tile}),
    (kernels.add_chunks, cuda.ADD),
    (kernels.descend, {"cross_entropy": True, **tile}),
):
    names = [parameter.name for parameter in kernel.params]
    constants = {name: value for name, value in constants.items() if name in names}
    signature = {n: "constexpr" if n in constants else types.get(n, "*fp32") for n in names}
    source = ASTSource(kernel, signature, {(names.index(n),): v for n, v in constants.items()})
    assert compile(source, target=GPUTarget("cuda", 80, 32)).asm["cubin"]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton brings its assembler for Linux alone")
def test_the_kernels_compile(tmp_path):
    """The interpreter takes more than the compiler does, which needs no GPU."""
    environment = {"TRITON_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    run = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()


@needs_cuda
def test_can_be_captured_in_a_graph():
    batch = on_device(draw(1000, 30, torch.float32))
    expected = fused.cost_and_gradients(*batch.tensors)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = fused.cost_and_gradients(*batch.tensors)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


@needs_cuda
def test_more_numbers_than_an_int32_counts():
    batch = draw_without_cancellation(3, 4, torch.bfloat16, "quadratic")
    everything = torch.full((2**31 + 64,), torch.nan, dtype=torch.bfloat16, device=DEVICE)
    x = everything.as_strided((3, 4), (2**30, 1))
    x.copy_(batch.x)
    assert agrees(step(replace(batch, x=x)), batch)


@needs_cuda
@pytest.mark.parametrize("features", [30, 1000, 5000])
def test_memory_is_that_of_the_results(features):
    batch = on_device(draw(10**8 // features, features, torch.float32))
    fused.cost_and_gradients(*batch.tensors)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    fused.cost_and_gradients(*batch.tensors)
    assert torch.cuda.max_memory_allocated() - before <= 0.011 * batch.x.nbytes
