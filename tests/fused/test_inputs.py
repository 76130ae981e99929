"""What a step takes, and what it refuses with one clear line before it does anything."""

import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from batches import agrees, draw, draw_without_cancellation
from torch._subclasses import FakeTensorMode

import bp_torch as bp
from bp_torch import fused
from bp_torch.fused import cpu

NAN, INF = torch.nan, torch.inf

WRONG = {
    "x must be a floating-point tensor": {"x": [[1.0]]},
    "y must be a floating-point tensor": {"y": torch.zeros(4, dtype=torch.int64)},
    r"x must have shape \(N, D\).*\(3,\)": {"x": torch.zeros(3)},
    "at least one sample": {"x": torch.zeros(0, 3), "y": torch.zeros(0)},
    "at least one feature": {"x": torch.zeros(4, 0), "weight": torch.zeros(0)},
    r"y must have shape \(4,\).*\(4, 1\)": {"y": torch.zeros(4, 1)},
    r"weight must have shape \(3,\).*\(2,\)": {"weight": torch.zeros(2)},
    r"bias must have shape \(\).*\(1,\)": {"bias": torch.zeros(1)},
    "weight must be torch.float32.*torch.float64": {"weight": torch.zeros(3).double()},
    "x must be torch.float64 or .*float8": {"x": torch.zeros(4, 3).to(torch.float8_e5m2)},
    "next to each other.*contiguous": {"x": torch.zeros(3, 4).t()},
    "x must be a dense tensor.*to_dense": {"x": torch.zeros(4, 3).to_sparse()},
    "x must be on a CPU or CUDA device": {"x": torch.zeros(4, 3, device="meta")},
    "y must be on cpu as x is": {"y": torch.zeros(4, device="meta")},
    "cost must be one of quadratic": {"cost": "hinge"},
    r"sample_weight must have shape \(4,\)": {"sample_weight": torch.ones(3)},
    "sample_weight must be torch.float32": {"sample_weight": torch.ones(4).double()},
    "sample_weight must be a floating-point tensor.*list": {"sample_weight": [1.0] * 4},
    "not negative, got -1 at index 2": {"sample_weight": torch.tensor([1.0, 0.0, -1.0, -2.0])},
    "finite and not negative, got nan at index 1": {"sample_weight": torch.tensor([0, NAN, -1, 1])},
    "finite and not negative, got inf at index 3": {"sample_weight": torch.tensor([1, 1, 1, INF])},
    "positive for at least one sample": {"sample_weight": torch.zeros(4)},
    "bias must be a floating-point tensor, got float": {"bias": 0.0},
    "y must be a floating-point tensor, got NoneType": {"y": None},
    "x must be a floating-point tensor, got ndarray": {"x": np.zeros((4, 3))},
    "x must be a floating-point tensor.*complex64": {"x": torch.zeros(4, 3, dtype=torch.complex64)},
    "weight must be torch.float64 or .*float8": {"weight": torch.zeros(3).to(torch.float8_e4m3fn)},
    "y must be a dense tensor.*to_dense": {"y": torch.zeros(4).to_sparse()},
    r"cost must be one of.*\['quadratic'\]": {"cost": ["quadratic"]},
    "cost must be one of.*None": {"cost": None},
}


@pytest.mark.parametrize("message", WRONG)
def test_bad_input_gets_one_clear_line(message):
    good = {"x": torch.zeros(4, 3), "y": torch.zeros(4), "weight": torch.zeros(3)}
    good |= {"bias": torch.zeros(()), "cost": "quadratic"}
    fused.cost_and_gradients(**good)
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        fused.cost_and_gradients(**(good | WRONG[message]))
    assert "\n" not in str(caught.value)


NAMES = ("x", "y", "weight", "bias", "sample_weight")


def arguments(batch):
    return dict(zip(NAMES, (*batch.tensors, batch.sample_weight), strict=True))


def batch_of_ours():
    batch = draw_without_cancellation(12, 5, torch.float32, "quadratic", weighted=True)
    return replace(batch, y=torch.full_like(batch.y, 0.01))  # less than any ŷ here


# The same numbers, of which their negatives lie in memory: side by side, and with gaps.
NEGATED = {
    "neg_view": lambda tensor: torch._neg_view(-tensor),
    "conj().imag": lambda tensor: torch.complex(torch.zeros_like(tensor), -tensor).conj().imag,
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("negated", "name"),
    [pair for pair in product(NEGATED, NAMES) if pair != ("conj().imag", "x")],  # x has no gaps
)
def test_what_is_negated_lazily_counts_as_it_reads(negated, name, weighted):
    batch = batch_of_ours()
    batch = batch if weighted or name == "sample_weight" else replace(batch, sample_weight=None)
    given = arguments(batch)
    given[name] = NEGATED[negated](given[name])
    assert given[name].is_neg()
    assert torch.equal(given[name], arguments(batch)[name])
    assert agrees(fused.cost_and_gradients(**given), batch)


