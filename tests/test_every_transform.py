"""Both forms of the sigmoid under every transform that torch has, and their nestings.

Each row takes the derivative in its own way; all are held against the same 50-digit truth, at
points on both sides, at 0, and where ŷ rounds to 1.
"""

import functools
import itertools

import pytest
import torch
from devices import needs_cuda
from errors import in_eps
from tolerances import TRANSFORM_EPS
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint
from truth import sigmoid_derivative

import bp_torch as bp
from bp_torch.derivative import SigmoidFunction

FORMS = pytest.mark.parametrize("form", ["textbook", "accurate"])

# In float64 the textbook's ŷ(1 − ŷ) keeps its digits up to about z = 1, the accurate form anywhere.
POINTS = {
    "textbook": (-30.0, -1.5, -0.25, 0.0, 0.5, 1.0),
    "accurate": (-30.0, -1.5, -0.25, 0.0, 0.5, 1.0, 17.0, 40.0),
}


def points(form, dtype=torch.float64):
    return torch.tensor(POINTS[form], dtype=dtype)


def truth(form, order):
    return torch.tensor([sigmoid_derivative(order, z) for z in POINTS[form]], dtype=torch.float64)


def assert_right(actual, form, order=1, eps=TRANSFORM_EPS):
    expected = truth(form, order)
    # Relative to the derivative, or to σ′ where the order in question has a zero, as σ″ at 0.
    scale = torch.maximum(expected.abs(), truth(form, 1))
    assert in_eps(actual, expected, scale) <= eps, (actual, expected)


# The transforms of torch.func, as maps from a scalar function to its derivative of that order.

OPERATORS = {
    "grad": (grad, 1),
    "jacrev": (jacrev, 1),
    "jacfwd": (jacfwd, 1),
    "jvp": (lambda f: lambda z: jvp(f, (z,), (torch.ones_like(z),))[1], 1),
    "vjp": (lambda f: lambda z: vjp(f, z)[1](torch.ones_like(z))[0], 1),
    "hessian": (hessian, 2),
    "vmap": (lambda f: lambda z: vmap(f)(z[None])[0], 0),
}
NESTINGS = [
    nesting for depth in (1, 2, 3) for nesting in itertools.product(OPERATORS, repeat=depth)
]


@FORMS
@pytest.mark.parametrize("nesting", NESTINGS, ids="(".join)
def test_every_nesting_of_torch_func_to_depth_three(form, nesting):
    function, order = functools.partial(bp.sigmoid, derivative=form), 0
    for name in nesting:
        operator, raised = OPERATORS[name]
        function, order = operator(function), order + raised
    assert_right(vmap(function)(points(form)), form, order)


def test_a_nesting_that_loses_a_derivative_is_caught():
    function = jacfwd(jacfwd(SigmoidFunction.apply))  # without the way round nested forward mode
    with pytest.raises(AssertionError):
        assert_right(vmap(function)(points("textbook")), "textbook", 2)


# Everything else that torch does to a function: each returns the derivatives at z in its own way.


def backward(function, z):
    """The derivative by autograd: what ends every row that transforms the function alone."""
    z = z.detach().requires_grad_()
    return torch.autograd.grad(function(z).sum(), z)[0]


def third(function, z):
    z = z.detach().requires_grad_()
    result = function(z)
    for _ in range(3):
        (result,) = torch.autograd.grad(result.sum(), z, create_graph=True)
    return result.detach()


def per_sample(function, z):
    """The gradient by w of σ(wx) for every sample, at x = 1."""
    by_weight = grad(lambda w, x: function(w * x))
    return torch.stack([vmap(by_weight, (None, 0))(w, torch.ones(3).to(w))[2] for w in z])


def batched(function, z):
    """One backward for many upstream gradients at once."""
    z = z.detach().requires_grad_()
    rows = torch.eye(len(z), dtype=z.dtype)
    return torch.autograd.grad(function(z), z, rows, is_grads_batched=True)[0].diag()


def dual(function, z):
    with torch.autograd.forward_ad.dual_level():
        pair = torch.autograd.forward_ad.make_dual(z, torch.ones_like(z))
        return torch.autograd.forward_ad.unpack_dual(function(pair)).tangent


def reentrant(function, z):
    z = z.detach().requires_grad_()
    checkpoint(function, z, use_reentrant=True).sum().backward()  # it takes no autograd.grad
    return z.grad


def under_autocast(function, z):
    def forward(t):
        with torch.autocast("cpu", dtype=torch.bfloat16):  # which has no rule for a sigmoid
            return function(t)

    return backward(forward, z)


def deterministic(function, z):
    torch.use_deterministic_algorithms(True)
    try:
        return backward(function, z)
    finally:
        torch.use_deterministic_algorithms(False)


def compiled(function, backend):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


def on_every_backend(row):
    return {f"{row.__name__}, {b}": functools.partial(row, b) for b in ("aot_eager", "inductor")}


def compile_function(backend, function, z):
    return backward(compiled(function, backend), z)


def compile_after_an_operation(backend, function, z):
    """As in a neuron, where σ follows upon wx + b; torch treats a Function at its input apart."""
    return backward(compiled(lambda t: function(t * 1), backend), z)


