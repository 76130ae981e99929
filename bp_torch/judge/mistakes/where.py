"""Where a gradient is wrong, in words: from which value on, in which element, in which row."""

from torch import Tensor


def describe(values: Tensor, wrong: Tensor, tested: Tensor, name: str) -> str | None:
    """A short description that fits the wrong elements exactly; None where there is none.

    Args:
        values: the input; where its shape is another, positions alone can tell.
        wrong: where the gradient is wrong.
        tested: where a mistake would have been seen; the others decide nothing.
        name: of the input, for the text.
    """
    right = tested & ~wrong
    if not wrong.any():
        return None
    if not right.any():
        return "everywhere"
    located = values.shape == wrong.shape
    if located and (at := _at_one_value(values[wrong], values[right], name)):
        return at
    if located and int(wrong.sum()) > 1:
        for label, measure in ((name, values), (f"|{name}|", values.abs())):
            bad, good = measure[wrong], measure[right]
            if bad.min() > good.max():
                return f"for {label} > {_between(good.max().item(), bad.min().item())}"
            if bad.max() < good.min():
                return f"for {label} < {_between(good.min().item(), bad.max().item())}"
        bad, good = values[wrong], values[right]
        low, high = good[good < bad.min()], good[good > bad.max()]
        if len(bad.unique()) > 1 and len(low) + len(high) == len(good):
            start = _between(low.max().item(), bad.min().item())
            return f"for {start} < {name} < {_between(high.min().item(), bad.max().item())}"
    places = wrong.nonzero()
    if len(places) == 1:
        place = tuple(places[0].tolist())
        return f"in one element, index {place[0] if len(place) == 1 else place}"
    for axis, word in ((0, "row"), (1, "column")):
        if wrong.ndim == 2 and len(places[:, axis].unique()) == 1:
            return f"in one {word}, {places[0, axis].item()}"
    return None


def _at_one_value(bad: Tensor, good: Tensor, name: str) -> str | None:
    """ "at x = 0": a single place needs no region, but of 0, where functions have their kinks."""
    value = bad[0]
    if not (bad == value).all() or (good == value).any() or (bad.numel() == 1 and value != 0):
        return None
    return f"at {name} = {value.item() + 0.0:.6g}"  # no −0


def _between(good: float, bad: float) -> str:
    """A short number that separates the last right value from the first wrong one."""
    for digits in range(1, 10):
        text = f"{(good + bad) / 2:.{digits}g}"
        if min(good, bad) <= float(text) <= max(good, bad):
            return f"{float(text):.9g}"
    return f"{good:.9g}"
