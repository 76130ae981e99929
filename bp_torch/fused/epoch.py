"""The fused epoch: mini-batch gradient descent in one call."""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bp_torch import checks
from bp_torch.fused import backends
from bp_torch.fused.inputs import Inputs, Rule, fitted, require_memory

_LEAST_WIDTH = 64  # narrower rows count as this many numbers: a row has a price of its own


def sgd_epoch(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    learning_rate: float,
    batch_size: int,
    order: Tensor | None = None,
    cost: str = "quadratic",
    *,
    sample_weight: Tensor | None = None,
    momentum: float = 0.0,
    l2: float = 0.0,
    l1: float = 0.0,
    velocity: Tensor | None = None,
) -> Tensor:
    """One epoch of mini-batch gradient descent, in one call.

        w ← w − ν ∂C/∂w ,   b ← b − ν ∂C/∂b    for each batch, with the gradients of that batch

    as a loop over `cost_and_gradients` would, to within rounding. With momentum μ and penalties λ,

        v ← μv + ∂C/∂w + λ₂w ,   w ← w − νv ,   |w| ← max(|w| − νλ₁, 0)

    which is torch.optim.SGD and then the proximal step of λ₁|w| (Parikh & Boyd 2014, "Proximal
    Algorithms", §6.5.2); the bias has neither λ. The costs are without penalties.

    Args:
        x, y, weight, bias, cost, sample_weight: as for `cost_and_gradients`; weight and bias are
            changed in place. In a batch N is the sum of that batch's sample weights; one in which
            they are all 0 is left out: it is no step, and its cost counts in no mean.
        learning_rate: ν.
        batch_size: samples per step; the last batch may be smaller. Small batches run in one
            thread; large ones are a step each, in all threads, and copied first if in an `order`.
        order: the samples' indices in the order in which they are used, (any number,), int64 and on
            the device of x; None: as they lie, which reads memory faster.
        momentum, l2, l1: μ from 0 to below 1, and λ₂ and λ₁ from 0.
        velocity: v of the weights and then of the bias, (D + 1,), in float32 or float64 as is
            computed in; changed in place, for the next call. None: it begins at 0.

    Returns:
        The mean of the steps' costs, each before its update.

    Raises:
        TypeError, ValueError: as `cost_and_gradients`; and for a batch size below 1, a learning
            rate that is no finite number, an order that is not int64 or holds an index outside
            0 … N − 1 or only samples of weight 0, a weight or bias that shares memory with itself,
            the other or what is read. Nothing has been changed then.
    """
    given = Inputs(x, y, weight, bias, cost, sample_weight)
    inputs = fitted(given)
    _require_order(order, inputs)
    size = checks.require_whole("batch size", batch_size, 1, "samples per step")
    rate = _require_rate(learning_rate)
    require_memory(inputs.tensors())
    rule = _rule(inputs, momentum, l2, l1, velocity)
    read = given.tensors() | ({} if order is None else {"order": order})
    _require_apart(read | ({} if rule is None else {"velocity": rule.velocity}))
    backend = backends.backend_of(inputs.x)
    with torch.no_grad():
        # A large batch keeps all of the device busy by itself.
        features = x.shape[1]
        large = size * max(features, _LEAST_WIDTH) > backend.LARGEST_BATCH
        stepwise = large or features > backend.WIDEST or not (rule is None or backend.TAKES_A_RULE)
        epoch = _epoch_of_steps if stepwise else backend.sgd_epoch
        asked = () if rule is None else (rule,)
        size = min(size, len(x if order is None else order))
        value: Tensor = epoch(inputs, rate, size, order, *asked)
        # Converted ones, in float32 for 16 bits that would lose small updates, are rounded once.
        for parameter, updated in ((weight, inputs.weight), (bias, inputs.bias)):
            if updated.data_ptr() != parameter.data_ptr():
                parameter.copy_(updated)
            elif not parameter.is_inference():
                torch.autograd.graph.increment_version(parameter)
    return value


def _epoch_of_steps(
    inputs: Inputs,
    learning_rate: float,
    batch_size: int,
    order: Tensor | None,
    rule: Rule | None = None,
) -> Tensor:
    x, y, weight, bias, cost, sample_weight = inputs
    one_after_another = [slice(i, i + batch_size) for i in range(0, len(x), batch_size)]
    batches: Sequence[Any] = one_after_another if order is None else order.split(batch_size)
    costs = []
    for rows in batches:
        s = None if sample_weight is None else sample_weight[rows]
        if s is not None and not s.any():
            continue
        batch = Inputs(x[rows], y[rows], weight, bias, cost, s)
        value, by_weight, by_bias = backends.backend_of(x).step(batch, None)
        if rule is not None:
            rule.velocity.mul_(rule.momentum)
            rule.velocity[:-1] += by_weight + rule.l2 * weight
            rule.velocity[-1] += by_bias
            by_weight, by_bias = rule.velocity[:-1], rule.velocity[-1]
        weight -= learning_rate * by_weight
        bias -= learning_rate * by_bias
        if rule is not None and rule.l1:
            weight.copy_(weight.sign() * (weight.abs() - learning_rate * rule.l1).clamp(min=0))
        costs.append(value)
    return torch.stack(costs).mean()


