"""The corpus keeps its word: what is called right is right, and what is wrong is so as it says."""

import pytest
import torch
from corpus import CASES, CODES, fresh_inputs

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

# What one gradient at one point does not show, or not with a contiguous upstream gradient.
SPECIAL = {"side-effect", "storage-order", "second-derivative", "forward", "nondeterministic"}

# Right versions round at most this many times the unit of the largest entry (10 in the network,
# where two layers' roundings add up), wrong ones are off by more.
ROUNDING_EPS = 40

RIGHT = list({case.right: case for case in CASES}.values())  # one case for each right version


def of_kind(*codes):
    cases = [case for case in CASES if case.mistake in codes]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def every(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def upstream_like(value, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(value.shape, dtype=torch.float64, generator=generator).to(value.dtype)


def gradients(function, inputs, upstream=None, **options):
    value = function(*inputs)
    upstream = upstream_like(value) if upstream is None else upstream
    return torch.autograd.grad(value, inputs, upstream, **options)


def difference(one, other):
    """The largest, relative to the largest entry of the same tensor of `other`; inf for a NaN."""

    def relative(a, b):
        a, b = a.detach().double(), b.detach().double()
        return ((a - b).abs().max() / b.abs().max()).nan_to_num(nan=torch.inf).item()

    return max(relative(a, b) for a, b in zip(one, other, strict=True))


def moderate(case):
    """The inputs scaled down to 3: where the functions bend, and far from any overflow."""
    inputs = case.inputs(torch.Generator().manual_seed(0))
    scales = (3 / max(3.0, tensor.abs().max().item()) for tensor in inputs)
    return tuple(
        (tensor * scale).requires_grad_() for tensor, scale in zip(inputs, scales, strict=True)
    )


def test_it_is_large_and_names_every_mistake():
    names = [case.name for case in CASES]
    assert len(names) >= 44
    assert len(set(names)) == len(names)
    assert {case.mistake for case in CASES} == set(CODES)
    families = {"elementwise", "neuron", "layer", "network", "reduction"}
    assert {case.family for case in CASES} == families


@every(CASES)
def test_inputs_are_small_named_and_reproducible(case):
    inputs = fresh_inputs(case)
    assert len(inputs) == len(case.names)
    assert all(tensor.dtype == torch.float64 and tensor.numel() <= 200 for tensor in inputs)
    assert sum(tensor.numel() for tensor in inputs) >= 10
    assert all(map(torch.equal, inputs, fresh_inputs(case)))
    assert not any(map(torch.equal, inputs, fresh_inputs(case, seed=1)))


@every(CASES)
def test_right_version_is_the_reference(case):
    inputs = fresh_inputs(case)
    close = {"rtol": 1e-10, "atol": 1e-14}
    torch.testing.assert_close(case.right(*inputs), case.reference(*inputs), **close)
    expected = gradients(case.reference, inputs)
    torch.testing.assert_close(gradients(case.right, inputs), expected, **close)


@every(CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_right_version_is_right_in_every_dtype(case, dtype):
    inputs = fresh_inputs(case, dtype)
    exact = tuple(tensor.detach().double().requires_grad_() for tensor in inputs)
    upstream = upstream_like(case.right(*inputs))
    actual = gradients(case.right, inputs, upstream)
    assert all(gradient.dtype == dtype for gradient in actual)
    expected = gradients(case.reference, exact, upstream.double())
    assert difference(actual, expected) <= ROUNDING_EPS * torch.finfo(dtype).eps


@every(RIGHT)
def test_right_version_reads_the_upstream_gradient_in_every_layout(case):
    inputs = fresh_inputs(case)
    for upstream in layouts(case.right(*inputs)):
        before = upstream.clone()
        expected = gradients(case.reference, inputs, upstream)
        assert difference(gradients(case.right, inputs, upstream), expected) <= 1e-12
        assert torch.equal(upstream, before)


def layouts(value):
    """Upstream gradients stored by columns, with gaps, and with all rows in one place."""
    dense = upstream_like(value)
    yield dense.t().contiguous().t()
    yield torch.stack((dense, dense), dim=-1)[..., 0]
    yield dense[:1].expand_as(dense) if dense.ndim else dense


@every(RIGHT)
def test_gradcheck_and_gradgradcheck_accept_the_right_version(case):
    inputs = moderate(case)
    assert torch.autograd.gradcheck(case.right, inputs, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(case.right, inputs)


@of_kind(*set(CODES) - SPECIAL)
def test_wrong_gradient_is_far_from_the_right_one(case):
    inputs = fresh_inputs(case)
    assert torch.equal(case.wrong(*inputs), case.right(*inputs))
    wrong = gradients(case.wrong, inputs)
    assert difference(wrong, gradients(case.reference, inputs)) > 1e-10


@of_kind(*set(CODES) - SPECIAL)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_mistake_can_be_seen_where_it_is_said_to_be(case, dtype):
    inputs = fresh_inputs(case, dtype)
    exact = tuple(tensor.detach().double().requires_grad_() for tensor in inputs)
    upstream = upstream_like(case.right(*inputs))
    expected = gradients(case.reference, exact, upstream.double())
    right, wrong = (
        difference(gradients(function, inputs, upstream), expected)
        for function in (case.right, case.wrong)
    )
    seen = wrong > 3 * max(right, torch.finfo(dtype).eps)
    assert seen == (dtype not in case.invisible_in)


@of_kind("overflow")
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_overflow_is_one(case, dtype):
    inputs = fresh_inputs(case, dtype)
    assert not all(gradient.isfinite().all() for gradient in gradients(case.wrong, inputs))
    assert all(gradient.isfinite().all() for gradient in gradients(case.right, inputs))
    # and nothing else: where z is moderate, the formula is right
    inputs = moderate(case)
    expected = gradients(case.reference, inputs)
    assert difference(gradients(case.wrong, inputs), expected) < 1e-12


@of_kind("sign")
def test_negated_gradient_is_right_but_for_its_sign(case):
    inputs = fresh_inputs(case)
    negated = tuple(-gradient for gradient in gradients(case.wrong, inputs))
    assert difference(negated, gradients(case.reference, inputs)) < 1e-12


@of_kind("factor")
def test_factor_is_one_number_for_each_gradient(case):
    inputs = fresh_inputs(case)
    for seed in (1, 2):
        upstream = upstream_like(case.right(*inputs), seed)
        actual = gradients(case.wrong, inputs, upstream)
        expected = gradients(case.reference, inputs, upstream)
        for one, other in zip(actual, expected, strict=True):
            factors = one / other
            assert (factors - factors.mean()).abs().max() < 1e-9 * factors.mean()


@of_kind("upstream-ignored")
def test_ignored_upstream_is_right_where_it_is_one(case):
    inputs = fresh_inputs(case)
    ones = torch.ones_like(case.right(*inputs))
    expected = gradients(case.reference, inputs, ones)
    assert difference(gradients(case.wrong, inputs, ones), expected) < 1e-12


@of_kind("transposed")
def test_transposed_gradient_is_right_when_transposed_back(case):
    inputs = fresh_inputs(case)
    wrong, right = gradients(case.wrong, inputs), gradients(case.reference, inputs)
    back = [
        a.t() if difference((a,), (b,)) > 1e-12 else a for a, b in zip(wrong, right, strict=True)
    ]
    assert difference(back, right) < 1e-12


@of_kind("swapped")
def test_swapped_gradients_are_the_right_ones_in_another_order(case):
    inputs = fresh_inputs(case)
    wrong, right = (
        sorted(gradients(function, inputs), key=lambda gradient: (gradient.shape, gradient.sum()))
        for function in (case.wrong, case.reference)
    )
    assert difference(wrong, right) < 1e-12


@of_kind("region")
def test_region_is_neither_empty_nor_everything(case):
    inputs = fresh_inputs(case)
    pairs = zip(gradients(case.wrong, inputs), gradients(case.reference, inputs), strict=True)
    right = torch.cat([torch.isclose(a, b, rtol=1e-10).flatten() for a, b in pairs])
    assert 0.3 < right.double().mean() < 0.99


@of_kind("precision")
def test_lost_precision_is_all_that_is_lost(case):
    inputs = fresh_inputs(case)
    wrong, right = gradients(case.wrong, inputs), gradients(case.reference, inputs)
    assert 1e-9 < difference(wrong, right) < 0.02


@of_kind("side-effect")
def test_something_is_overwritten_and_the_first_result_right(case):
    inputs = fresh_inputs(case)
    value, expected = case.right(*inputs).detach(), gradients(case.reference, inputs)
    used, upstream = fresh_inputs(case), upstream_like(value)
    output = case.wrong(*used)
    assert difference((output,), (value,)) < 1e-12
    actual = torch.autograd.grad(output, used, upstream, retain_graph=True)
    assert difference(actual, expected) < 1e-12
    before = (*inputs, upstream_like(value), value)
    assert difference((*used, upstream, output), before) > 0.01


@of_kind("storage-order")
def test_storage_order_is_right_for_a_contiguous_upstream_and_wrong_for_others(case):
    inputs = fresh_inputs(case)
    assert difference(gradients(case.wrong, inputs), gradients(case.reference, inputs)) < 1e-12
    by_columns, with_gaps, expanded = layouts(case.right(*inputs))
    for upstream in (by_columns, with_gaps):
        if not upstream.is_contiguous():  # a vector has no columns
            expected = gradients(case.reference, inputs, upstream)
            assert difference(gradients(case.wrong, inputs, upstream), expected) > 0.01
    expected = gradients(case.reference, inputs, expanded)
    assert difference(gradients(case.wrong, inputs, expanded), expected) < 1e-12


@of_kind("nondeterministic")
def test_nondeterministic_gradient_varies_and_leaves_the_global_generator_alone(case):
    inputs, state = fresh_inputs(case), torch.get_rng_state()
    results = [gradients(case.wrong, inputs) for _ in range(8)]
    assert max(difference(result, results[0]) for result in results) > 0.005
    assert torch.equal(torch.get_rng_state(), state)


@of_kind("second-derivative")
def test_second_derivative_is_wrong_and_the_first_right(case):
    inputs = fresh_inputs(case)

    def first_and_second(function):
        first = gradients(function, inputs, create_graph=True)
        along = sum((gradient * upstream_like(gradient, 2)).sum() for gradient in first)
        return first, torch.autograd.grad(along, inputs)

    (first, second), (right_first, right_second) = map(
        first_and_second, (case.wrong, case.reference)
    )
    assert difference(first, right_first) < 1e-12
    assert difference(first_and_second(case.right)[1], right_second) < 1e-10
    assert difference(second, right_second) > 0.01


@of_kind("forward")
def test_forward_is_off_by_5_percent_and_its_gradient_right(case):
    inputs = fresh_inputs(case)
    assert difference((case.wrong(*inputs),), (case.reference(*inputs),)) > 0.045
    assert difference(gradients(case.wrong, inputs), gradients(case.reference, inputs)) < 1e-12
