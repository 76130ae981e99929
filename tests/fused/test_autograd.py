import pytest
import torch
from batches import draw, draw_without_cancellation
from errors import in_eps
from tolerances import FUSED_EPS
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from truth import of_neuron

import bp_torch as bp
from bp_torch import fused
from bp_torch.fused import cpu

COSTS = ["quadratic", "cross-entropy"]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def leaves(batch, *names):
    """x, y, weight and bias, those named with requires_grad."""
    for name in names:
        getattr(batch, name).requires_grad_()
    return batch.tensors


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(5, 3), (33, 30), (6000, 70)], ids=str)
def test_all_gradients_are_exact(shape, dtype, cost, weighted):
    batch = draw_without_cancellation(*shape, dtype, cost, weighted=weighted)
    x, y, weight, bias = leaves(batch, "x", "y", "weight", "bias")
    value = bp.fused_cost(x, y, weight, bias, cost, sample_weight=batch.sample_weight)
    gradients = torch.autograd.grad(value, (weight, bias, x, y))
    for gradient, expected in zip(gradients, of_neuron(batch)[1:], strict=True):
        assert gradient.dtype == dtype
        if dtype == torch.float16 and abs(expected).max() < 1e-4:
            continue  # subnormal numbers, whose spacing is not that of rounding units
        assert in_eps(gradient, expected) <= FUSED_EPS


@pytest.mark.parametrize("cost", COSTS)
def test_gradcheck(cost):
    batch = draw(6, 3, torch.float64, cost)
    tensors = leaves(batch, "x", "y", "weight", "bias")
    assert torch.autograd.gradcheck(lambda *t: bp.fused_cost(*t, cost), tensors)


def test_gradcheck_catches_a_planted_mistake(monkeypatch):
    from bp_torch.fused import autograd

    def one_percent_too_large(given):
        cost, by_weight, by_bias = right(given)
        return cost, by_weight * 1.01, by_bias

    right = autograd.step
    monkeypatch.setattr(autograd, "step", one_percent_too_large)
    x, y, weight, bias = leaves(draw(6, 3, torch.float64), "weight", "bias")
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda w, b: bp.fused_cost(x, y, w, b), (weight, bias))


def test_upstream_gradient_scales():
    x, y, weight, bias = leaves(draw(40, 5, torch.float64), "weight", "bias")
    (bp.fused_cost(x, y, weight, bias) * 3).backward()
    _, by_weight, by_bias = fused.cost_and_gradients(x, y, weight, bias)
    assert torch.equal(weight.grad, 3 * by_weight)
    assert torch.equal(bias.grad, 3 * by_bias)


@pytest.mark.parametrize("wants", [("weight", "bias"), ("weight",), ("x",), ("y", "bias")])
def test_keeps_little_for_backward(wants):
    """D + 1 numbers, weight and bias, and two per sample only where x or y wants a gradient."""
    batch = draw(1000, 5, torch.float64)
    kept = []

    def keep(tensor):
        if tensor.data_ptr() not in {t.data_ptr() for t in batch.tensors}:
            kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        bp.fused_cost(*leaves(batch, *wants))
    by_row = 2 * 1000 if set(wants) & {"x", "y"} else 0
    assert sum(kept) == 5 + 1 + by_row


