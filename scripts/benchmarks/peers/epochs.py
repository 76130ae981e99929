"""An epoch of mini-batch descent, ours and others', each as its own users would write it."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from benchmarks.data import Data
from benchmarks.peers.steps import closed_form, compiled, cost_of
from bp_torch import fused

OURS = "fused.sgd_epoch"
SHUFFLED = "fused.sgd_epoch, random order"
EAGER = "torch, autograd"
SKLEARN = "SGDClassifier.partial_fit, 1 a step"

LEARNING_RATE = 0.1


def torch_loop(data: Data, batch: int) -> None:
    """Autograd and the update, as in a training loop."""
    weight, bias = data.weight, data.bias
    for x, y in zip(data.x.split(batch), data.y.split(batch), strict=True):
        weight.grad = bias.grad = None
        cost_of(x, y, weight, bias).backward()
        with torch.no_grad():
            for parameter in (weight, bias):
                assert parameter.grad is not None
                parameter -= LEARNING_RATE * parameter.grad


@torch.no_grad()
def compiled_loop(data: Data, batch: int) -> None:
    """The closed form, compiled, and the update."""
    step = compiled(closed_form)
    weight, bias = data.weight, data.bias
    for x, y in zip(data.x.split(batch), data.y.split(batch), strict=True):
        _, by_weight, by_bias = step(x, y, weight, bias)
        weight -= LEARNING_RATE * by_weight
        bias -= LEARNING_RATE * by_bias


def numpy_loop(data: Data, batch: int) -> None:
    """The closed form and the update."""
    x, y, weight, bias = (tensor.detach().numpy() for tensor in data.tensors)
    for i in range(0, len(x), batch):
        rows = x[i : i + batch]
        y_hat = 1 / (1 + np.exp(-(rows @ weight + bias)))
        delta = (y_hat - y[i : i + batch]) * y_hat * (1 - y_hat) / len(rows)
        weight -= LEARNING_RATE * (delta @ rows)
        bias -= LEARNING_RATE * delta.sum()


def jax_epoch(data: Data, batch: int) -> Callable[[], object]:
    """The whole epoch as one compiled scan."""
    import jax
    import jax.numpy as jnp

    x, y, weight, bias = (jnp.asarray(tensor.detach().numpy()) for tensor in data.tensors)
    batches = x.reshape(-1, batch, x.shape[1]), y.reshape(-1, batch)

    def cost(parameters: Any, x: Any, y: Any) -> Any:
        weight, bias = parameters
        return ((jax.nn.sigmoid(x @ weight + bias) - y) ** 2).sum() / (2 * len(x))

    def step(parameters: Any, xy: Any) -> Any:
        value, by = jax.value_and_grad(cost)(parameters, *xy)
        moved = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, by)
        return moved, value

    epoch = jax.jit(lambda parameters, batches: jax.lax.scan(step, parameters, batches))
    return lambda: jax.block_until_ready(epoch((weight, bias), batches))


def sklearn_epoch(data: Data) -> Callable[[], object]:
    """Its cost is the log loss, its steps are of one sample."""
    from sklearn.linear_model import SGDClassifier

    x, y = data.x.numpy(), (data.y > 0.5).numpy().astype(np.int64)
    model = SGDClassifier(loss="log_loss", penalty=None, learning_rate="constant", eta0=0.01)
    return lambda: model.partial_fit(x, y, classes=[0, 1])


def epochs(data: Data, batch: int) -> dict[str, Callable[[], object]]:
    """Ours and those whose library is there."""
    order = torch.randperm(len(data.x), device=data.x.device)
    step = data.weight.detach(), data.bias.detach(), LEARNING_RATE, batch
    cases: dict[str, Callable[[], object]] = {
        OURS: lambda: fused.sgd_epoch(data.x, data.y, *step),
        SHUFFLED: lambda: fused.sgd_epoch(data.x, data.y, *step, order),
        EAGER: lambda: torch_loop(data, batch),
        "torch.compile, closed form": lambda: compiled_loop(data, batch),
    }
    if data.x.is_cpu:
        cases["NumPy, closed form"] = lambda: numpy_loop(data, batch)
        cases[SKLEARN] = sklearn_epoch(data)
        if find_spec("jax"):
            cases["JAX, jit of a scan"] = jax_epoch(data, batch)
    return cases
