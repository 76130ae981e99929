"""Mistakes as people make them in the gradient of a neuron, and the right gradient beside them.

Each takes (weight, bias, x, y) and returns what autograd says of the learner's own forward pass,
and what the learner wrote by hand.
"""

import torch

Gradients = dict[str, torch.Tensor]


def _autograd(weight, bias, x, y, activation):
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    cost = ((activation(x @ weight + bias) - y) ** 2).sum() / (2 * len(x))
    gradients = torch.autograd.grad(cost, (weight, bias))
    return dict(zip(("weight", "bias"), gradients, strict=True))


def _by_hand(delta, x):
    return {"weight": delta @ x, "bias": delta.sum()}


def right(weight, bias, x, y):
    y_hat = torch.sigmoid(x @ weight + bias)
    delta = (y_hat - y) / len(x) * (y_hat * (1 - y_hat))
    return _autograd(weight, bias, x, y, torch.sigmoid), _by_hand(delta, x)


def missing_minus_sign(weight, bias, x, y):
    """ŷ = 1/(1 + e^{wᵀx+b}), differentiated as if it were σ."""

    def activation(z):
        return 1 / (1 + torch.exp(z))

    y_hat = activation(x @ weight + bias)
    delta = (y_hat - y) / len(x) * (y_hat * (1 - y_hat))
    return _autograd(weight, bias, x, y, activation), _by_hand(delta, x)


def missing_factor_x(weight, bias, x, y):
    """∂ŷ/∂w = ŷ(1 − ŷ): that is ∂ŷ/∂z, and broadcasting hides it."""
    y_hat = torch.sigmoid(x @ weight + bias)
    delta = (y_hat - y) / len(x) * (y_hat * (1 - y_hat))
    hand = {"weight": delta.sum().expand_as(weight), "bias": delta.sum()}
    return _autograd(weight, bias, x, y, torch.sigmoid), hand


def one_term_too_many(weight, bias, x, y):
    """Σ from i = 0 to N over samples counted from 1: index 0 − 1 is the last sample once more."""
    y_hat = torch.sigmoid(x @ weight + bias)
    delta = (y_hat - y) / len(x) * (y_hat * (1 - y_hat))
    i = torch.arange(0, len(x) + 1) - 1
    return _autograd(weight, bias, x, y, torch.sigmoid), _by_hand(delta[i], x[i])


def missing_one_over_n(weight, bias, x, y):
    """∂C/∂ŷ = ŷ − y: the 1/N of the cost has gone."""
    y_hat = torch.sigmoid(x @ weight + bias)
    delta = (y_hat - y) * (y_hat * (1 - y_hat))
    return _autograd(weight, bias, x, y, torch.sigmoid), _by_hand(delta, x)


SLIPS = (missing_minus_sign, missing_factor_x, one_term_too_many, missing_one_over_n)
