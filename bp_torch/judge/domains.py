"""Where a function is defined: an open interval for each input, which every trial keeps to."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Predicate = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Domain:
    """The open interval low < x < high, and what else must hold of a tensor."""

    low: float = -math.inf
    high: float = math.inf
    holds: Predicate | None = None
    """Such as lambda x: x.norm(dim=-1) < 1; what it refuses is not tried."""

    def has(self, tensor: Tensor) -> bool:
        """Whether every element lies inside; of no domain also what is infinite or NaN."""
        inside = self is EVERYWHERE or bool(((tensor > self.low) & (tensor < self.high)).all())
        return inside and (self.holds is None or bool(torch.as_tensor(self.holds(tensor)).all()))

    def scaled(self, tensor: Tensor, factor: float) -> Tensor:
        """Times a factor; with one end, the distance from it; with two, the distance from the
        middle on the scale of the logit, which has no ends."""
        low, high, x = self.low, self.high, tensor.double()
        if math.isinf(low) and math.isinf(high):
            return tensor * factor
        if math.isinf(high):
            return self.inside(low + (x - low) * factor, tensor)
        if math.isinf(low):
            return self.inside(high - (high - x) * factor, tensor)
        share = torch.logit((x - low) / (high - low)) * factor
        return self.inside(low + (high - low) * torch.sigmoid(share), tensor)

    def over(self, steps: Tensor, like: Tensor) -> Tensor:
        """Even steps from end to end of the whole line, on this interval's own scale."""
        low, high = self.low, self.high
        if math.isinf(low) and math.isinf(high):
            return steps.to(like)
        if math.isinf(high):
            return self.inside(low + torch.exp(steps / 4), like)
        if math.isinf(low):
            return self.inside(high - torch.exp(steps / 4), like)
        return self.inside(low + (high - low) * torch.sigmoid(steps), like)

    def keep(self, changed: Tensor, before: Tensor) -> Tensor:
        """The changed elements where they lie inside, else those before."""
        if self is EVERYWHERE:
            return changed
        return changed.where((changed > self.low) & (changed < self.high), before)

    def __str__(self) -> str:
        return "as given" if self.holds else f"({self.low:g}, {self.high:g})"

    def inside(self, values: Tensor, like: Tensor) -> Tensor:
        """In the dtype of `like`, and rounded onto neither end."""
        limits, rounded = torch.finfo(like.dtype), values.to(like)
        for end, inwards in ((self.low, 1), (self.high, -1)):
            if not math.isfinite(end):
                continue
            # Room for what rounding does to it.
            nearest = end + inwards * max(4 * abs(end) * limits.eps, limits.tiny)
            bound = rounded.new_tensor(nearest)
            rounded = rounded.clamp(min=bound) if inwards > 0 else rounded.clamp(max=bound)
        return rounded


EVERYWHERE = Domain()


def domains(given: Any, names: list[str], wanted: list[str]) -> dict[str, Domain]:
    """The domain of each input by its name, as `compare` takes it.

    Args:
        given: None; (low, high), with None for no end, or a predicate, for all inputs; or one of
            these or None for each input, in their order or by name.
        names: of all inputs' arguments, in order.
        wanted: the paths of the tensors that can have one; an argument's is that of all in it.

    Raises:
        TypeError, ValueError: what is no domain, in one line.
    """
    if given is None:
        return {}
    if _is_one(given):
        return dict.fromkeys(wanted, _domain(given))
    if not isinstance(given, Mapping):
        if not isinstance(given, list | tuple) or len(given) != len(names):
            raise ValueError(
                f"domain must have an interval (low, high) or None for each of {', '.join(names)}; "
                f"got {given!r:.60}"
            )
        given = dict(zip(names, given, strict=True))
    found = {}
    for name, one in given.items():
        paths = [p for p in wanted if p == name or p.startswith((f"{name}[", f"{name}."))]
        if not paths and name not in names:
            raise ValueError(f"domain names {name!r}; the inputs are {', '.join(wanted)}")
        if one is not None:
            found.update(dict.fromkeys(paths, _domain(one)))
    return found


def _is_one(given: Any) -> bool:
    if not isinstance(given, list | tuple) or len(given) != 2:
        return callable(given)
    ends = [end for end in given if end is not None]
    return bool(ends) and all(isinstance(end, int | float) for end in ends)


def _domain(given: Any) -> Domain:
    if callable(given):
        return Domain(holds=given)
    if _is_one(given):
        low, high = given
        found = Domain(-math.inf if low is None else low, math.inf if high is None else high)
        if found.low < found.high:
            return found
    raise ValueError(
        f"domain must be an open interval (low, high), or a function of the input that says "
        f"whether it is inside; got {given!r:.60}"
    )
