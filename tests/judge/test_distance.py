import pytest
import torch

from bp_torch.judge.distance import relative_distance, ulp_distance

DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16]
)


def distance(actual, reference, dtype):
    return ulp_distance(torch.tensor(actual, dtype=dtype), torch.tensor(reference, dtype=dtype))


@DTYPES
@pytest.mark.parametrize("value", [1.0, -1.0, 0.1, -3.0, 1000.0])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_counts_representable_steps_away_from_zero(dtype, value, steps):
    reference = torch.tensor(value, dtype=dtype)
    actual = reference
    for _ in range(steps):
        actual = torch.nextafter(actual, actual * 2)
    assert ulp_distance(actual, reference) == steps


@DTYPES
def test_is_measured_in_the_references_units(dtype):
    """Below a power of two the steps are half as wide."""
    below = torch.nextafter(torch.tensor(1.0, dtype=dtype), torch.tensor(0.0, dtype=dtype))
    assert ulp_distance(below, torch.tensor(1.0, dtype=dtype)) == 0.5
    assert ulp_distance(torch.tensor(1.0, dtype=dtype), below) == 1


@DTYPES
def test_special_values(dtype):
    inf, nan = torch.inf, torch.nan
    assert distance([0.0, nan, inf, -inf], [-0.0, nan, inf, -inf], dtype).tolist() == [0] * 4
    assert distance([nan, 1.0, inf, 1.0, inf], [1.0, nan, 1.0, inf, -inf], dtype).isinf().all()


@DTYPES
def test_around_zero_the_unit_is_the_smallest_subnormal_number(dtype):
    smallest = torch.finfo(dtype).tiny * torch.finfo(dtype).eps
    assert distance([3 * smallest], [0.0], dtype).item() == 3


@DTYPES
def test_the_largest_number_has_a_unit(dtype):
    largest = torch.finfo(dtype).max
    assert distance([largest], [largest], dtype) == 0
    below = torch.nextafter(torch.tensor(largest, dtype=dtype), torch.tensor(0.0, dtype=dtype))
    assert ulp_distance(below, torch.tensor(largest, dtype=dtype)) == 1


@pytest.mark.parametrize(
    ("actual", "reference"),
    [(torch.zeros(2), torch.zeros(3)), (torch.zeros(2), torch.zeros(2).double())],
    ids=["shape", "dtype"],
)
def test_tensors_that_cannot_be_compared_are_refused(actual, reference):
    with pytest.raises(ValueError, match="one shape and dtype"):
        ulp_distance(actual, reference)


def test_the_relative_distance_is_relative_to_the_largest_entry_of_its_kind():
    def error(actual, expected):
        return relative_distance({"x": torch.tensor(actual)}, {"x": torch.tensor(expected)})[0]

    nan, inf = torch.nan, torch.inf
    assert error([4.0, 1.0], [4.0, 2.0]) == 0.25
    assert error([0.5], [0.0]) == 0.5
    assert error([nan, inf, 1.0], [nan, inf, 1.0]) == 0
    assert error([nan], [1.0]) == error([1.0], [nan]) == error([-inf], [inf]) == inf
    assert error([[1.0]], [1.0]) == inf
    small = {"value": torch.tensor([100.0]), "gradient": (torch.tensor([1.0]),)}
    off = {"value": torch.tensor([100.0]), "gradient": (torch.tensor([2.0]),)}
    assert relative_distance(off, small) == (1.0, "gradient[0]")
