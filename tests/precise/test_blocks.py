from types import SimpleNamespace

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

import bp_torch as bp
from bp_torch.derivative import SigmoidFunction
from bp_torch.precise import blocks
from bp_torch.precise import formulas as accurate


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 16)


def tensors(*shape, **options):
    return tuple(torch.randn(shape, **options) for _ in range(2))


LARGE = 1000


def backward_of(function):
    """Its backward as a function of g and of what was saved."""
    return lambda g, saved: function.backward(SimpleNamespace(saved_tensors=(saved,)), g)


FORMULAS = {
    "textbook": backward_of(blocks.blockwise(SigmoidFunction)),
    "accurate": accurate.sigmoid_backward,
    "value": lambda g, z: accurate.sigmoid(z),
}
EVERY_FORMULA = pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)


@EVERY_FORMULA
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("upstream", ["dense", "expanded", "strided"])
@pytest.mark.parametrize("shape", [(LARGE,), (LARGE // 7, 7), (3, 5, 101)], ids=str)
def test_blocks_change_no_bit(formula, dtype, upstream, shape, monkeypatch):
    g, z = tensors(*shape, dtype=dtype)
    if upstream == "expanded":  # what sum() hands down
        g = torch.ones((), dtype=dtype).expand(shape)
    if upstream == "strided":
        g = g.repeat_interleave(2, -1)[..., ::2]
    assert blocks.worth_cutting(g, z)
    in_blocks = formula(g, z)
    monkeypatch.setattr(blocks, "BLOCK", LARGE * 10)
    assert not blocks.worth_cutting(g, z)
    assert torch.equal(in_blocks, formula(g, z))
    assert in_blocks.stride() == z.stride()


def test_a_formula_that_is_not_pointwise_is_caught():
    class Shifted(SigmoidFunction):
        @staticmethod
        def backward(ctx, g):
            (z,) = ctx.saved_tensors
            return g * (z - z.max())

    g, z = tensors(LARGE)
    assert not torch.equal(backward_of(blocks.blockwise(Shifted))(g, z), backward_of(Shifted)(g, z))


def test_the_derivative_that_runs_is_the_one_on_the_first_page(monkeypatch):
    """bp.sigmoid asks SigmoidFunction.backward itself, in blocks or whole."""

    def planted(ctx, g):
        return torch.full_like(g, 7.0)

    monkeypatch.setattr(SigmoidFunction, "backward", staticmethod(planted))
    for size in (3, LARGE):
        z = torch.randn(size, requires_grad=True)
        (gradient,) = torch.autograd.grad(bp.sigmoid(z).sum(), z)
        assert (gradient == 7).all()


def test_small_and_strided_tensors_stay_whole():
    assert not blocks.worth_cutting(*tensors(8))
    assert not blocks.worth_cutting(*(t.t() for t in tensors(LARGE, 2)))


def batched(g, z):
    seen = []

    def function(row):
        seen.append(blocks.worth_cutting(row, z))
        return row

    torch.vmap(function)(torch.stack([g, g]))
    return seen[0]


def batched_by_autograd(g, z):
    """is_grads_batched has a vmap of its own."""
    seen = []

    class Watch(torch.autograd.Function):
        @staticmethod
        def forward(ctx, t):
            return t.clone()

        @staticmethod
        def backward(ctx, upstream):
            seen.append(blocks.worth_cutting(upstream, z))
            return upstream

    leaf = z.clone().requires_grad_()
    torch.autograd.grad(Watch.apply(leaf), leaf, torch.stack([g, g]), is_grads_batched=True)
    return seen[0]


def dual(g, z):
    with forward_ad.dual_level():
        return blocks.worth_cutting(g, forward_ad.make_dual(z, g))


def transformed(g, z):
    seen = []
    torch.func.grad(lambda t: seen.append(blocks.worth_cutting(g, t)) or t.sum())(z)
    return seen[0]


def traced(g, z):
    seen = []
    make_fx(lambda t: seen.append(blocks.worth_cutting(g, t)) or t + 1)(z)
    return seen[0]


def compiled(g, z):
    torch._dynamo.reset()
    return torch.compile(lambda t: t + blocks.worth_cutting(g, t), backend="eager", fullgraph=True)(
        z
    ).equal(z + 1)


WATCHED = {
    "a graph": lambda g, z: blocks.worth_cutting(g, z.clone().requires_grad_()),
    "a tangent": dual,
    "vmap": batched,
    "batched gradients": batched_by_autograd,
    "torch.func": transformed,
    "a trace": traced,
    "a compiler": compiled,
    "a subclass": lambda g, z: blocks.worth_cutting(g, FakeTensorMode().from_tensor(z)),
    "another device": lambda g, z: blocks.worth_cutting(g, z.to("meta")),
}


@pytest.mark.parametrize("watched", WATCHED.values(), ids=WATCHED)
@pytest.mark.filterwarnings("ignore")  # torch's compilers warn of themselves
def test_nothing_is_cut_under_the_eyes_of(watched):
    assert not watched(*tensors(LARGE))
