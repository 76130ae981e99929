"""Modules and costs as people write them, each one mean over independent samples."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.utils.checkpoint import checkpoint

import bp_torch as bp

N = 11
IGNORED = -100


@dataclass
class Problem:
    module: nn.Module
    x: Any
    y: torch.Tensor
    cost: Any = F.mse_loss
    weight: Callable[[torch.Tensor], Any] | None = None


def conv_net():
    module = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(36, 3)),
    )
    images = torch.randn(N, 1, 8, 8).clamp(min=0)  # much of a picture is black
    return Problem(module, images, torch.randint(0, 3, (N,)), F.cross_entropy)


class LastOfLstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, num_layers=2, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        states, _ = self.lstm(x)
        return self.head(states[:, -1])


def lstm():
    return Problem(LastOfLstm(), torch.randn(N, 5, 3), torch.randn(N, 1), nn.SmoothL1Loss())


class TiedLanguageModel(nn.Module):
    def __init__(self, words=13, width=6):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.body = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        return self.head(self.body(self.embedding(tokens)))


def token_cost(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def tokens_in(labels):
    return (labels != IGNORED).sum()


def language_model():
    tokens = torch.randint(0, 13, (N, 6))
    labels = tokens.roll(-1, 1)
    for row, length in enumerate(torch.randint(1, 7, (N,)).tolist()):
        labels[row, length:] = IGNORED
    return Problem(TiedLanguageModel(), tokens, labels, token_cost, tokens_in)


class Block(nn.Module):
    """Its attention has a key bias, whose gradient is 0 but for rounding."""

    def __init__(self, width=8):
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width))

    def forward(self, x):
        h = self.before(x)
        x = x + self.attention(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.between(x))


def transformer_block():
    return Problem(Block(), torch.randn(N, 4, 8), torch.randn(N, 4, 8))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(3, 2), nn.Embedding(5, 2, sparse=True)

    def forward(self, numbers, kinds):
        return {"score": self.left(numbers) * self.right(kinds)}


def two_inputs():
    x = (torch.randn(N, 3), torch.randint(0, 5, (N,)))
    return Problem(TwoInputs(), x, torch.randn(N, 2), lambda o, y: F.l1_loss(o["score"], y))


def named_inputs():
    problem = two_inputs()
    problem.x = dict(zip(("kinds", "numbers"), problem.x[::-1], strict=True))
    return problem


def batch_norm_in_eval_mode():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)).eval()
    return Problem(module, torch.randn(N, 3), torch.randn(N, 1))


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.second = nn.Linear(3, 6), nn.Sequential(nn.Tanh(), nn.Linear(6, 1))
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint(self.second, self.first(x), use_reentrant=self.reentrant)


def checkpointed(reentrant):
    return Problem(Checkpointed(reentrant), torch.randn(N, 3), torch.randn(N, 1))


class WithParametersToSpare(nn.Module):
    """One is frozen, one gets no gradient, one is weight-normalised, a constant is no buffer, and a
    buffer counts the calls."""

    def __init__(self):
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
        self.second = nn.Linear(4, 1)
        self.second.bias.requires_grad_(False)
        self.spare = nn.Linear(2, 2)
        self.scale = torch.tensor([1.5])
        self.register_buffer("calls", torch.zeros(()))
        self.seen = 0

    def forward(self, x):
        self.calls += 1
        self.seen += len(x)
        return self.second(torch.sin(self.scale * self.first(x)))


def parameters_to_spare():
    return Problem(WithParametersToSpare(), torch.randn(N, 3), torch.randn(N, 1))


def cost_with_buffers():
    module = nn.Linear(3, 4)
    cost = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2.0, 3.0, 0.3]))
    return Problem(module, torch.randn(N, 3), torch.rand(N, 4).round(), cost)


def class_weights():
    """The cost closes over a float32 tensor, which float64 logits are not taken with."""
    weights = torch.tensor([0.2, 1.0, 3.3])
    cost = partial(F.cross_entropy, weight=weights)
    y = torch.randint(0, 3, (N,))
    return Problem(nn.Linear(3, 3), torch.randn(N, 3), y, cost, lambda y: weights[y].sum())


class Logits(nn.Module):
    """Makes float32 of whatever it is given, as many a head does."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = torch.tanh(self.body(x))
        return F.linear(h.float(), self.head.weight.float(), self.head.bias.float())