def compile_vmap(backend, function, z):
    return backward(compiled(vmap(function), backend), z)


def compile_grad(backend, function, z):
    return compiled(grad(lambda t: function(t * 1).sum()), backend)(z)


def compile_vmap_grad(backend, function, z):
    return compiled(vmap(grad(lambda t: function(t * 1))), backend)(z)


def compile_jvp(backend, function, z):
    return compiled(lambda t: jvp(function, (t,), (torch.ones_like(t),))[1], backend)(z)


class Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z):
        return self.function(z * 1)


def exported(strict, function, z):
    program = torch.export.export(Module(function), (z,), strict=strict)
    return backward(program.module(), z)


def traced(mode, function, z):
    """make_fx of the function and its derivative together."""
    return make_fx(lambda t: backward(function, t), tracing_mode=mode)(z)(z)


WAYS = {
    "backward": backward,
    "backward with batched gradients": batched,
    "forward mode": dual,
    "per-sample gradients": per_sample,
    "checkpoint": lambda f, z: backward(lambda t: checkpoint(f, t, use_reentrant=False), z),
    "checkpoint, reentrant": reentrant,
    "autocast": under_autocast,
    "deterministic algorithms": deterministic,
    **on_every_backend(compile_function),
    **on_every_backend(compile_after_an_operation),
    **on_every_backend(compile_vmap),
    **on_every_backend(compile_grad),
    **on_every_backend(compile_vmap_grad),
    **on_every_backend(compile_jvp),
    "export, strict": functools.partial(exported, True),
    "export, not strict": functools.partial(exported, False),
    "make_fx, real": functools.partial(traced, "real"),
    "make_fx, fake": functools.partial(traced, "fake"),
    "make_fx, symbolic": functools.partial(traced, "symbolic"),
}


@FORMS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore")  # torch's compilers warn of themselves
def test_derivative_is_right_under(form, way, dtype):
    function = functools.partial(bp.sigmoid, derivative=form)
    assert_right(WAYS[way](function, points(form, dtype)), form)


@pytest.mark.parametrize("way", ["backward", "compile_function, aot_eager", "forward mode"])
@pytest.mark.filterwarnings("ignore")
def test_the_textbooks_derivative_far_right_is_caught_as_wrong(way):
    with pytest.raises(AssertionError):
        assert_right(WAYS[way](bp.sigmoid, points("accurate")), "accurate")


@FORMS
def test_third_derivatives_are_right(form):
    function = functools.partial(bp.sigmoid, derivative=form)
    assert_right(third(function, points(form)), form, 3)


@FORMS
def test_gradcheck_accepts_it_with_every_flag(form):
    def function(z):
        return bp.sigmoid(z, form)

    z = torch.randn(7, dtype=torch.float64, requires_grad=True)
    every = {"check_forward_ad": True, "check_batched_grad": True}
    assert torch.autograd.gradcheck(function, z, **every, check_batched_forward_grad=True)
    twice = {"check_fwd_over_rev": True, "check_rev_over_rev": True, "check_batched_grad": True}
    assert torch.autograd.gradgradcheck(function, z, **twice)


@FORMS
def test_meta_and_fake_tensors_have_the_right_shape(form):
    with torch._subclasses.FakeTensorMode() as fake:
        examples = [torch.empty(4, 3, device="meta"), fake.from_tensor(torch.randn(4, 3))]
        for z in examples:
            z.requires_grad_()
            y_hat = bp.sigmoid(z, form)
            (gradient,) = torch.autograd.grad(y_hat.sum(), z)
            assert y_hat.shape == gradient.shape == z.shape
            assert y_hat.device == gradient.device == z.device


def average_gradients(rank, form, folder):
    """One of two processes: its part of the batch, and the gradient of the whole."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    neuron, x = neuron_and_batch(form)
    model = torch.nn.parallel.DistributedDataParallel(neuron)
    model(x[rank::2]).mean().backward()
    torch.save(neuron.weight.grad, folder / f"{rank}.pt")
    torch.distributed.barrier()  # who leaves first would pull the other's connection down
    torch.distributed.destroy_process_group()


def neuron_and_batch(form):
    generator = torch.Generator().manual_seed(0)
    neuron = bp.Neuron(3, form, dtype=torch.float64, generator=generator)
    return neuron, torch.randn(8, 3, dtype=torch.float64, generator=generator)


@FORMS
def test_distributed_data_parallel_averages_the_gradient_by_hand(form, tmp_path):
    torch.multiprocessing.spawn(average_gradients, (form, tmp_path), nprocs=2)
    neuron, x = neuron_and_batch(form)
    expected = torch.autograd.grad(neuron(x).mean(), neuron.weight)[0]
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), expected)


@FORMS
@needs_cuda
def test_cuda_graph_replays_forward_and_backward(form):
    z = points(form).cuda().requires_grad_()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        backward(functools.partial(bp.sigmoid, derivative=form), z)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        gradient = torch.autograd.grad(bp.sigmoid(z, form).sum(), z)[0]
    graph.replay()
    assert_right(gradient.cpu(), form)