def test_any_optimizer_takes_it():
    x, y, weight, bias = leaves(draw(200, 5, torch.float32), "weight", "bias")
    optimizer = torch.optim.LBFGS([weight, bias], line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        cost = bp.fused_cost(x, y, weight, bias, "cross-entropy")
        cost.backward()
        return cost

    first = closure().item()
    optimizer.step(closure)
    assert closure().item() < first
    assert weight.grad.norm() < 1e-3


def cost_of(batch):
    return lambda weight: bp.fused_cost(batch.x, batch.y, weight, batch.bias)


@pytest.mark.parametrize("again", ["weight", "bias", "x"])
def test_a_second_derivative_is_refused(again):
    """It would be 0 in silence otherwise, as for a penalty on the gradient."""
    batch = draw(20, 3, torch.float64)
    value = bp.fused_cost(*leaves(batch, "x", "weight", "bias"))
    (first,) = torch.autograd.grad(value, batch.weight, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"first derivatives only.*quadratic_cost"):
        torch.autograd.grad(first.norm() + value, getattr(batch, again))


def test_the_operator_refuses_a_second_derivative_as_well():
    """It is called by itself in an exported program."""
    batch = draw(20, 3, torch.float64)
    tensors = leaves(batch, "weight")
    value = torch.ops.bp_torch.fused_step(*tensors, batch.cost, None, False)[0]
    (first,) = torch.autograd.grad(value, batch.weight, create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        torch.autograd.grad(first.norm(), batch.weight)


CALLS = {"step": lambda *t: fused.cost_and_gradients(*t)[0], "cost": lambda *t: bp.fused_cost(*t)}


class Module(torch.nn.Module):
    """What torch.export wants."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, *tensors):
        return self.call(*tensors)


RECORDERS = {
    "make_fx": lambda call, tensors: make_fx(call)(*tensors),
    "jit.trace": torch.jit.trace,
    "export": lambda call, tensors: torch.export.export(Module(call), tensors).module(),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.* is deprecated")
@pytest.mark.parametrize("recorder", RECORDERS.values(), ids=RECORDERS)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_is_recorded_is_the_operator_and_no_numbers(call, recorder):
    """Numbers of this call, as constants, would be wrong in the next."""
    one, other = draw(20, 3, torch.float64), draw(20, 3, torch.float64)
    recorded = recorder(call, one.tensors)
    assert torch.equal(recorded(*other.tensors), call(*other.tensors))
    assert not torch.equal(recorded(*other.tensors), call(*one.tensors))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_fake_tensors_give_fake_results(call):
    with FakeTensorMode() as mode:
        result = call(*map(mode.from_tensor, draw(20, 3, torch.float64).tensors))
    assert isinstance(result, FakeTensor)
    assert result.shape == ()


def test_torch_func_is_right_or_refused():
    batch = draw(20, 3, torch.float64)
    f, w = cost_of(batch), batch.weight
    expected = fused.cost_and_gradients(*batch.tensors)[1]
    assert torch.equal(torch.func.grad(f)(w), expected)
    assert torch.equal(torch.func.vjp(f, w)[1](torch.ones((), dtype=w.dtype))[0], expected)
    assert torch.allclose(torch.func.jacrev(f)(w), expected)
    for refused in (torch.func.hessian(f), torch.func.jacrev(torch.func.jacrev(f))):
        with pytest.raises((NotImplementedError, RuntimeError)):
            refused(w)
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(f, (w,), (w,))
    with pytest.raises(RuntimeError, match="vmap"):
        torch.func.vmap(f)(torch.stack((w, w)))
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="jvp"):
        f(forward_ad.make_dual(w, w))


def test_the_plain_step_follows_no_graph_and_no_transform():
    batch = draw(20, 3, torch.float64)
    results = fused.cost_and_gradients(*leaves(batch, "x", "weight", "bias"))
    assert not any(result.requires_grad for result in results)
    with pytest.raises(RuntimeError, match="under a transform of"):
        torch.func.vmap(lambda w: fused.cost_and_gradients(batch.x, batch.y, w, batch.bias))(
            torch.zeros(2, 3).double()
        )


@pytest.mark.parametrize("wants", [("weight", "bias"), ("x", "y", "weight")])
def test_compiles_as_one_operator(wants):
    batch = draw(20, 3, torch.float64, "cross-entropy")
    tensors = leaves(batch, *wants)
    asked = [getattr(batch, name) for name in wants]
    compiled = torch.compile(bp.fused_cost, fullgraph=True)
    for actual, expected in zip(
        torch.autograd.grad(compiled(*tensors, batch.cost), asked),
        torch.autograd.grad(bp.fused_cost(*tensors, batch.cost), asked),
        strict=True,
    ):
        assert torch.equal(actual, expected)
    plain = torch.compile(fused.cost_and_gradients, fullgraph=True)(*tensors)
    for actual, expected in zip(plain, fused.cost_and_gradients(*tensors), strict=True):
        assert torch.equal(actual, expected)
        assert not actual.requires_grad


# torch 2.14's own check reads the gradient of what is no leaf, and torch warns of it.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("by_row", [False, True])
def test_the_operator_passes_opcheck(by_row):
    batch = draw(8, 3, torch.float32, weighted=True)
    tensors = leaves(batch, "x", "weight")
    arguments = (*tensors, batch.cost, batch.sample_weight, by_row)
    torch.library.opcheck(torch.ops.bp_torch.fused_step.default, arguments)


def test_sample_weights_have_no_gradient():
    x, y, weight, bias = draw(8, 3, torch.float32).tensors
    with pytest.raises(ValueError, match="no gradient here"):
        bp.fused_cost(x, y, weight, bias, sample_weight=torch.ones(8, requires_grad=True))


def test_bad_input_is_refused_as_by_the_step():
    with pytest.raises(TypeError, match="x must be a floating-point tensor"):
        bp.fused_cost([[1.0]], torch.zeros(1), torch.zeros(1), torch.zeros(()))
    with pytest.raises(TypeError, match="sample_weight must be a floating-point tensor"):
        bp.fused_cost(*draw(8, 3, torch.float32).tensors, sample_weight=[1.0] * 8)


# One number; rows shorter than a vector; longer; whole blocks; several chunks, cut small for it.
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(
    ("shape", "chunk"),
    [((1, 1), 512), ((8, 3), 512), ((33, 17), 512), ((32, 16), 512), ((40, 17), 16)],
    ids=str,
)
def test_compare_proves_it(shape, chunk, cost, monkeypatch):
    """Held against autograd and the truth, for gradients by x, weight and bias."""
    monkeypatch.setattr(cpu, "LEAST_ROWS", chunk)
    monkeypatch.setattr(cpu, "CHUNK", 0)
    batch = draw(*shape, torch.float32)

    def reference(x, weight, bias):
        z, y = x @ weight + bias, batch.y.to(x.dtype)
        if cost == "quadratic":
            return bp.quadratic_cost(torch.sigmoid(z), y)
        return torch.nn.functional.binary_cross_entropy_with_logits(z, y)

    def ours(x, weight, bias):
        return bp.fused_cost(x, batch.y.to(x.dtype), weight, bias, cost).to(x.dtype)

    inputs = (batch.x, batch.weight, batch.bias)
    report = bp.compare(ours, reference, inputs=inputs, compile=False)
    assert report.ok, str(report)


def test_compare_names_a_planted_mistake(monkeypatch):
    from bp_torch.fused import autograd

    def without_x(given):
        cost, by_weight, by_bias, rows = right(given)
        return cost, by_bias.expand_as(by_weight), by_bias, rows

    right = autograd.step_with_rows
    monkeypatch.setattr(autograd, "step_with_rows", without_x)
    batch = draw(8, 3, torch.float64)
    report = bp.compare(
        lambda x, w, b: bp.fused_cost(x, batch.y.to(x.dtype), w, b).to(x.dtype),
        lambda x, w, b: bp.quadratic_cost(torch.sigmoid(x @ w + b), batch.y.to(x.dtype)),
        inputs=(batch.x, batch.weight, batch.bias),
        compile=False,
    )
    assert not report.ok
    assert str(report.diagnosis) == "the gradient of w lacks the factor x"
