"""The accurate form against 50 digits and against itself. Every float32 is tried by
`python scripts/benchmarks accuracy`."""

import pytest
import torch
from errors import tally
from tolerances import ACCURATE_ULP
from truth import bit_patterns, float64_samples, of_sigmoid

import bp_torch as bp
from bp_torch.precise import formulas as accurate

DTYPES = pytest.mark.parametrize("dtype", ACCURATE_ULP, ids=lambda dtype: str(dtype)[6:])


def numbers(dtype):
    """Every bit pattern of the 16-bit types; a sample of all binades of float32, and of float64."""
    if dtype == torch.float64:
        return float64_samples(3_000)
    bits = 8 * dtype.itemsize
    return bit_patterns(0, 2**bits, 2 ** (bits - 16), dtype)


def derivatives(z, form="accurate"):
    z = z.detach().requires_grad_()
    value = bp.sigmoid(z, form)
    (prime,) = torch.autograd.grad(value, z, torch.ones_like(z), create_graph=True)
    (second,) = torch.autograd.grad(prime, z, torch.ones_like(z))
    return {"σ": value.detach(), "σ′": prime.detach(), "σ″": second}


def same(a, b):
    return torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) and torch.equal(a.isnan(), b.isnan())


@DTYPES
@pytest.mark.parametrize("quantity", ["σ", "σ′", "σ″"])
def test_error_is_within_the_bars(dtype, quantity):
    z = numbers(dtype)
    seen = tally(derivatives(z)[quantity], of_sigmoid(quantity, z), z)
    assert seen.max_ulp <= ACCURATE_ULP[dtype][quantity]
    assert seen.zeros == 0
    assert seen.off == 0


@DTYPES
def test_the_textbooks_derivative_is_not_within_them(dtype):
    z = numbers(dtype)
    seen = tally(derivatives(z, "textbook")["σ′"], of_sigmoid("σ′", z), z)
    assert seen.max_ulp > 100
    assert seen.zeros > 0
    assert seen.off > 0


@pytest.mark.parametrize(
    ("dtype", "fault"),
    [(torch.float16, "max_ulp"), (torch.bfloat16, "zeros")],
    ids=["float16 is off by more", "bfloat16 is 0 where it should not be"],
)
def test_the_next_precision_up_is_not_enough_for_16_bits(dtype, fault):
    z = numbers(dtype)
    through_float32 = (1 / (1 + torch.exp(-z.float()))).to(dtype)
    seen = tally(through_float32, of_sigmoid("σ", z), z)
    assert getattr(seen, fault) > {"max_ulp": 0.5001, "zeros": 0}[fault]


@DTYPES
def test_derivative_is_even_to_the_bit(dtype):
    z = numbers(dtype)
    assert same(derivatives(z)["σ′"], derivatives(-z)["σ′"])


@DTYPES
@pytest.mark.parametrize("quantity", ["σ", "σ′", "σ″"])
def test_nan_stays_and_infinity_saturates(dtype, quantity):
    z = torch.tensor([torch.nan, torch.inf, -torch.inf], dtype=dtype)
    limits = {"σ": (1.0, 0.0), "σ′": (0.0, 0.0), "σ″": (0.0, 0.0)}
    actual = derivatives(z)[quantity]
    assert actual[0].isnan()
    assert tuple(actual[1:].tolist()) == limits[quantity]


def in_pieces(function, z):
    """Of many lengths, so that each element stands at many places in a vector register."""
    sizes = [1, 2, 3, 5, 7, 8, 15, 17, 31, 33, 64, 100]
    repeated = (sizes * (len(z) // sum(sizes) + 1))[: len(z)]
    ends = torch.tensor(repeated).cumsum(0)
    return torch.cat([function(piece) for piece in z.tensor_split(ends[ends < len(z)])])


def strided(function, z):
    return function(z.repeat_interleave(3)[1::3])


def on_one_thread(function, z):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(z)
    finally:
        torch.set_num_threads(threads)


def backwards(function, z):
    return function(z.flip(0)).flip(0)


@DTYPES
@pytest.mark.parametrize("quantity", ["σ", "σ′", "σ″"])
@pytest.mark.parametrize("way", [in_pieces, strided, on_one_thread, backwards])
def test_the_same_input_gives_the_same_bits(dtype, quantity, way):
    z = torch.cat([numbers(dtype), torch.randn(100_000).to(dtype)])  # large enough for threads

    def function(piece):
        return derivatives(piece)[quantity]

    assert same(way(function, z), function(z))


def test_a_sigmoid_that_looks_at_its_neighbours_is_caught():
    def shifted(z):  # by the batch's maximum, as a softmax does against overflow
        largest = z.max()
        return torch.exp(z - largest) / (torch.exp(z - largest) + torch.exp(-largest))

    z = torch.randn(1_000)
    assert not same(in_pieces(shifted, z), shifted(z))


@pytest.mark.parametrize("form", ["operations", "function"])
def test_differentiated_by_torch_itself_it_loses_nothing_either(form):
    z = torch.linspace(-100, 100, 4001)
    function = accurate.sigmoid if form == "operations" else bp.sigmoid
    leaf = z.clone().requires_grad_()
    (prime,) = torch.autograd.grad(function(leaf).sum(), leaf)
    seen = tally(prime, of_sigmoid("σ′", z), z)
    assert (seen.max_ulp <= 0.5001) == (form == "operations")


def test_in_float64_torch_differentiates_it_far_on_the_left_as_well():
    z = torch.tensor([-1000.0, -740.0, -700.0, -40.0, 0.0, 40.0, 700.0], dtype=torch.float64)
    leaf = z.clone().requires_grad_()
    (prime,) = torch.autograd.grad(accurate.sigmoid(leaf).sum(), leaf)
    torch.testing.assert_close(prime, accurate.sigmoid_prime(z), rtol=1e-14, atol=1e-322)


@pytest.mark.parametrize(
    ("dtype", "w"),
    [(torch.float32, 20.0), (torch.bfloat16, 7.0)],
    ids=["float32, w = 20", "bfloat16, w = 7"],
)
@pytest.mark.parametrize("form", ["textbook", "accurate"])
def test_a_neuron_that_is_confidently_wrong_learns_only_with_the_accurate_form(form, dtype, w):
    neuron = bp.Neuron(1, form, dtype=dtype)
    torch.nn.init.constant_(neuron.weight, w)
    x, target = torch.ones(1, 1, dtype=dtype), torch.zeros(1, dtype=dtype)
    optimizer = torch.optim.Adam(neuron.parameters(), lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        bp.quadratic_cost(neuron(x), target).backward()
        optimizer.step()
    if form == "textbook":
        assert neuron.weight.item() == w
        assert neuron(x).item() == 1
    else:
        assert neuron(x).item() < 0.1
