"""Where a gradient is wrong, in words: from which value on, in which element, in which row, where
another input says so."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from bp_torch.judge.criteria import FEWEST_AROUND


def describe(inputs: Mapping[str, Tensor], wrong: Tensor, tested: Tensor, name: str) -> str | None:
    """A short description that fits the wrong elements exactly; None where there is none.

    Args:
        inputs: all of them; where their shape is not the gradient's, positions alone can tell.
        wrong: where the gradient is wrong.
        tested: where a mistake would have been seen; the others decide nothing.
        name: of the input that the gradient is by.
    """
    right = tested & ~wrong
    if not wrong.any():
        return None
    if not right.any():
        return "everywhere"
    return next(_descriptions(inputs, wrong, right, name), None)


def _descriptions(
    inputs: Mapping[str, Tensor], wrong: Tensor, right: Tensor, name: str
) -> Iterator[str]:
    values = inputs[name].double()
    if values.shape == wrong.shape:
        yield from _at_one_value(values[wrong], values[right], name)
        yield from _beyond(values, wrong, right, name)
        for other, tensor in inputs.items():
            if other != name and tensor.shape == wrong.shape:
                yield from _by_another(values, tensor, wrong, right, (name, other))
    yield from _in_one_place(wrong)


def _beyond(values: Tensor, wrong: Tensor, right: Tensor, name: str) -> Iterator[str]:
    """Of the values themselves: above, below or between two thresholds."""
    if int(wrong.sum()) < 2 or int(right.sum()) < FEWEST_AROUND:
        return
    for label, measure in ((name, values), (f"|{name}|", values.abs())):
        bad, good = measure[wrong], measure[right]
        if bad.min() > good.max():
            yield f"for {label} > {_between(good.max().item(), bad.min().item())}"
        if bad.max() < good.min():
            yield f"for {label} < {_between(good.min().item(), bad.max().item())}"
    bad, good = values[wrong], values[right]
    low, high = good[good < bad.min()], good[good > bad.max()]
    if len(bad.unique()) > 1 and len(low) and len(high) and len(low) + len(high) == len(good):
        start = _between(low.max().item(), bad.min().item())
        yield f"for {start} < {name} < {_between(high.min().item(), bad.max().item())}"


def _by_another(
    values: Tensor, other: Tensor, wrong: Tensor, right: Tensor, names: tuple[str, str]
) -> Iterator[str]:
    """Of another input of that shape: a mask, or one that it is equal to."""
    one, two = names
    if not other.is_floating_point():
        bad, good = other[wrong], other[right]
        if (bad == bad[0]).all() and not (good == bad[0]).any():
            yield f"where {two} is {bad[0].item()}"
        return
    equal = values == other.double()
    if equal[wrong].all() and not equal[right].any():
        yield f"where {one} = {two}"


def _in_one_place(wrong: Tensor) -> Iterator[str]:
    places = wrong.nonzero()
    if len(places) == 1:
        place = tuple(places[0].tolist())
        yield f"in one element, index {place[0] if len(place) == 1 else place}"
    for axis, word in ((0, "row"), (1, "column")):
        if wrong.ndim == 2 and len(places[:, axis].unique()) == 1:
            yield f"in one {word}, {places[0, axis].item()}"


def _at_one_value(bad: Tensor, good: Tensor, name: str) -> Iterator[str]:
    """ "at x = 0": a single place needs no region, but of 0, where functions have their kinks."""
    value = bad[0]
    if (bad == value).all() and not (good == value).any() and (bad.numel() > 1 or value == 0):
        yield f"at {name} = {value.item() + 0.0:.6g}"  # no −0


def _between(good: float, bad: float) -> str:
    """A short number that separates the last right value from the first wrong one."""
    for digits in range(1, 10):
        text = f"{(good + bad) / 2:.{digits}g}"
        if min(good, bad) <= float(text) <= max(good, bad):
            return f"{float(text):.9g}"
    return f"{good:.9g}"