@pytest.mark.parametrize("negated", NEGATED.values(), ids=NEGATED)
def test_what_is_negated_in_place_stays_so(negated):
    batch = batch_of_ours()
    weight, bias = negated(batch.weight), negated(batch.bias)
    plain = weight.clone(), bias.clone()
    for parameters in ((weight, bias), plain):
        fused.sgd_epoch(batch.x, batch.y, *parameters, 0.5, 4)
    assert weight.is_neg()
    assert torch.equal(weight, plain[0])
    assert torch.equal(bias, plain[1])


def freed(tensor):
    """A view into a storage that has been emptied, as sharded training does."""
    view = torch.stack((tensor, tensor))[1]
    view.untyped_storage().resize_(0)
    return view


def fake(tensor):
    with FakeTensorMode() as mode:
        return mode.from_tensor(tensor)


def masked(tensor):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls them a prototype
        return torch.masked.masked_tensor(tensor, tensor == tensor)


class Scaled(torch.Tensor):
    """Whose numbers are others than those in its memory."""

    @staticmethod
    def __new__(cls, tensor):
        return torch.Tensor._make_subclass(cls, tensor)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        plain = torch.utils._pytree.tree_map_only(cls, lambda t: t.as_subclass(torch.Tensor), args)
        return function(*plain, **(kwargs or {}))


WITHOUT_NUMBERS = {
    "zeros that are not there": lambda tensor: torch._efficientzerotensor(tensor.shape),
    "functionalised": torch._to_functional_tensor,
    "fake": fake,
    "freed": freed,
    "masked": masked,
    "of a type of its own": Scaled,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning")
@pytest.mark.parametrize("without", WITHOUT_NUMBERS.values(), ids=WITHOUT_NUMBERS)
def test_what_has_no_numbers_in_memory_is_refused(without, name):
    given = arguments(batch_of_ours())
    given[name] = without(given[name])
    if name != "sample_weight":
        del given["sample_weight"]  # the short way in
    message = f"^{name} must be a tensor whose numbers lie in memory"
    for call in (fused.cost_and_gradients, bp.fused_cost):
        with pytest.raises((TypeError, ValueError), match=message):
            call(**given)
    with pytest.raises((TypeError, ValueError), match=message):
        fused.sgd_epoch(**given, learning_rate=0.1, batch_size=4)


@pytest.mark.parametrize("name", ["x", "weight"])
def test_what_has_a_layout_of_its_own_is_refused(name):
    given = arguments(replace(batch_of_ours(), sample_weight=None))
    given[name] = given[name].to_mkldnn()
    with pytest.raises(TypeError, match=name):
        fused.cost_and_gradients(**given)


def test_the_kernels_get_no_low_address_unseen(monkeypatch):
    """Where memory lies low, every tensor is looked into, and is right all the same."""
    monkeypatch.setattr(cpu, "SUSPECT", 2**64)
    batch = batch_of_ours()
    assert agrees(fused.cost_and_gradients(**arguments(batch)), batch)


def results(batch):
    """All that the package gives of a batch."""
    parameters = batch.weight.clone().requires_grad_(), batch.bias.clone().requires_grad_()
    value = bp.fused_cost(batch.x, batch.y, *parameters, sample_weight=batch.sample_weight)
    gradients = torch.autograd.grad(value, parameters) if value.requires_grad else ()
    weight, bias = batch.weight.clone(), batch.bias.clone()
    mean = fused.sgd_epoch(batch.x, batch.y, weight, bias, 0.5, 4)
    step = fused.cost_and_gradients(**arguments(batch))
    return [*step, value.detach(), weight, bias, mean, *gradients]


@pytest.fixture
def _default_dtype_as_before():
    yield
    torch.set_default_dtype(torch.float32)


def float64_by_default():
    torch.set_default_dtype(torch.float64)
    return torch.enable_grad()


MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "a default device of meta": lambda: torch.device("meta"),
    "a default dtype of float64": float64_by_default,
    "autocast": lambda: torch.autocast("cpu"),
}


@pytest.mark.usefixtures("_default_dtype_as_before")
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("samples", [12, 20_000])
def test_the_bits_depend_on_no_mode(samples, dtype, mode):
    batch = draw(samples, 20, dtype, weighted=True)
    expected = results(batch)
    with mode():
        actual = results(batch)
        assert all(a.device.type == "cpu" for a in actual)
    for a, e in zip(actual, expected, strict=False):  # without gradients where there is no graph
        assert a.dtype == e.dtype
        assert torch.equal(a, e)


def test_imported_in_inference_mode_it_still_knows_what_is_plain():
    code = """
import torch
with torch.inference_mode():
    import bp_torch
from bp_torch import quirks
assert quirks.is_plain(torch.ones(2))
assert not quirks.is_plain(torch._neg_view(torch.ones(2)))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
