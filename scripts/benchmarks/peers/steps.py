"""One step of a neuron's descent, ours and others', each as its own users would write it."""

from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

import bp_torch as bp
from benchmarks.data import Data
from bp_torch import fused

OURS = "fused.cost_and_gradients"
DIFFERENTIABLE = "fused_cost(…).backward()"
EAGER = "torch, autograd"


def cost_of(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The quadratic cost, for torch to differentiate."""
    return ((torch.sigmoid(x @ weight + bias) - y) ** 2).sum() / (2 * len(x))


def closed_form(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Cost and gradients by the chain rule, as one writes them out."""
    y_hat = torch.sigmoid(x @ weight + bias)
    error = y_hat - y
    delta = error * y_hat * (1 - y_hat) / len(x)
    return (error**2).sum() / (2 * len(x)), delta @ x, delta.sum()


def gradients(cost: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
    """By autograd."""

    def step(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        value = cost(x, y, weight, bias)
        return value, *torch.autograd.grad(value, (weight, bias))

    return step


def backward(cost: Callable[..., Tensor]) -> Callable[..., None]:
    """As in a training loop: into .grad."""

    def step(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> None:
        weight.grad = bias.grad = None
        cost(x, y, weight, bias).backward()

    return step


def numpy_step(data: Data) -> Callable[[], object]:
    """The closed form, as in a tutorial."""
    x, y, weight, bias = (tensor.detach().numpy() for tensor in data.tensors)

    def step() -> object:
        y_hat = 1 / (1 + np.exp(-(x @ weight + bias)))
        error = y_hat - y
        delta = error * y_hat * (1 - y_hat) / len(x)
        return (error**2).sum() / (2 * len(x)), delta @ x, delta.sum()

    return step


def jax_step(data: Data) -> Callable[[], object]:
    """jit of value_and_grad."""
    import jax
    import jax.numpy as jnp

    x, y, weight, bias = (jnp.asarray(tensor.detach().numpy()) for tensor in data.tensors)

    def cost(weight: Any, bias: Any, x: Any, y: Any) -> Any:
        return ((jax.nn.sigmoid(x @ weight + bias) - y) ** 2).sum() / (2 * len(x))

    step = jax.jit(jax.value_and_grad(cost, argnums=(0, 1)))
    return lambda: jax.block_until_ready(step(weight, bias, x, y))


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled for the shapes that it meets, and never run uncompiled instead."""
    return torch.compile(function, dynamic=False, fullgraph=True)


def steps(data: Data, *, into_grad: bool = False) -> dict[str, Callable[[], object]]:
    """Ours and those whose library is there; `into_grad`: by backward(), where one has it."""
    by_torch: dict[str, Callable[..., object]] = {
        OURS: fused.cost_and_gradients,
        EAGER: gradients(cost_of),
        "torch.compile, autograd": gradients(compiled(cost_of)),
        "torch.compile, closed form": torch.no_grad()(compiled(closed_form)),
    }
    if into_grad:
        by_torch = {
            DIFFERENTIABLE: backward(bp.fused_cost),
            EAGER: backward(cost_of),
            "torch.compile, autograd": backward(compiled(cost_of)),
        }
    cases: dict[str, Callable[[], object]] = {
        name: partial(step, *data.tensors) for name, step in by_torch.items()
    }
    if not into_grad and data.x.is_cpu:
        cases["NumPy, closed form"] = numpy_step(data)
        if find_spec("jax"):
            cases["JAX, jit"] = jax_step(data)
    return cases