def logits_in_float32():
    return Problem(Logits(), torch.randn(N, 3), torch.randint(0, 3, (N,)), F.cross_entropy)


class InBfloat16(nn.Linear):
    """Computes in bfloat16, whatever its weights are kept in."""

    def forward(self, x):
        z = F.linear(x.bfloat16(), self.weight.bfloat16(), self.bias.bfloat16())
        return z.to(x.dtype)


def in_bfloat16():
    return Problem(InBfloat16(3, 2), torch.randn(N, 3), torch.randn(N, 2))


class OnlyFloat32(nn.Linear):
    def forward(self, x):
        if x.dtype != torch.float32:
            raise TypeError("this kernel takes float32")
        return super().forward(x)


def only_float32():
    return Problem(OnlyFloat32(3, 2), torch.randn(N, 3), torch.randn(N, 2))


def with_dtype(dtype):
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)
    return Problem(module, torch.randn(N, 3, dtype=dtype), torch.randn(N, 2, dtype=dtype))


class TwoDtypes(nn.Module):
    def __init__(self):
        super().__init__()
        self.coarse = nn.Linear(3, 4, dtype=torch.bfloat16)
        self.fine = nn.Linear(4, 1)

    def forward(self, x):
        h = self.coarse(x.to(self.coarse.weight.dtype))
        return self.fine(torch.tanh(h).to(self.fine.weight.dtype))


def two_dtypes():
    return Problem(TwoDtypes(), torch.randn(N, 3), torch.randn(N, 1))


def neuron():
    return Problem(bp.Neuron(3), torch.randn(N, 3), torch.rand(N), "quadratic")


def network():
    return Problem(bp.Network([3, 4, 2]), torch.randn(N, 3), torch.rand(N, 2), "cross-entropy")


def large_terms_cancel():
    """Gradients of 10⁶ that add up to 10⁻³ of it."""
    x = torch.cat([torch.full((N - 1, 1), 1e3), torch.ones(1, 1)]) * torch.tensor([[1.0, 2.0]])
    y = torch.where(torch.arange(N) % 2 == 0, 1.0, -1.0)[:, None] * 1e3
    return Problem(nn.Linear(2, 1), x, y)


JUDGED_BY = {
    "logits in float32": "float32",
    "only float32": "float32",
    "bfloat16 inside": "float16",  # so near comes what bfloat16 rounds
}
"""The digits that are there; of all others those of float64."""

PROBLEMS: dict[str, Callable[[], Problem]] = {
    "conv net": conv_net,
    "LSTM": lstm,
    "language model, tied weights, ignore_index": language_model,
    "transformer block": transformer_block,
    "two inputs, sparse gradients": two_inputs,
    "inputs by name": named_inputs,
    "BatchNorm in eval mode": batch_norm_in_eval_mode,
    "checkpoint, reentrant": partial(checkpointed, True),
    "checkpoint": partial(checkpointed, False),
    "frozen, unused, normalised": parameters_to_spare,
    "cost with buffers": cost_with_buffers,
    "class weights": class_weights,
    "logits in float32": logits_in_float32,
    "only float32": only_float32,
    "bfloat16 inside": in_bfloat16,
    "float64": partial(with_dtype, torch.float64),
    "bfloat16": partial(with_dtype, torch.bfloat16),
    "float16": partial(with_dtype, torch.float16),
    "two dtypes": two_dtypes,
    "neuron": neuron,
    "network": network,
    "terms that cancel": large_terms_cancel,
}