def _rule(
    inputs: Inputs, momentum: float, l2: float, l1: float, velocity: Tensor | None
) -> Rule | None:
    """The rule that is asked for; None: the plain step. Raises ValueError for what is none."""
    given = {"momentum": (momentum, 1.0), "l2": (l2, math.inf), "l1": (l1, math.inf)}
    found = []
    for name, (value, below) in given.items():
        number = _number(value)
        if not 0 <= number < below:
            limit = f"from 0 to below {below:g}" if below < math.inf else "of at least 0"
            raise ValueError(f"{name} must be a number {limit}, got {value!r}")
        found.append(number)
    weight = inputs.weight
    if velocity is None:
        if not any(found):
            return None
        velocity = weight.new_zeros(len(weight) + 1)
    fits = (
        isinstance(velocity, Tensor)
        and velocity.shape == (len(weight) + 1,)
        and (velocity.dtype, velocity.device) == (weight.dtype, weight.device)
        and velocity.is_contiguous()
        and not velocity.requires_grad
    )
    if not fits:
        raise ValueError(
            f"velocity must be torch.zeros({len(weight) + 1}, dtype={weight.dtype}), of the "
            f"weights and then of the bias, on {weight.device}; got {velocity!r:.80}"
        )
    return Rule(found[0], found[1], found[2], velocity)


def _require_order(order: Tensor | None, inputs: Inputs) -> None:
    """Raise TypeError or ValueError unless these are indices of samples that count."""
    x, sample_weight = inputs.x, inputs.sample_weight
    if order is None:
        return
    if not isinstance(order, Tensor) or order.dtype != torch.int64 or order.ndim != 1:
        got = checks.describe("order", order) if isinstance(order, Tensor) else type(order).__name__
        raise TypeError(
            f"order must be indices of samples, a torch.int64 tensor of one axis, got {got}; "
            f"for a random order pass torch.randperm({len(x)})"
        )
    if order.device != x.device:
        raise ValueError(f"order must be on {x.device} as x is, got {order.device}")
    if order.numel() == 0:
        raise ValueError("order must name at least one sample, got none")
    require_memory({"order": order})
    lowest, highest = order.aminmax()
    if lowest < 0 or highest >= len(x):
        wrong = int(lowest if lowest < 0 else highest)
        raise ValueError(f"order must hold indices from 0 to {len(x) - 1}, got {wrong}")
    if sample_weight is not None and not sample_weight[order].any():
        raise ValueError("order must name a sample whose weight is positive, got 0 for all of them")


def _require_rate(learning_rate: float) -> float:
    """ν as a number; raises ValueError for what is none, or not finite."""
    rate = _number(learning_rate)
    if not math.isfinite(rate):
        raise ValueError(f"learning rate must be a finite number, got {learning_rate!r}")
    return rate


def _number(given: Any) -> float:
    """As a float; NaN for what is no number."""
    number = given.detach() if isinstance(given, Tensor) else given
    try:
        return math.nan if isinstance(number, str | bytes | bool) else float(number)
    except (OverflowError, RuntimeError, TypeError, ValueError):
        return math.nan


def _require_apart(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless what is changed in place has memory of its own, every entry of it."""
    if tensors["weight"].stride() == (0,) and len(tensors["weight"]) > 1:
        raise ValueError(
            "weight must have a place in memory for each of its entries, since it is changed in "
            "place, and it is expanded; use weight = weight.clone()"
        )
    places = {name: np.asarray(_Place(tensor)) for name, tensor in tensors.items()}
    for name, other in product(("weight", "bias", "velocity"), tensors):
        if name not in tensors:
            continue
        if name != other and np.shares_memory(places[name], places[other]):
            raise ValueError(
                f"{name} must share no memory with {other}, since it is changed in place; "
                f"use {name} = {name}.clone()"
            )


class _Place:
    """Where a tensor lies, on any device, for NumPy to reason about; nothing is read."""

    def __init__(self, tensor: Tensor) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (tensor.data_ptr(), True),
            "shape": tuple(tensor.shape),
            "strides": tuple(step * tensor.itemsize for step in tensor.stride()),
            "typestr": f"|V{tensor.itemsize}",
        }
