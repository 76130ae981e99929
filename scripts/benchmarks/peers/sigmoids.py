"""Sigmoids and their derivatives, ours and others', each as its own users would write it."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

import bp_torch as bp

Values = tuple[Tensor | None, Tensor | None]
"""σ and σ′; None where the peer does not offer this dtype."""


def by_autograd(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Values]:
    """Value and derivative of a differentiable function."""

    def evaluate(z: Tensor) -> Values:
        z = z.detach().requires_grad_()
        value = function(z)
        (prime,) = torch.autograd.grad(value, z, torch.ones_like(z))
        return value.detach(), prime

    return evaluate


def second_derivative(z: Tensor) -> Tensor:
    """σ″ of our accurate form, by differentiating its backward."""
    z = z.detach().requires_grad_()
    ones = torch.ones_like(z)
    (prime,) = torch.autograd.grad(bp.sigmoid(z, "accurate"), z, ones, create_graph=True)
    return torch.autograd.grad(prime, z, ones)[0]


def numpy_textbook(z: Tensor) -> Values:
    """As it is written in tutorials."""
    if z.dtype == torch.bfloat16:
        return None, None
    with np.errstate(all="ignore"):
        y_hat = 1 / (1 + np.exp(-z.numpy()))
        return torch.from_numpy(y_hat), torch.from_numpy(y_hat * (1 - y_hat))


def scipy_expit(z: Tensor) -> Values:
    """SciPy has the function and not its derivative: the textbook's follows from it."""
    from scipy.special import expit

    if z.dtype in (torch.float16, torch.bfloat16):
        return None, None
    y_hat = expit(z.numpy())
    return torch.from_numpy(y_hat), torch.from_numpy(y_hat * (1 - y_hat))


@cache
def _jax_value_and_grad() -> Callable[..., Any]:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.jit(jax.vmap(jax.value_and_grad(jax.nn.sigmoid)))  # type: ignore[no-any-return]


def jax_sigmoid(z: Tensor) -> Values:
    """With JAX's own derivative, compiled."""
    import jax

    value, prime = _jax_value_and_grad()(jax.dlpack.from_dlpack(z))
    return from_dlpack(value), from_dlpack(prime)


SIGMOIDS: dict[str, Callable[[Tensor], Values]] = {
    'bp.sigmoid, "accurate"': by_autograd(lambda z: bp.sigmoid(z, "accurate")),
    'bp.sigmoid, "textbook"': by_autograd(lambda z: bp.sigmoid(z, "textbook")),
    "torch.sigmoid": by_autograd(torch.sigmoid),
    "jax.nn.sigmoid": jax_sigmoid,
    "scipy.special.expit": scipy_expit,
    "NumPy, 1/(1 + exp(−z))": numpy_textbook,
}
OURS = 'bp.sigmoid, "accurate"'


def installed() -> dict[str, Callable[[Tensor], Values]]:
    """Those whose library is there."""
    return {k: v for k, v in SIGMOIDS.items() if v is not jax_sigmoid or find_spec("jax")}
