"""Where a gradient is wrong, in words: from which value on, in which element, in which row."""

from torch import Tensor


def describe(values: Tensor | None, wrong: Tensor, tested: Tensor, name: str) -> str | None:
    """A short description that fits the wrong elements exactly; None where there is none.

    Args:
        values: the input, of the same shape; None where positions alone can tell.
        wrong: where the gradient is wrong.
        tested: where a mistake would have been seen; the others decide nothing.
        name: of the input, for the text.
    """
    right = tested & ~wrong
    if not wrong.any():
        return None
    if not right.any():
        return "everywhere"
    if int(wrong.sum()) > 1 and values is not None and values.shape == wrong.shape:
        for label, measure in ((name, values), (f"|{name}|", values.abs())):
            bad, good = measure[wrong], measure[right]
            if bad.min() > good.max():
                return f"for {label} > {_between(good.max().item(), bad.min().item())}"
            if bad.max() < good.min():
                return f"for {label} < {_between(good.min().item(), bad.max().item())}"
    places = wrong.nonzero()
    if len(places) == 1:
        place = tuple(places[0].tolist())
        return f"in one element, index {place[0] if len(place) == 1 else place}"
    for axis, word in ((0, "row"), (1, "column")):
        if wrong.ndim == 2 and len(places[:, axis].unique()) == 1:
            return f"in one {word}, {places[0, axis].item()}"
    return None


def _between(good: float, bad: float) -> str:
    """A short number that separates the last right value from the first wrong one."""
    for digits in range(1, 10):
        text = f"{(good + bad) / 2:.{digits}g}"
        if min(good, bad) <= float(text) <= max(good, bad):
            return f"{float(text):.9g}"
    return f"{good:.9g}"
