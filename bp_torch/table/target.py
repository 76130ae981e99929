"""What a table's target means: two classes, a share between 0 and 1, or more classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bp_torch.table.columns import Numbers, Value, in_order, plain

MOST_CLASSES = 256


@dataclass(frozen=True)
class Target:
    """The column that is learnt."""

    name: str
    values: tuple[Value, ...] = ()
    """Of the classes, in the order of the outputs; of two, the second is 1. None: the target is a
    number in [0, 1] itself."""
    is_boolean: bool = False
    above: float | None = None
    """What a number must be larger than to be of the second class."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names."""
        if self.above is not None:
            names = (f"≤ {plain(self.above)}", f"> {plain(self.above)}")
            return names if self.values == (0.0, 1.0) else names[::-1]
        if self.is_boolean:
            return tuple(str(bool(value)) for value in self.values)
        return tuple(map(plain, self.values))

    @property
    def outputs(self) -> int | None:
        """How many outputs a network needs; None: one neuron."""
        return len(self.values) if len(self.values) > 2 else None

    def place(self, value: Value) -> float:
        """Of a value as it stands in the data; a share as it is. Raises ValueError for a value of
        no class."""
        known: Value = value.strip() if isinstance(value, str) else float(value)
        if self.above is not None:
            known = float(float(known) > self.above)
        if self.values and known not in self.values:
            raise ValueError(f"{value!r} is no class of {self.name!r}: {', '.join(self.classes)}")
        return float(self.values.index(known) if self.values else known)

    def encode(self, places: Numbers) -> Numbers:
        """Targets (n,), or one-hot (n, K), of classes by their place; shares as they are."""
        if self.outputs is None:
            return places
        return np.eye(self.outputs)[places.astype(np.intp)]


def decide(
    name: str,
    values: Sequence[Value] | None,
    span: tuple[float, float],
    *,
    where: str,
    positive: str | None,
    ordered: Sequence[Value] | None,
    is_boolean: bool,
    above: float | None = None,
) -> Target:
    """What the target is, from the different values that it has.

    Args:
        values: None where there are too many to be classes.
        span: the smallest and largest number; of texts the first is the larger.
        positive: the class that is 1, of two.
        ordered: the values in an order of their own.

    Raises:
        ValueError: one value only; numbers that are neither classes nor shares; a positive class
            that is none of two.
    """
    if values is not None and len(values) < 2:
        only = repr(plain(values[0])) if values else "no value at all"
        if above is not None and values:
            only = f"{'larger' if values[0] else 'not larger'} than {above:g}"
        raise ValueError(
            f"the target {name!r} of {where} is {only} in every row; there is nothing to tell apart"
        )
    is_class = values is not None and (
        len(values) == 2 or all(isinstance(v, str) or v == int(v) for v in values)
    )
    within = 0 <= span[0] <= span[1] <= 1
    target = Target(name)
    if values is not None and is_class and not (within and len(values) > 2):
        known = [value for value in ordered or () if value in values]
        order = known if len(known) == len(values) else in_order(values)
        target = Target(name, tuple(order), is_boolean, above)
    elif not within:
        raise ValueError(
            f"the target {name!r} of {where} holds numbers from {span[0]:g} to {span[1]:g}; "
            f"expected two values, numbers from 0 to 1, or at most {MOST_CLASSES} classes; to ask "
            f"whether it is larger than a number use above (--above)"
        )
    return target if positive is None else _with_positive(target, positive, where)


def _with_positive(target: Target, positive: str, where: str) -> Target:
    if len(target.classes) != 2:
        what = f"{len(target.classes)} classes" if target.classes else "numbers from 0 to 1"
        raise ValueError(
            f"positive is for a target of two values, and {target.name!r} of {where} has {what}"
        )
    if positive not in target.classes:
        raise ValueError(
            f"positive must be one of {', '.join(target.classes)}, the values of {target.name!r} "
            f"in {where}; got {positive!r}"
        )
    values = target.values
    if positive == target.classes[0]:
        values = (values[1], values[0])
    return replace(target, values=values)
