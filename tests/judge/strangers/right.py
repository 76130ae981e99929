"""Right backward passes as engineers write them: none of these may be called wrong.

All are right to first order. Of those in ONCE (marked once_differentiable) and of those in
FIRST_ORDER_ONLY (not marked, but they keep something computed in forward as if it were a constant)
no second derivative may be expected. Those in FLOAT32_INSIDE compute in float32 whatever they are
given. Those in AT_A_KINK have inputs on kinks or ties, where theirs is the derivative that torch
chooses too.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from strangers import Stranger, normal, uniform

_ENTRIES: list[Stranger] = []


def wide(x: Tensor) -> Tensor:
    """At least float32, and float64 where it is float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def gen(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def const(seed: int, *size: int) -> Tensor:
    return torch.randn(size, generator=gen(seed), dtype=torch.float64)


def draw(g: torch.Generator, *size: int) -> Tensor:
    return torch.randn(size, generator=g, dtype=torch.float64)


def grid(g: torch.Generator, rows: int, columns: int, step: float = 0.25) -> Tensor:
    """Rows of distinct numbers, a step apart, shuffled: exact in every dtype."""
    rank = torch.stack([torch.randperm(columns, generator=g) for _ in range(rows)])
    return step * (rank.double() - columns // 2) + step / 2


# ------------------------------------------------------------------------------ normalisation


class RmsNormTriton(Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        xw = wide(x)
        rstd = torch.rsqrt(xw.pow(2).mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, rstd)
        return (xw * rstd * wide(weight)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, weight, rstd = ctx.saved_tensors
        dy = wide(dy)
        x_hat = wide(x) * rstd
        m = dy * wide(weight)
        dx = rstd * (m - x_hat * (m * x_hat).mean(-1, keepdim=True))
        dw = (dy * x_hat).reshape(-1, x.shape[-1]).sum(0)
        return dx.to(x.dtype), dw.to(weight.dtype), None


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    return RmsNormTriton.apply(x, weight, eps)


def rms_norm_reference(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * weight


_ENTRIES.append(
    Stranger(
        name="rms norm: saved rstd",
        source="RMSNorm as written for Triton kernels",
        inputs=normal((2, 3, 8), (8,)),
        right=rms_norm,
        reference=rms_norm_reference,
    )
)


class LayerNormWithStats(Function):
    @staticmethod
    def forward(x, weight, bias, eps):
        xw = wide(x)
        mean = xw.mean(-1, keepdim=True)
        rstd = (xw.var(-1, unbiased=False, keepdim=True) + eps).rsqrt()
        y = (xw - mean) * rstd * wide(weight) + wide(bias)
        return y.to(x.dtype), mean, rstd

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _, _ = inputs
        _, mean, rstd = output
        ctx.mark_non_differentiable(mean, rstd)
        ctx.save_for_backward(x, weight, mean, rstd)

    @staticmethod
    def backward(ctx, dy, _dmean, _drstd):
        x, weight, mean, rstd = ctx.saved_tensors
        dy = wide(dy)
        x_hat = (wide(x) - mean) * rstd
        wdy = wide(weight) * dy
        c1 = (x_hat * wdy).mean(-1, keepdim=True)
        c2 = wdy.mean(-1, keepdim=True)
        dx = (wdy - (x_hat * c1 + c2)) * rstd
        leading = tuple(range(dy.dim() - 1))
        dw, db = (dy * x_hat).sum(leading), dy.sum(leading)
        return dx.to(x.dtype), dw.to(weight.dtype), db.to(weight.dtype), None


_ENTRIES.append(
    Stranger(
        name="layer norm: statistics as outputs",
        source="LayerNorm as in the Triton tutorial, with setup_context, mean and rstd as outputs",
        inputs=normal((2, 3, 8), (8,), (8,)),
        right=lambda x, w, b: LayerNormWithStats.apply(x, w, b, 1e-5)[0],
        reference=lambda x, w, b: F.layer_norm(x, (x.shape[-1],), w, b, 1e-5),
    )
)


class GroupNormFn(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps):
        n, c = x.shape[:2]
        xg = wide(x).reshape(n, groups, -1)
        mean = xg.mean(2, keepdim=True)
        rstd = 1.0 / torch.sqrt(((xg - mean) ** 2).mean(2, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.groups = groups
        y = ((xg - mean) * rstd).reshape(n, c, -1) * weight[:, None] + bias[:, None]
        return y.reshape(x.shape).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        x, weight, mean, rstd = ctx.saved_tensors
        n, c = x.shape[:2]
        g = wide(grad).reshape(n, c, -1)
        x_hat = (wide(x).reshape(n, ctx.groups, -1) - mean) * rstd
        gx_hat = (g * weight[:, None]).reshape(n, ctx.groups, -1)
        count = x_hat.shape[2]
        s1 = gx_hat.sum(2, keepdim=True)
        s2 = (gx_hat * x_hat).sum(2, keepdim=True)
        gx = rstd / count * (count * gx_hat - s1 - x_hat * s2)
        gw = (g * x_hat.reshape(n, c, -1)).sum((0, 2))
        gx, gw, gb = gx.reshape(x.shape), gw, g.sum((0, 2))
        return gx.to(x.dtype), gw.to(weight.dtype), gb.to(weight.dtype), None, None


def group_norm(x: Tensor, weight: Tensor, bias: Tensor, *, groups: int = 2) -> Tensor:
    return GroupNormFn.apply(x, weight, bias, groups, 1e-5)


_ENTRIES.append(
    Stranger(
        name="group norm: NCHW",
        source="GroupNorm for images with the three-sum backward and saved mean and rstd",
        inputs=normal((2, 4, 3, 3), (4,), (4,)),
        right=group_norm,
        reference=lambda x, w, b: F.group_norm(x, 2, w, b, 1e-5),
    )
)


class BatchNormTrain(Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        xw = wide(x)
        mu = xw.mean(0)
        var = (xw - mu).square().mean(0)
        ctx.mark_non_differentiable(mu, var)
        ctx.save_for_backward(xw, gamma, mu, var)
        ctx.eps = eps
        out = gamma * (xw - mu) / torch.sqrt(var + eps) + beta
        return out.to(x.dtype), mu, var

    @staticmethod
    @once_differentiable
    def backward(ctx, dout, *_):
        x, gamma, mu, var = ctx.saved_tensors
        dout_w, n = wide(dout), x.shape[0]
        istd = (var + ctx.eps) ** -0.5
        dbeta = dout_w.sum(0)
        dgamma = ((x - mu) * istd * dout_w).sum(0)
        dx = gamma * istd / n * (n * dout_w - dbeta - (x - mu) * istd * dgamma)
        return dx.to(dout.dtype), dgamma.to(gamma.dtype), dbeta.to(gamma.dtype), None


class BatchNorm(nn.Module):
    """Training mode: each call moves the running statistics, and no output hangs on them."""

    def __init__(self, by_hand: bool, features: int = 4, momentum: float = 0.1) -> None:
        super().__init__()
        self.by_hand, self.momentum = by_hand, momentum
        self.weight = nn.Parameter(1 + 0.3 * const(11, features))
        self.bias = nn.Parameter(const(12, features))
        self.register_buffer("running_mean", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("running_var", torch.ones(features, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if not self.by_hand:
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, 1e-5)
        out, mean, var = BatchNormTrain.apply(x, weight, bias, 1e-5)
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(var.to(self.running_var.dtype), self.momentum)
        return out


_ENTRIES.append(
    Stranger(
        name="batch norm: module with running buffers",
        source="BatchNorm1d as derived in CS231n, inside a module that tracks buffers",
        inputs=normal((6, 4)),
        right=BatchNorm(by_hand=True),
        reference=BatchNorm(by_hand=False),
    )
)


class GemmaRmsNorm(Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        h = x.float()
        rstd = torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, rstd)
        return (h * rstd * (1.0 + weight.float())).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out):
        x, weight, rstd = ctx.saved_tensors
        n = x.float() * rstd
        g = grad_out.float() * (1.0 + weight.float())
        grad_x = (g - n * (g * n).mean(-1, keepdim=True)) * rstd
        grad_w = (grad_out.float() * n).flatten(0, -2).sum(0)
        return grad_x.to(x.dtype), grad_w.to(weight.dtype), None


_ENTRIES.append(
    Stranger(
        name="rms norm: one plus weight, in float32",
        source="RMSNorm as in Gemma: weights about zero, x.float() inside",
        inputs=normal((3, 8), (8,)),
        right=lambda x, w: GemmaRmsNorm.apply(x, w, 1e-6),
        reference=lambda x, w: rms_norm_reference(x, 1 + w),
        invisible_in=(),  # FLOAT32 INSIDE
    )
)


class WeightNormLinear(Function):
    @staticmethod
    def forward(ctx, x, v, g):
        ctx.save_for_backward(x, v, g)
        return x @ (v * (g / v.norm(dim=1, keepdim=True))).t()

    @staticmethod
    def backward(ctx, grad):
        x, v, g = ctx.saved_tensors
        norm = v.norm(dim=1, keepdim=True)
        unit = v / norm
        grad_x = grad_v = grad_g = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ (g * unit)
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            grad_w = grad.t() @ x
            grad_g = (grad_w * unit).sum(1, keepdim=True)
            grad_v = g / norm * (grad_w - grad_g * unit)
        return grad_x, grad_v, grad_g


_ENTRIES.append(
    Stranger(
        name="weight norm linear",
        source="weight normalisation g v/|v| fused with its linear layer; the class itself",
        inputs=normal((4, 5), (3, 5), (3, 1)),
        right=WeightNormLinear,
    )
)


class SpectralDivide(Function):
    @staticmethod
    def forward(ctx, weight, u, v):
        sigma = torch.dot(u, weight @ v)
        ctx.save_for_backward(weight, u, v)
        return weight / sigma

    @staticmethod
    def backward(ctx, grad):
        weight, u, v = ctx.saved_tensors
        sigma = torch.dot(u, weight @ v)
        along = (grad * weight).sum() / sigma**2
        return grad / sigma - along * torch.outer(u, v), None, None


class SpectralLinear(nn.Module):
    """The vectors of the power iteration are buffers, constants of the derivative."""

    def __init__(self, by_hand: bool) -> None:
        super().__init__()
        self.by_hand = by_hand
        self.weight = nn.Parameter(const(13, 4, 5))
        u, _, vh = torch.linalg.svd(self.weight.detach())
        self.register_buffer("u", F.normalize(u[:, 0] + 0.1 * const(14, 4), dim=0))
        self.register_buffer("v", F.normalize(vh[0] + 0.1 * const(15, 5), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        weight, u, v = (t.to(x.dtype) for t in (self.weight, self.u, self.v))
        if self.by_hand:
            return F.linear(x, SpectralDivide.apply(weight, u, v))
        return F.linear(x, weight / (u @ weight @ v))


_ENTRIES.append(
    Stranger(
        name="spectral norm: fixed vectors",
        source="spectral normalisation with u and v held as buffers of a module",
        inputs=normal((3, 5)),
        right=SpectralLinear(by_hand=True),
        reference=SpectralLinear(by_hand=False),
    )
)

# ---------------------------------------------------------------------- attention and gates


class CausalAttention(Function):
    @staticmethod
    def forward(ctx, q, k, v, scale):
        s = torch.matmul(wide(q), wide(k).transpose(-1, -2)) * scale
        mask = torch.ones(s.shape[-2:], dtype=torch.bool).triu(1)
        s.masked_fill_(mask, float("-inf"))
        lse = s.logsumexp(-1, keepdim=True)
        out = torch.exp(s - lse) @ wide(v)
        ctx.save_for_backward(q, k, v, out, lse, mask)
        ctx.scale = scale
        return out.to(q.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, do):
        q, k, v, out, lse, mask = ctx.saved_tensors
        qw, kw, vw, dow = (wide(t) for t in (q, k, v, do))
        s = (qw @ kw.mT * ctx.scale).masked_fill(mask, float("-inf"))
        p = torch.exp(s - lse)
        delta = (dow * out).sum(-1, keepdim=True)
        ds = p * (dow @ vw.mT - delta) * ctx.scale
        dq, dk, dv = ds @ kw, ds.mT @ qw, p.mT @ dow
        return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype), None


def causal_attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    return CausalAttention.apply(q, k, v, q.shape[-1] ** -0.5 if scale is None else scale)


_ENTRIES.append(
    Stranger(
        name="causal attention: softmax made again",
        source="FlashAttention's backward in plain torch: log-sum-exp saved, rowsum(dO*O)",
        inputs=normal((2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4)),
        right=causal_attention,
        reference=lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    )
)


def feature_map(x: Tensor) -> Tensor:
    return F.elu(x) + 1


class LinearAttention(Function):
    @staticmethod
    def forward(ctx, q, k, v):
        fq, fk = feature_map(wide(q)), feature_map(wide(k))
        state = torch.cumsum(fk.unsqueeze(-1) * wide(v).unsqueeze(-2), 1)
        total = torch.cumsum(fk, 1)
        den = (fq * total).sum(-1, keepdim=True)
        out = torch.einsum("btd,btde->bte", fq, state) / den
        ctx.save_for_backward(q, k, v)
        return out.to(v.dtype)

    @staticmethod
    def backward(ctx, grad):
        q, k, v = ctx.saved_tensors
        qw, kw, vw, g = (wide(t) for t in (q, k, v, grad))
        fq, fk = feature_map(qw), feature_map(kw)
        state = torch.cumsum(fk.unsqueeze(-1) * vw.unsqueeze(-2), 1)
        total = torch.cumsum(fk, 1)
        den = (fq * total).sum(-1, keepdim=True)
        out = torch.einsum("btd,btde->bte", fq, state) / den
        g_num = g / den
        g_den = -(g_num * out).sum(-1, keepdim=True)
        g_fq = torch.einsum("bte,btde->btd", g_num, state) + g_den * total
        g_state = (fq.unsqueeze(-1) * g_num.unsqueeze(-2)).flip(1).cumsum(1).flip(1)
        g_total = (fq * g_den).flip(1).cumsum(1).flip(1)
        g_fk = torch.einsum("btde,bte->btd", g_state, vw) + g_total
        g_v = torch.einsum("btde,btd->bte", g_state, fk)
        g_q = g_fq * torch.where(qw > 0, torch.ones_like(qw), qw.exp())
        g_k = g_fk * torch.where(kw > 0, torch.ones_like(kw), kw.exp())
        return g_q.to(q.dtype), g_k.to(k.dtype), g_v.to(v.dtype)


def linear_attention_reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (feature_map(q) @ feature_map(k).mT).tril()
    return scores / scores.sum(-1, keepdim=True) @ v


_ENTRIES.append(
    Stranger(
        name="linear attention: causal, elu + 1",
        source="causal linear transformer by running sums; backward by sums from the end",
        inputs=normal((2, 5, 3), (2, 5, 3), (2, 5, 4)),
        right=LinearAttention,
        reference=linear_attention_reference,
    )
)


def rotate_half(x: Tensor) -> Tensor:
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


def rope_tables(x: Tensor, positions: Tensor, base: float) -> tuple[Tensor, Tensor]:
    dim = x.shape[-1]
    step = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    angle = torch.outer(positions.double(), base**-step)
    angle = torch.cat((angle, angle), -1)
    return angle.cos().to(x.dtype), angle.sin().to(x.dtype)


class RopeHalf(Function):
    @staticmethod
    def forward(ctx, q, k, positions, base):
        cos, sin = rope_tables(q, positions, base)
        ctx.save_for_backward(cos, sin)
        return q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin

    @staticmethod
    def backward(ctx, dq, dk):
        cos, sin = ctx.saved_tensors
        return dq * cos - rotate_half(dq) * sin, dk * cos - rotate_half(dk) * sin, None, None


def rope_half(q: Tensor, k: Tensor, positions: Tensor, base: float = 10000.0) -> Any:
    return RopeHalf.apply(q, k, positions, base)


def rope_half_reference(q: Tensor, k: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
    turned = []
    for x in (q, k):
        cos, sin = (t[:, : x.shape[-1] // 2] for t in rope_tables(x, positions, 10000.0))
        a, b = x.tensor_split(2, -1)
        turned.append(torch.cat((a * cos - b * sin, b * cos + a * sin), -1))
    return tuple(turned)


_ENTRIES.append(
    Stranger(
        name="rope: half-split, integer positions",
        source="rotary embedding as in the Llama models, queries and keys at once",
        inputs=lambda g: (draw(g, 2, 5, 8), draw(g, 1, 5, 8), torch.tensor([0, 1, 2, 7, 1000])),
        right=rope_half,
        reference=rope_half_reference,
    )
)


def turn_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class RopeInterleaved(Function):
    @staticmethod
    def forward(ctx, x, theta):
        t, d = x.shape[-2:]
        inv_freq = 1.0 / theta ** (torch.arange(0, d, 2) / d)
        angle = torch.arange(t)[:, None] * inv_freq
        ctx.cos, ctx.sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        return turn_pairs(x, ctx.cos, ctx.sin)

    @staticmethod
    def backward(ctx, grad):
        return turn_pairs(grad, ctx.cos, -ctx.sin), None


_ENTRIES.append(
    Stranger(
        name="rope: interleaved pairs",
        source="rotary embedding of neighbouring pairs as in GPT-J; class itself",
        inputs=lambda g: (draw(g, 2, 4, 6), 10000.0),
        right=RopeInterleaved,
    )
)


class SwiGlu(Function):
    @staticmethod
    def forward(ctx, gate, up):
        ctx.save_for_backward(gate, up)
        g = gate.float()
        return (g * torch.sigmoid(g) * up.float()).to(gate.dtype)

    @staticmethod
    def backward(ctx, grad):
        gate, up = ctx.saved_tensors
        g, u, d = gate.float(), up.float(), grad.float()
        sig = torch.sigmoid(g)
        silu = g * sig
        d_gate = d * u * (silu * (1 - sig) + sig)
        return d_gate.to(gate.dtype), (d * silu).to(up.dtype)


_ENTRIES.append(
    Stranger(
        name="swiglu: in float32",
        source="SwiGLU as in Liger kernels: recomputed sigmoid, everything in .float()",
        inputs=normal((4, 6), (4, 6), scale=2.0),
        right=SwiGlu,
        reference=lambda a, b: F.silu(a) * b,
        invisible_in=(),  # FLOAT32 INSIDE
    )
)


class GegluTanh(Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        aw = wide(a)
        inner = math.sqrt(2 / math.pi) * (aw + 0.044715 * aw**3)
        return (0.5 * aw * (1 + torch.tanh(inner)) * wide(b)).to(a.dtype)

    @staticmethod
    def backward(ctx, dc):
        a, b = ctx.saved_tensors
        aw, bw, dcw = wide(a), wide(b), wide(dc)
        c = math.sqrt(2 / math.pi)
        t = torch.tanh(c * aw * (1 + 0.044715 * aw * aw))
        gelu = 0.5 * aw * (1 + t)
        slope = 0.5 * (1 + t) + 0.5 * aw * (1 - t * t) * c * (1 + 3 * 0.044715 * aw * aw)
        return (dcw * bw * slope).to(a.dtype), (dcw * gelu).to(b.dtype)


_ENTRIES.append(
    Stranger(
        name="geglu: tanh formula",
        source="GeGLU with the tanh formula written out; the other form is torch's own",
        inputs=normal((4, 6), (4, 6), scale=2.0),
        right=GegluTanh.apply,
        reference=lambda a, b: F.gelu(a, approximate="tanh") * b,
    )
)


class GegluErf(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        value, gate = x.chunk(2, dim=-1)
        cdf = 0.5 * (1.0 + torch.erf(gate * math.sqrt(0.5)))
        pdf = torch.exp(-0.5 * gate**2) / math.sqrt(2.0 * math.pi)
        return torch.cat((grad * gate * cdf, grad * value * (cdf + gate * pdf)), dim=-1)


_ENTRIES.append(
    Stranger(
        name="geglu: erf, one chunked input",
        source="GeGLU as in diffusers: one projection split in two, exact GELU; class itself",
        inputs=normal((4, 10), scale=1.5),
        right=GegluErf,
    )
)

# --------------------------------------------------------------------------------------- losses


class FusedLinearCrossEntropy(Function):
    """The gradient is made in the forward, row by row, so that the logits are never all held."""

    @staticmethod
    def forward(ctx, x, weight, target, ignore_index, smoothing, z_scale):
        grad_x = torch.zeros_like(x)
        grad_w = torch.zeros_like(wide(weight))
        keep = (target != ignore_index).nonzero().flatten()
        total, vocab = 0.0, weight.shape[0]
        for rows in keep.split(2):
            logits = wide(x[rows]) @ wide(weight).t()
            lse = logits.logsumexp(-1, keepdim=True)
            picked = logits.gather(1, target[rows, None])
            smooth = smoothing * logits.mean(1, keepdim=True)
            total = total + (lse - (1 - smoothing) * picked - smooth + z_scale * lse**2).sum()
            d = torch.exp(logits - lse) * (1 + 2 * z_scale * lse) - smoothing / vocab
            d.scatter_add_(1, target[rows, None], torch.full_like(picked, smoothing - 1))
            d = d / len(keep)
            grad_x[rows] = (d @ wide(weight)).to(x.dtype)
            grad_w += d.t() @ wide(x[rows])
        ctx.save_for_backward(grad_x, grad_w.to(weight.dtype))
        return (total / len(keep)).to(x.dtype)

    @staticmethod
    def backward(ctx, grad_output):
        grad_x, grad_w = ctx.saved_tensors
        return grad_output * grad_x, grad_output * grad_w, None, None, None, None


def fused_linear_cross_entropy(x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return FusedLinearCrossEntropy.apply(x, weight, target, -100, 0.1, 1e-2)


def linear_cross_entropy_reference(x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    logits = x @ weight.T
    loss = F.cross_entropy(logits, target, ignore_index=-100, label_smoothing=0.1)
    return loss + 1e-2 * logits.logsumexp(-1)[target != -100].square().mean()


_ENTRIES.append(
    Stranger(
        name="linear cross entropy: gradient made in forward",
        source="fused linear cross entropy as in Liger: smoothing, z-loss, ignore_index, in chunks",
        inputs=lambda g: (draw(g, 5, 4), draw(g, 7, 4), torch.tensor([3, -100, 0, 6, 3])),
        right=fused_linear_cross_entropy,
        reference=linear_cross_entropy_reference,
    )
)


class DistillKl(Function):
    @staticmethod
    def forward(ctx, student, teacher, temperature):
        log_p = F.log_softmax(student.float() / temperature, dim=-1)
        log_t = F.log_softmax(teacher.float() / temperature, dim=-1)
        ctx.save_for_backward(student, teacher)
        ctx.temperature = temperature
        kl = (log_t.exp() * (log_t - log_p)).sum(-1).mean()
        return (kl * temperature**2).to(student.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        student, teacher = ctx.saved_tensors
        p = torch.softmax(student.float() / ctx.temperature, -1)
        t = torch.softmax(teacher.float() / ctx.temperature, -1)
        d = grad.float() * ctx.temperature * (p - t) / student.shape[0]
        return d.to(student.dtype), None, None


def distill_reference(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    log_p, log_t = F.log_softmax(student / t, -1), F.log_softmax(teacher.detach() / t, -1)
    return F.kl_div(log_p, log_t, reduction="batchmean", log_target=True) * t**2


_ENTRIES.append(
    Stranger(
        name="distillation kl: temperature, frozen teacher",
        source="knowledge distillation loss T^2 KL(teacher || student) in .float()",
        inputs=lambda g: ((3 * draw(g, 4, 6)).requires_grad_(), 3 * draw(g, 4, 6), 2.0),
        right=DistillKl,
        reference=distill_reference,
        invisible_in=(),  # FLOAT32 INSIDE
    )
)


class SigmoidFocal(Function):
    @staticmethod
    def forward(ctx, logits, targets, alpha, gamma):
        ctx.save_for_backward(logits, targets)
        ctx.alpha, ctx.gamma = alpha, gamma
        x, t = logits.float(), targets.float()
        log_pt = F.logsigmoid((2 * t - 1) * x)
        alpha_t = alpha * t + (1 - alpha) * (1 - t)
        return (-alpha_t * (1 - log_pt.exp()) ** gamma * log_pt).to(logits.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        logits, targets = ctx.saved_tensors
        t = targets.float()
        s = 2 * t - 1
        sx = s * logits.float()
        pt, qt, log_pt = torch.sigmoid(sx), torch.sigmoid(-sx), F.logsigmoid(sx)
        alpha_t = ctx.alpha * t + (1 - ctx.alpha) * (1 - t)
        d = alpha_t * s * qt**ctx.gamma * (ctx.gamma * pt * log_pt - qt)
        return (grad.float() * d).to(logits.dtype), None, None, None


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    return SigmoidFocal.apply(logits, targets, alpha, gamma)


def focal_reference(logits: Tensor, targets: Tensor) -> Tensor:
    p, targets = torch.sigmoid(logits), targets.detach()
    ce = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    pt = p * targets + (1 - p) * (1 - targets)
    return (0.25 * targets + 0.75 * (1 - targets)) * (1 - pt) ** 2.0 * ce


_ENTRIES.append(
    Stranger(
        name="focal loss: sigmoid, in float32",
        source="RetinaNet's focal loss as in detection libraries, logits.float() inside",
        inputs=lambda g: (
            (2 * draw(g, 4, 5)).requires_grad_(),
            (torch.rand(4, 5, generator=g) < 0.3).double(),
        ),
        right=focal_loss,
        reference=focal_reference,
        invisible_in=(),  # FLOAT32 INSIDE
    )
)


class SoftDice(Function):
    @staticmethod
    def forward(ctx, logits, mask, smooth):
        ctx.save_for_backward(logits, mask)
        ctx.smooth = smooth
        p = torch.sigmoid(logits).flatten(1)
        t = mask.to(p.dtype).flatten(1)
        top, bottom = 2 * (p * t).sum(1) + smooth, p.sum(1) + t.sum(1) + smooth
        return 1 - (top / bottom).mean()

    @staticmethod
    def backward(ctx, grad):
        logits, mask = ctx.saved_tensors
        p = torch.sigmoid(logits).flatten(1)
        t = mask.to(p.dtype).flatten(1)
        top = 2 * (p * t).sum(1, keepdim=True) + ctx.smooth
        bottom = p.sum(1, keepdim=True) + t.sum(1, keepdim=True) + ctx.smooth
        gp = -grad * (2 * t / bottom - top / bottom**2) / p.shape[0]
        return (gp * p * (1 - p)).view_as(logits), None, None


_ENTRIES.append(
    Stranger(
        name="dice loss: boolean mask, smoothed",
        source="soft Dice loss for segmentation, mean over the batch; class itself",
        inputs=lambda g: (draw(g, 3, 4, 4), torch.rand(3, 4, 4, generator=g) < 0.4, 1.0),
        right=SoftDice,
    )
)

POS_WEIGHT = torch.tensor([0.5, 1.0, 4.0, 10.0], dtype=torch.float64)


class BceLogits(Function):
    @staticmethod
    def forward(ctx, x, t, pos_weight):
        ctx.save_for_backward(x, t, pos_weight)
        xw, tw = wide(x), wide(t)
        lw = 1 + (pos_weight - 1) * tw
        loss = (1 - tw) * xw + lw * (torch.log1p(torch.exp(-xw.abs())) + torch.relu(-xw))
        return loss.mean().to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        x, t, pos_weight = ctx.saved_tensors
        xw, tw = wide(x), wide(t)
        lw = 1 + (pos_weight - 1) * tw
        d = (1 - tw) - lw * torch.sigmoid(-xw)
        return (grad * d / x.numel()).to(x.dtype), None, None


def bce_inputs(g: torch.Generator) -> tuple[Tensor, Tensor]:
    x = 3 * draw(g, 5, 4)
    x[0], x[1, 0] = torch.tensor([80.0, -80.0, 120.0, -120.0]), 0.0
    return x.requires_grad_(), torch.rand(5, 4, generator=g, dtype=torch.float64)


_ENTRIES.append(
    Stranger(
        name="bce with logits: pos_weight, soft targets",
        source="BCEWithLogits in its stable form, class weights closed over, logits up to 120",
        inputs=bce_inputs,
        right=lambda x, t: BceLogits.apply(x, t, POS_WEIGHT.to(x.dtype)),
        reference=lambda x, t: F.binary_cross_entropy_with_logits(
            x, t.detach(), pos_weight=POS_WEIGHT.to(x.dtype)
        ),
    )
)

DATA_X, DATA_Y = const(21, 12, 3), 2 * const(22, 12)


class HuberMean(Function):
    @staticmethod
    def forward(ctx, pred, target, delta):
        r = pred - target
        ctx.save_for_backward(r)
        ctx.delta = delta
        a = r.abs()
        return torch.where(a <= delta, 0.5 * r * r, delta * (a - 0.5 * delta)).mean()

    @staticmethod
    def backward(ctx, grad):
        (r,) = ctx.saved_tensors
        g = grad * r.clamp(-ctx.delta, ctx.delta) / r.numel()
        return g, -g if ctx.needs_input_grad[1] else None, None


_ENTRIES.append(
    Stranger(
        name="huber: closure over the data",
        source="lambda w, b: huber(x @ w + b, y), with x and y closed over; residual saved",
        inputs=normal((3,), ()),
        right=lambda w, b: HuberMean.apply(DATA_X.to(w) @ w + b, DATA_Y.to(w), 1.0),
        reference=lambda w, b: F.huber_loss(DATA_X.to(w) @ w + b, DATA_Y.to(w), delta=1.0),
    )
)


class TripletMargin(Function):
    @staticmethod
    def forward(ctx, anchor, positive, negative, margin, eps):
        dp, dn = wide(anchor) - wide(positive), wide(anchor) - wide(negative)
        rp = torch.sqrt(dp.square().sum(1, keepdim=True) + eps)
        rn = torch.sqrt(dn.square().sum(1, keepdim=True) + eps)
        losses = torch.clamp_min(rp - rn + margin, 0)
        ctx.save_for_backward(dp / rp, dn / rn, losses > 0)
        return losses.mean().to(anchor.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        up, un, active = ctx.saved_tensors
        g = wide(grad) * active / active.shape[0]
        return *((g * u).to(grad.dtype) for u in (up - un, -up, un)), None, None


def triplet_reference(a: Tensor, p: Tensor, n: Tensor) -> Tensor:
    rp, rn = (((a - o) ** 2).sum(1).add(1e-12).sqrt() for o in (p, n))
    return torch.relu(rp - rn + 0.5).mean()


_ENTRIES.append(
    Stranger(
        name="triplet: some rows inactive",
        source="triplet margin loss with sqrt(d^2 + eps), saved unit vectors and a saved mask",
        inputs=normal((8, 4), (8, 4), (8, 4)),
        right=lambda a, p, n: TripletMargin.apply(a, p, n, 0.5, 1e-12),
        reference=triplet_reference,
    )
)

# ------------------------------------------------------------------- ties, kinks, steep places


class ReluAndAbs(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0), x.abs()

    @staticmethod
    def backward(ctx, g_relu, g_abs):
        (x,) = ctx.saved_tensors
        return g_relu * (x > 0) + g_abs * torch.sign(x)


def some_zeros(g: torch.Generator) -> tuple[Tensor]:
    x = draw(g, 4, 5)
    x[torch.rand(4, 5, generator=g) < 0.3] = 0.0
    return (x,)


_ENTRIES.append(
    Stranger(
        name="relu and abs: exact zeros among the inputs",
        source="ReLU by (x > 0) and abs by sign(x), at zeros as torch has them; AT A KINK",
        inputs=some_zeros,
        right=ReluAndAbs,
        reference=lambda x: (torch.relu(x), torch.abs(x)),
    )
)


class MaxPoolTwo(Function):
    @staticmethod
    def forward(ctx, x):
        h, w = x.shape[2:]
        windows = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
        best, k = windows.max(-1)
        row = 2 * torch.arange(h // 2)[:, None] + k // 2
        index = row * w + 2 * torch.arange(w // 2) + k % 2
        ctx.mark_non_differentiable(index)
        ctx.save_for_backward(index)
        ctx.shape = x.shape
        return best, index

    @staticmethod
    def backward(ctx, grad, _):
        (index,) = ctx.saved_tensors
        flat = grad.new_zeros(ctx.shape).flatten(2)
        return flat.scatter_add(2, index.flatten(2), grad.flatten(2)).view(ctx.shape)


_ENTRIES.append(
    Stranger(
        name="max pool: ties go to the first",
        source="2x2 max pooling of quantised, rectified images, indices as output; AT A KINK",
        inputs=lambda g: (draw(g, 2, 2, 4, 6).mul(1.5).round().relu(),),
        right=MaxPoolTwo.apply,
        reference=lambda x: F.max_pool2d(x, 2, return_indices=True),
    )
)


class SortAndMedian(Function):
    @staticmethod
    def forward(ctx, x):
        ordered, order = torch.sort(x, dim=-1)
        ctx.mark_non_differentiable(order)
        ctx.save_for_backward(order)
        return ordered, ordered[..., x.shape[-1] // 2].clone(), order

    @staticmethod
    def backward(ctx, g_ordered, g_median, _g_order):
        (order,) = ctx.saved_tensors
        middle = order.shape[-1] // 2
        g = g_ordered + F.pad(g_median[..., None], (middle, order.shape[-1] - middle - 1))
        return torch.zeros_like(g).scatter(-1, order, g)


_ENTRIES.append(
    Stranger(
        name="sort and median: order as third output",
        source="order statistics: sorted values, median and an integer output that is marked",
        inputs=lambda g: (grid(g, 4, 7),),
        right=SortAndMedian,
        reference=lambda x: (x.sort(-1)[0], x.median(-1)[0], x.argsort(-1)),
    )
)


class TopKGate(Function):
    @staticmethod
    def forward(ctx, logits, k):
        values, index = logits.topk(k, dim=-1)
        gates = torch.softmax(wide(values), -1)
        ctx.mark_non_differentiable(index)
        ctx.save_for_backward(gates, index)
        ctx.experts = logits.shape[-1]
        out = torch.zeros_like(logits).scatter_(-1, index, gates.to(logits.dtype))
        return out, index

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        gates, index = ctx.saved_tensors
        g = wide(grad).gather(-1, index)
        g = gates * (g - (g * gates).sum(-1, keepdim=True))
        full = g.new_zeros(*g.shape[:-1], ctx.experts)
        return full.scatter_(-1, index, g).to(grad.dtype), None


def top_k_reference(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    index = logits.topk(k, dim=-1)[1]
    chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, index, True)
    return logits.masked_fill(~chosen, float("-inf")).softmax(-1), index


_ENTRIES.append(
    Stranger(
        name="top-k router: softmax over the chosen",
        source="mixture-of-experts gate, softmax after top-k, k an argument, indices as output",
        inputs=lambda g: (grid(g, 6, 5, 0.5), 2),
        right=TopKGate,
        reference=top_k_reference,
    )
)


class Charbonnier(Function):
    @staticmethod
    def forward(ctx, x, y, eps):
        ctx.save_for_backward(x, y)
        ctx.eps = eps
        d = wide(x) - wide(y)
        return torch.sqrt(d * d + eps * eps).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        d = wide(x) - wide(y)
        g = (grad * d / torch.sqrt(d * d + ctx.eps**2)).to(x.dtype)
        return g, -g, None


def equal_in_places(g: torch.Generator) -> tuple[Tensor, Tensor, float]:
    x, y = draw(g, 4, 5), draw(g, 4, 5)
    return x, torch.where(torch.rand(4, 5, generator=g) < 0.3, x, y), 1e-6


_ENTRIES.append(
    Stranger(
        name="charbonnier: sqrt(x^2 + 1e-12) at zero",
        source="Charbonnier loss for image restoration where pixels agree exactly; class itself",
        inputs=equal_in_places,
        right=Charbonnier,
    )
)


class LeakyNeuron(Function):
    @staticmethod
    def forward(ctx, v, current, dt, steepness):
        ctx.save_for_backward(v, current)
        ctx.dt, ctx.k = dt, steepness
        u = wide(v) + dt * (wide(current) - wide(v))
        spike = torch.sigmoid(steepness * (u - 1))
        return spike.to(v.dtype), (u * (1 - spike)).to(v.dtype)

    @staticmethod
    def backward(ctx, g_spike, g_v):
        v, current = ctx.saved_tensors
        u = wide(v) + ctx.dt * (wide(current) - wide(v))
        s = torch.sigmoid(ctx.k * (u - 1))
        g = g_v * (1 - s) + (g_spike - g_v * u) * ctx.k * s * (1 - s)
        return (g * (1 - ctx.dt)).to(v.dtype), (g * ctx.dt).to(v.dtype), None, None


_ENTRIES.append(
    Stranger(
        name="leaky neuron: sigmoid(25 x), step as a number",
        source="leaky integrator, steep honest gate, step size a Python number; class itself",
        inputs=lambda g: (1 + 0.5 * draw(g, 4, 5), 1 + draw(g, 4, 5), 0.1, 25.0),
        right=LeakyNeuron,
    )
)


class Hypot(Function):
    @staticmethod
    def forward(ctx, x, y):
        r = torch.hypot(wide(x), wide(y))
        ctx.save_for_backward(x, y)
        return r.to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        r = torch.hypot(wide(x), wide(y))
        return (grad * (x / r)).to(x.dtype), (grad * (y / r)).to(y.dtype)


def many_magnitudes(g: torch.Generator) -> tuple[Tensor, Tensor]:
    scale = torch.tensor([1e-25, 1e-3, 1.0, 1e3, 1e20], dtype=torch.float64)
    return draw(g, 4, 5) * scale, draw(g, 4, 5) * scale


_ENTRIES.append(
    Stranger(
        name="hypot: from 1e-25 to 1e20",
        source="hypot whose squares would leave the range of float32",
        inputs=many_magnitudes,
        right=Hypot.apply,
        reference=torch.hypot,
    )
)


class MaskedLogSumExp(Function):
    @staticmethod
    def forward(ctx, x, mask):
        if mask is not None:
            x = x.masked_fill(~mask, float("-inf"))
        y = torch.logsumexp(wide(x), -1)
        ctx.save_for_backward(x, y)
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return (grad[..., None] * torch.exp(wide(x) - y[..., None])).to(x.dtype), None


def masked_log_sum_exp(x: Tensor, mask: Tensor | None = None) -> Tensor:
    return MaskedLogSumExp.apply(x, mask)


def holes(g: torch.Generator) -> tuple[Tensor, Tensor]:
    mask = torch.rand(4, 6, generator=g) < 0.6
    mask[:, 2] = True
    return 40 * draw(g, 4, 6), mask


_ENTRIES.append(
    Stranger(
        name="logsumexp: masked with -inf, large",
        source="masked logsumexp with -inf inside and scores beyond exp's range in float32",
        inputs=holes,
        right=masked_log_sum_exp,
        reference=lambda x, m: x.masked_fill(~m, float("-inf")).logsumexp(-1),
    )
)

# ------------------------------------------------------------------------------ linear algebra


def well_posed(g: torch.Generator, *size: int) -> Tensor:
    return 2 * torch.eye(size[-1], dtype=torch.float64) + 0.4 * draw(g, *size)


def positive_definite(g: torch.Generator, *size: int) -> Tensor:
    a = draw(g, *size)
    return a @ a.mT / size[-1] + torch.eye(size[-1], dtype=torch.float64)


class InverseAndLogDet(Function):
    @staticmethod
    def forward(ctx, a):
        ctx.set_materialize_grads(False)
        aw = wide(a)
        inverse = torch.linalg.inv(aw).to(a.dtype)
        ctx.save_for_backward(inverse)
        return inverse, torch.linalg.slogdet(aw)[1].to(a.dtype)

    @staticmethod
    def backward(ctx, g_inverse, g_logdet):
        (inverse,) = ctx.saved_tensors
        t = inverse.mT
        grad = None
        if g_inverse is not None:
            grad = -(t @ g_inverse @ t)
        if g_logdet is not None:
            part = g_logdet[..., None, None] * t
            grad = part if grad is None else grad + part
        return grad


_ENTRIES.append(
    Stranger(
        name="inverse and log|det|: two outputs",
        source="normalising flows: inverse and log|det|, either may go unused; class itself",
        inputs=lambda g: (well_posed(g, 2, 4, 4),),
        right=InverseAndLogDet,
    )
)


class CholeskySymmetrised(Function):
    @staticmethod
    def forward(ctx, a):
        low = torch.linalg.cholesky(0.5 * (wide(a) + wide(a).mT)).to(a.dtype)
        ctx.save_for_backward(low)
        return low

    @staticmethod
    def backward(ctx, grad):
        low = wide(ctx.saved_tensors[0])
        p = (low.mT @ wide(grad).tril()).tril()
        p = p - 0.5 * torch.diag_embed(p.diagonal(dim1=-2, dim2=-1))
        s = torch.linalg.solve_triangular(low.mT, p, upper=True)
        s = torch.linalg.solve_triangular(low, s, upper=False, left=False)
        return (0.5 * (s + s.mT)).to(grad.dtype)


_ENTRIES.append(
    Stranger(
        name="cholesky: phi form, symmetrised",
        source="Cholesky backward by Murray's phi(L^T gL); the forward symmetrises its input",
        inputs=lambda g: (positive_definite(g, 2, 4, 4),),
        right=CholeskySymmetrised,
        reference=lambda a: torch.linalg.cholesky(0.5 * (wide(a) + wide(a).mT)).to(a.dtype),
    )
)


def series_exp(a: Tensor, order: int = 16) -> Tensor:
    squarings = max(0, math.ceil(math.log2(max(a.abs().sum(-1).max().item(), 1e-30))) + 1)
    a = a / 2**squarings
    term = total = torch.eye(a.shape[-1], dtype=a.dtype).expand_as(a)
    for k in range(1, order):
        term = term @ a / k
        total = total + term
    for _ in range(squarings):
        total = total @ total
    return total


class MatrixExp(Function):
    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return series_exp(wide(a)).to(a.dtype)

    @staticmethod
    def backward(ctx, grad):
        (a,) = ctx.saved_tensors
        t, g, n = wide(a).mT, wide(grad), a.shape[-1]
        top = torch.cat((t, g), -1)
        bottom = torch.cat((torch.zeros_like(g), t), -1)
        return series_exp(torch.cat((top, bottom), -2))[..., :n, n:].to(a.dtype)


_ENTRIES.append(
    Stranger(
        name="matrix exponential: series and squaring",
        source="matrix exponential by scaled Taylor series, Frechet adjoint by the block matrix",
        inputs=normal((2, 4, 4)),
        right=MatrixExp,
        reference=lambda a: torch.linalg.matrix_exp(wide(a)).to(a.dtype),
    )
)


class NewtonSchulz(Function):
    """Inverse square root; the backward goes through the same steps from the last to the first."""

    @staticmethod
    def forward(ctx, a, steps):
        aw = wide(a)
        eye = torch.eye(a.shape[-1], dtype=aw.dtype)
        c = aw.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        y, z = aw / c, eye.expand_as(aw)
        kept = []
        for _ in range(steps):
            t = 1.5 * eye - 0.5 * z @ y
            kept += [y, z, t]
            y, z = y @ t, t @ z
        ctx.save_for_backward(aw, c, z, *kept)
        return (z / c.sqrt()).to(a.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        a, c, last, *kept = ctx.saved_tensors
        g = wide(grad)
        g_c = -0.5 * (g * last).sum((-2, -1), keepdim=True) * c**-1.5
        g_y, g_z = torch.zeros_like(g), g / c.sqrt()
        while kept:
            t, z, y = kept.pop(), kept.pop(), kept.pop()
            g_t = y.mT @ g_y + g_z @ z.mT
            g_y = g_y @ t.mT - 0.5 * z.mT @ g_t
            g_z = t.mT @ g_z - 0.5 * g_t @ y.mT
        g_c = g_c - (g_y * a).sum((-2, -1), keepdim=True) / c**2
        eye = torch.eye(a.shape[-1], dtype=a.dtype)
        return (g_y / c + g_c * eye).to(grad.dtype), None


def newton_schulz_reference(a: Tensor, steps: int) -> Tensor:
    eye = torch.eye(a.shape[-1], dtype=a.dtype)
    trace = torch.einsum("bii->b", a)[:, None, None]
    y, z = a / trace, eye
    for _ in range(steps):
        t = (3 * eye - z @ y) / 2
        y, z = y @ t, t @ z
    return z / trace**0.5


_ENTRIES.append(
    Stranger(
        name="newton-schulz whitening",
        source="iterative normalisation (IterNorm, iSQRT-COV): steps saved and walked backwards",
        inputs=lambda g: (positive_definite(g, 2, 3, 3), 5),
        right=NewtonSchulz,
        reference=newton_schulz_reference,
    )
)


class Solve(Function):
    @staticmethod
    def forward(ctx, a, b):
        lu, pivots = torch.linalg.lu_factor(wide(a))
        x = torch.linalg.lu_solve(lu, pivots, wide(b))
        ctx.save_for_backward(lu, pivots, x)
        return x.to(b.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        lu, pivots, x = ctx.saved_tensors
        g_b = torch.linalg.lu_solve(lu, pivots, wide(grad).contiguous(), adjoint=True)
        g_a = -g_b @ x.mT if ctx.needs_input_grad[0] else None
        return None if g_a is None else g_a.to(grad.dtype), g_b.to(grad.dtype)


_ENTRIES.append(
    Stranger(
        name="solve: factors saved",
        source="linear solve with saved LU factors and integer pivots",
        inputs=lambda g: (well_posed(g, 2, 4, 4), draw(g, 2, 4, 3)),
        right=Solve,
        reference=lambda a, b: torch.linalg.solve(wide(a), wide(b)).to(b.dtype),
    )
)

# ------------------------------------------------------------------------ implicit fixed points


class Sparsemax(Function):
    """The threshold is found by halving; the backward never sees how."""

    @staticmethod
    def forward(ctx, scores, iterations):
        z = wide(scores)
        high = z.amax(-1, keepdim=True)
        low = high - 1
        for _ in range(iterations):
            tau = 0.5 * (low + high)
            enough = (z - tau).clamp_min(0).sum(-1, keepdim=True) >= 1
            low, high = torch.where(enough, tau, low), torch.where(enough, high, tau)
        p = (z - low).clamp_min(0)
        ctx.save_for_backward(p > 0)
        return p.to(scores.dtype)

    @staticmethod
    def backward(ctx, grad):
        (support,) = ctx.saved_tensors
        kept = wide(grad) * support
        mean = kept.sum(-1, keepdim=True) / support.sum(-1, keepdim=True)
        return (kept - mean * support).to(grad.dtype), None


def sparsemax_reference(scores: Tensor) -> Tensor:
    ordered = scores.sort(-1, descending=True)[0]
    k = torch.arange(1, scores.shape[-1] + 1)
    above = ordered.cumsum(-1) - 1
    size = (k * ordered > above).sum(-1, keepdim=True)
    return torch.relu(scores - above.gather(-1, size - 1) / size)


_ENTRIES.append(
    Stranger(
        name="sparsemax: threshold by bisection",
        source="sparsemax by bisection as in entmax packages; the reference sorts",
        inputs=normal((5, 6)),
        right=lambda scores: Sparsemax.apply(scores, 60),
        reference=sparsemax_reference,
    )
)


class Entmax15(Function):
    @staticmethod
    def forward(ctx, scores, iterations):
        z = wide(scores) / 2
        z = z - z.amax(-1, keepdim=True)
        low, width = -torch.ones_like(z[..., :1]), 1.0
        for _ in range(iterations):
            width /= 2
            mass = (z - low - width).clamp_min(0).square().sum(-1, keepdim=True)
            low = torch.where(mass >= 1, low + width, low)
        p = (z - low).clamp_min(0).square()
        p = (p / p.sum(-1, keepdim=True)).to(scores.dtype)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        s = ctx.saved_tensors[0].sqrt()
        g = grad * s
        return g - s * (g.sum(-1, keepdim=True) / s.sum(-1, keepdim=True)), None


_ENTRIES.append(
    Stranger(
        name="entmax 1.5: by bisection",
        source="entmax with alpha 1.5 by bisection, backward from the saved output; class itself",
        inputs=lambda g: (1.5 * draw(g, 4, 6), 60),
        right=Entmax15,
    )
)

# ----------------------------------------------------------------------- sequences and filters


class FftConv(Function):
    @staticmethod
    def forward(ctx, u, k):
        length = u.shape[-1]
        uf = torch.fft.rfft(wide(u), n=2 * length)
        kf = torch.fft.rfft(wide(k), n=2 * length)
        ctx.save_for_backward(uf, kf)
        return torch.fft.irfft(uf * kf, n=2 * length)[..., :length].to(u.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        uf, kf = ctx.saved_tensors
        length = dy.shape[-1]
        gf = torch.fft.rfft(wide(dy), n=2 * length)
        du = torch.fft.irfft(gf * kf.conj(), n=2 * length)[..., :length]
        dk = torch.fft.irfft((gf * uf.conj()).sum(0), n=2 * length)[..., :length]
        return du.to(dy.dtype), dk.to(dy.dtype)


def long_conv_reference(u: Tensor, k: Tensor) -> Tensor:
    steps = [(u[..., : t + 1] * k[..., : t + 1].flip(-1)).sum(-1) for t in range(u.shape[-1])]
    return torch.stack(steps, -1)


_ENTRIES.append(
    Stranger(
        name="fft convolution: causal, per channel",
        source="long convolution by FFT as in S4 and Hyena, complex spectra saved",
        inputs=normal((2, 3, 7), (3, 7)),
        right=FftConv,
        reference=long_conv_reference,
    )
)


class CumProd(Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.cumprod(x, -1)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        return (grad * y).flip(-1).cumsum(-1).flip(-1) / x


_ENTRIES.append(
    Stranger(
        name="cumprod: divides by its input",
        source="cumulative product without zeros, sum from the end over the input; class itself",
        inputs=lambda g: (
            (0.5 + torch.rand(3, 6, generator=g, dtype=torch.float64))
            * (2.0 * torch.randint(0, 2, (3, 6), generator=g) - 1),
        ),
        right=CumProd,
        domain=lambda x: x != 0,
    )
)


class SelectiveScan(Function):
    @staticmethod
    def forward(ctx, x, dt_raw, a, b, c, d):
        ctx.save_for_backward(x, dt_raw, a, b, c, d)
        dt = F.softplus(wide(dt_raw))
        h = wide(x).new_zeros(x.shape[0], x.shape[2], a.shape[1])
        states, ys = [], []
        for t in range(x.shape[1]):
            drive = (dt[:, t] * wide(x)[:, t])[..., None] * b[:, t, None]
            h = torch.exp(dt[:, t, :, None] * a) * h + drive
            states.append(h)
            ys.append((h * c[:, t, None]).sum(-1) + d * x[:, t])
        ctx.states = torch.stack(states, 1)
        return torch.stack(ys, 1).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):
        x, dt_raw, a, b, c, d = (wide(t) for t in ctx.saved_tensors)
        dt, h, dyw = F.softplus(dt_raw), ctx.states, wide(dy)
        gx, gdt, ga, gb, gc = d * dyw, *(torch.zeros_like(t) for t in (dt, a, b, c))
        carry = torch.zeros_like(h[:, 0])
        for t in reversed(range(x.shape[1])):
            before = h[:, t - 1] if t else torch.zeros_like(carry)
            carry = carry + dyw[:, t, :, None] * c[:, t, None]
            decay = torch.exp(dt[:, t, :, None] * a)
            gc[:, t] = (dyw[:, t, :, None] * h[:, t]).sum(1)
            through = carry * decay * before
            ga += (through * dt[:, t, :, None]).sum(0)
            carried_b = (carry * b[:, t, None]).sum(-1)
            gdt[:, t] = (through * a).sum(-1) + carried_b * x[:, t]
            gx[:, t] += carried_b * dt[:, t]
            gb[:, t] = (carry * (dt[:, t] * x[:, t])[..., None]).sum(1)
            carry = carry * decay
        gs = gx, gdt * torch.sigmoid(dt_raw), ga, gb, gc, (dyw * x).sum((0, 1))
        return tuple(g.to(dy.dtype) for g in gs)


def selective_scan_reference(
    x: Tensor, dt_raw: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor
) -> Tensor:
    dt, h, ys = F.softplus(dt_raw), torch.zeros((), dtype=x.dtype), []
    for t in range(x.shape[1]):
        drive = torch.einsum("bd,bn,bd->bdn", dt[:, t], b[:, t], x[:, t])
        h = torch.einsum("bd,dn->bdn", dt[:, t], a).exp() * h + drive
        ys.append(torch.einsum("bdn,bn->bd", h, c[:, t]))
    return torch.stack(ys, 1) + x * d


_ENTRIES.append(
    Stranger(
        name="selective scan: backward in reverse time",
        source="Mamba's selective scan written out, states kept on ctx as an attribute",
        inputs=lambda g: (
            *(draw(g, 2, 5, 3), draw(g, 2, 5, 3)),
            -torch.rand(3, 2, generator=g, dtype=torch.float64) - 0.2,
            *(draw(g, 2, 5, 2), draw(g, 2, 5, 2), draw(g, 3)),
        ),
        right=SelectiveScan,
        reference=selective_scan_reference,
        # Beyond 20 torch's softplus is the identity, and its slope 1 to 2e-9.
        domain={"dt_raw": (None, 18)},
    )
)


class LinearRecurrence(Function):
    @staticmethod
    def forward(ctx, a, b, h0):
        h = torch.zeros_like(b[:, 0]) if h0 is None else h0
        out = []
        for t in range(a.shape[1]):
            h = a[:, t] * h + b[:, t]
            out.append(h)
        y = torch.stack(out, 1)
        ctx.save_for_backward(a, y, h0)
        return y

    @staticmethod
    def backward(ctx, grad):
        a, y, h0 = ctx.saved_tensors
        first = torch.zeros_like(y[:, :1]) if h0 is None else h0[:, None]
        carry, carries = torch.zeros_like(y[:, 0]), []
        for t in range(a.shape[1] - 1, -1, -1):
            carry = carry + grad[:, t]
            carries.insert(0, carry)
            carry = carry * a[:, t]
        g_b = torch.stack(carries, 1)
        g_a = g_b * torch.cat((first, y[:, :-1]), 1)
        return g_a, g_b, None if h0 is None else carry


_ENTRIES.append(
    Stranger(
        name="linear recurrence: no first state given",
        source="h = a h + b as in gated linear units, first state None; class itself",
        inputs=lambda g: (torch.sigmoid(draw(g, 2, 6, 3) + 1), draw(g, 2, 6, 3), None),
        right=LinearRecurrence,
    )
)


class LstmCell(Function):
    @staticmethod
    def forward(ctx, x, h, c, w_ih, w_hh, bias):
        i, f, g, o = (x @ w_ih.t() + h @ w_hh.t() + bias).chunk(4, 1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c_new = f * c + i * g
        tc = torch.tanh(c_new)
        ctx.save_for_backward(x, h, c, w_ih, w_hh, i, f, g, o, tc)
        return o * tc, c_new

    @staticmethod
    @once_differentiable
    def backward(ctx, dh, dc):
        x, h, c, w_ih, w_hh, i, f, g, o, tc = ctx.saved_tensors
        dc = dc + dh * o * (1 - tc * tc)
        d_i, d_f = dc * g * i * (1 - i), dc * c * f * (1 - f)
        d_g, d_o = dc * i * (1 - g * g), dh * tc * o * (1 - o)
        d = torch.cat((d_i, d_f, d_g, d_o), 1)
        return d @ w_ih, d @ w_hh, dc * f, d.t() @ x, d.t() @ h, d.sum(0)


def lstm_reference(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    i, f, g, o = torch.split(F.linear(x, w_ih) + F.linear(h, w_hh, bias), h.shape[1], dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


_ENTRIES.append(
    Stranger(
        name="lstm cell: hidden and cell state",
        source="an LSTM cell as in the C++ extension tutorial, gates saved, two outputs",
        inputs=normal((3, 4), (3, 3), (3, 3), (12, 4), (12, 3), (12,)),
        right=LstmCell,
        reference=lstm_reference,
    )
)

# ------------------------------------------------------------------------ indices and windows


class PaddedEmbedding(Function):
    @staticmethod
    def forward(ctx, ids, weight, padding_idx):
        keep = (ids != padding_idx).unsqueeze(-1)
        ctx.save_for_backward(ids, keep)
        ctx.rows = weight.shape[0]
        return weight[ids] * keep

    @staticmethod
    def backward(ctx, grad):
        ids, keep = ctx.saved_tensors
        g = (grad * keep).flatten(0, -2)
        table = g.new_zeros(ctx.rows, g.shape[-1])
        return None, table.index_add(0, ids.flatten(), g), None


_ENTRIES.append(
    Stranger(
        name="embedding: ids first, repeated, padding",
        source="embedding lookup with integer ids as first argument, index_add in backward",
        inputs=lambda g: (torch.tensor([[3, 1, 3, 0], [5, 3, 0, 0]]), draw(g, 7, 4), 0),
        right=PaddedEmbedding,
        reference=lambda ids, w, p: F.embedding(ids, w) * (ids != p).to(w.dtype)[..., None],
    )
)


class SegmentMean(Function):
    @staticmethod
    def forward(ctx, x, segment, segments):
        count = torch.bincount(segment, minlength=segments).clamp(min=1)
        ctx.save_for_backward(segment, count)
        out = wide(x).new_zeros(segments, x.shape[1]).index_add_(0, segment, wide(x))
        return (out / count[:, None]).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        segment, count = ctx.saved_tensors
        return (grad / count[:, None]).index_select(0, segment), None, None


_ENTRIES.append(
    Stranger(
        name="segment mean: one segment empty",
        source="graph pooling by segment ids with an empty segment; class itself",
        inputs=lambda g: (draw(g, 7, 4), torch.tensor([0, 2, 2, 0, 4, 2, 0]), 5),
        right=SegmentMean,
    )
)


class Im2ColConv(Function):
    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding):
        n, _, h, w = x.shape
        k = weight.shape[-1]
        size = [(s + 2 * padding - k) // stride + 1 for s in (h, w)]
        columns = F.unfold(wide(x), k, padding=padding, stride=stride)
        out = weight.flatten(1).to(columns.dtype) @ columns
        if bias is not None:
            out = out + bias[:, None]
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return out.view(n, -1, *size).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        how = {"padding": ctx.padding, "stride": ctx.stride}
        g, k = wide(grad).flatten(2), weight.shape[-1]
        gx = gw = gb = None
        if ctx.needs_input_grad[0]:
            columns = wide(weight).flatten(1).t() @ g
            gx = F.fold(columns, x.shape[2:], k, **how).to(x.dtype)
        if ctx.needs_input_grad[1]:
            columns = F.unfold(wide(x), k, **how)
            gw = (g @ columns.mT).sum(0).view_as(weight).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            gb = g.sum((0, 2)).to(grad.dtype)
        return gx, gw, gb, None, None


def im2col_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 2, padding: int = 1
) -> Tensor:
    return Im2ColConv.apply(x, weight, bias, stride, padding)


_ENTRIES.append(
    Stranger(
        name="im2col convolution: stride and padding",
        source="convolution by unfold and matmul, needs_input_grad branches, keyword defaults",
        inputs=normal((2, 2, 5, 6), (3, 2, 3, 3), (3,)),
        right=im2col_conv,
        reference=lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1),
    )
)


class PadShuffleRoll(Function):
    @staticmethod
    def forward(ctx, x, r, shift):
        ctx.r, ctx.shift = r, shift
        x = F.pad(x, (1, 1, 1, 1), mode="circular")
        return torch.roll(F.pixel_shuffle(x, r), shift, dims=(2, 3))

    @staticmethod
    def backward(ctx, grad):
        g = torch.roll(grad, [-s for s in ctx.shift], dims=(2, 3))
        g = F.pixel_unshuffle(g, ctx.r)
        for dim in (2, 3):
            n = g.shape[dim] - 2
            inner = g.narrow(dim, 1, n).clone()
            inner.narrow(dim, n - 1, 1).add_(g.narrow(dim, 0, 1))
            inner.narrow(dim, 0, 1).add_(g.narrow(dim, n + 1, 1))
            g = inner
        return g, None, None


_ENTRIES.append(
    Stranger(
        name="circular pad, pixel shuffle, roll",
        source="sub-pixel upsampling with wrapped borders and shifted windows; class itself",
        inputs=lambda g: (draw(g, 2, 4, 3, 3), 2, (1, -3)),
        right=PadShuffleRoll,
    )
)

# -------------------------------------------------------------------------------------- linear


class Bilinear(Function):
    @staticmethod
    def forward(ctx, x, y, w):
        ctx.save_for_backward(x, y, w)
        return torch.einsum("bi,oij,bj->bo", x, w, y)

    @staticmethod
    def backward(ctx, g):
        x, y, w = ctx.saved_tensors
        gx = torch.einsum("bo,oij,bj->bi", g, w, y)
        gy = torch.einsum("bo,oij,bi->bj", g, w, x)
        return gx, gy, torch.einsum("bo,bi,bj->oij", g, x, y)


_ENTRIES.append(
    Stranger(
        name="bilinear: einsum",
        source="a bilinear layer whose backward is three einsums; class itself",
        inputs=normal((4, 3), (4, 5), (2, 3, 5)),
        right=Bilinear,
    )
)


class LoraLinear(Function):
    @staticmethod
    def forward(ctx, x, weight, down, up, scaling):
        ctx.save_for_backward(x, weight, down, up)
        ctx.scaling = scaling
        return x @ weight.t() + scaling * ((x @ down.t()) @ up.t())

    @staticmethod
    def backward(ctx, grad):
        x, weight, down, up = ctx.saved_tensors
        flat, g = x.flatten(0, -2), grad.flatten(0, -2)
        gx = gw = ga = gb = None
        g_up = ctx.scaling * (g @ up)
        if ctx.needs_input_grad[0]:
            gx = (g @ weight + g_up @ down).view_as(x)
        if ctx.needs_input_grad[1]:
            gw = g.t() @ flat
        if ctx.needs_input_grad[2]:
            ga = g_up.t() @ flat
        if ctx.needs_input_grad[3]:
            gb = ctx.scaling * (g.t() @ (flat @ down.t()))
        return gx, gw, ga, gb, None


_ENTRIES.append(
    Stranger(
        name="lora linear: frozen base",
        source="LoRA layer as one Function, base weights frozen, scaling a number; class itself",
        inputs=lambda g: (
            draw(g, 2, 3, 6).requires_grad_(),
            draw(g, 5, 6),
            draw(g, 2, 6).requires_grad_(),
            draw(g, 5, 2).requires_grad_(),
            16 / 8,
        ),
        right=LoraLinear,
    )
)


class Checkpoint(Function):
    @staticmethod
    def forward(ctx, run, *args):
        ctx.run = run
        ctx.save_for_backward(*args)
        with torch.no_grad():
            return run(*args)

    @staticmethod
    def backward(ctx, grad):
        args = [a.detach().requires_grad_(a.requires_grad) for a in ctx.saved_tensors]
        with torch.enable_grad():
            out = ctx.run(*args)
        wanted = [a for a in args if a.requires_grad]
        found = iter(torch.autograd.grad(out, wanted, grad))
        return None, *(next(found) if a.requires_grad else None for a in args)


def mlp(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    return x + F.gelu(x @ w1) @ w2


_ENTRIES.append(
    Stranger(
        name="checkpoint: forward run again",
        source="activation checkpointing: no_grad forward, autograd of a second run in backward",
        inputs=normal((4, 3), (3, 5), (5, 3)),
        right=lambda x, w1, w2: Checkpoint.apply(mlp, x, w1, w2),
        reference=mlp,
    )
)

# ------------------------------------------------------------------------------------ geometry


class QuaternionRotate(Function):
    @staticmethod
    def forward(ctx, q, v):
        ctx.save_for_backward(q, v)
        q = q / q.norm(dim=-1, keepdim=True)
        w, u = q[..., :1], q[..., 1:]
        t = 2 * torch.linalg.cross(u, v)
        return v + w * t + torch.linalg.cross(u, t)

    @staticmethod
    def backward(ctx, g):
        q, v = ctx.saved_tensors
        cross = torch.linalg.cross
        n = q.norm(dim=-1, keepdim=True)
        unit = q / n
        w, u = unit[..., :1], unit[..., 1:]
        t = 2 * cross(u, v)
        g_t = w * g + cross(g, u)
        g_u = cross(t, g) + 2 * cross(v, g_t)
        g_unit = torch.cat(((g * t).sum(-1, keepdim=True), g_u), -1)
        g_q = (g_unit - unit * (unit * g_unit).sum(-1, keepdim=True)) / n
        return g_q, g + 2 * cross(g_t, u)


_ENTRIES.append(
    Stranger(
        name="quaternion rotation: normalised inside",
        source="rotating points by quaternions that are normalised first; class itself",
        inputs=normal((5, 4), (5, 3)),
        right=QuaternionRotate,
    )
)


def hat(w: Tensor) -> Tensor:
    x, y, z = w.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack((o, -z, y, z, o, -x, -y, x, o), -1).unflatten(-1, (3, 3))


def rodrigues(theta: Tensor) -> tuple[Tensor, ...]:
    """sin(t)/t, (1 - cos t)/t^2 and of each the derivative over t; in series where t is small."""
    s = theta * theta
    small = theta < 0.1
    t = torch.where(small, torch.ones_like(theta), theta)
    half = 2 * torch.sin(t / 2) ** 2

    def series(*terms: float) -> Tensor:
        return sum(c * s**k for k, c in enumerate(terms))

    return (
        torch.where(small, series(1, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880), t.sin() / t),
        torch.where(small, series(1 / 2, -1 / 24, 1 / 720, -1 / 40320), half / t**2),
        torch.where(
            small,
            series(-1 / 3, 1 / 30, -1 / 840, 1 / 45360),
            (t * t.cos() - t.sin()) / t**3,
        ),
        torch.where(
            small,
            series(-1 / 12, 1 / 180, -1 / 6720, 1 / 453600),
            (t * t.sin() - 2 * half) / t**4,
        ),
    )


class So3Exp(Function):
    @staticmethod
    def forward(ctx, w):
        ctx.save_for_backward(w)
        k = hat(wide(w))
        a, b, _, _ = rodrigues(wide(w).norm(dim=-1)[..., None, None])
        return (torch.eye(3, dtype=k.dtype) + a * k + b * k @ k).to(w.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (w,) = ctx.saved_tensors
        g, k = wide(grad), hat(wide(w))
        a, b, da, db = rodrigues(wide(w).norm(dim=-1)[..., None, None])
        gk = a * g + b * (g @ k.mT + k.mT @ g)
        radial = (g * (da * k + db * k @ k)).sum((-2, -1))
        vee = torch.stack(
            (
                gk[..., 2, 1] - gk[..., 1, 2],
                gk[..., 0, 2] - gk[..., 2, 0],
                gk[..., 1, 0] - gk[..., 0, 1],
            ),
            -1,
        )
        return (vee + radial[..., None] * wide(w)).to(w.dtype)


def small_and_large(g: torch.Generator) -> tuple[Tensor]:
    length = torch.tensor([0.0, 1e-8, 1e-4, 1e-2, 0.5, 1.0, 2.0], dtype=torch.float64)
    return (length[:, None] * F.normalize(draw(g, 7, 3), dim=-1),)


_ENTRIES.append(
    Stranger(
        name="so(3) exponential: zero and small angles",
        source="Rodrigues' formula with series for small angles, one angle exactly zero",
        inputs=small_and_large,
        right=So3Exp,
        reference=lambda w: torch.linalg.matrix_exp(hat(wide(w))).to(w.dtype),
    )
)


class PoincareDistance(Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        xw, yw = wide(x), wide(y)
        a, b = 1 - (xw * xw).sum(-1), 1 - (yw * yw).sum(-1)
        delta = 2 * (xw - yw).square().sum(-1) / (a * b)
        return torch.log1p(delta + torch.sqrt(delta * (delta + 2))).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, y = (wide(t) for t in ctx.saved_tensors)
        d = x - y
        a, b = (1 - (t * t).sum(-1, keepdim=True) for t in (x, y))
        delta = 2 * (d * d).sum(-1, keepdim=True) / (a * b)
        g = wide(grad)[..., None] / torch.sqrt(delta * (delta + 2))
        gx = g * (4 * d / (a * b) + 2 * delta / a * x)
        gy = g * (-4 * d / (a * b) + 2 * delta / b * y)
        return gx.to(grad.dtype), gy.to(grad.dtype)


def poincare_reference(x: Tensor, y: Tensor) -> Tensor:
    a, b = (1 - t.square().sum(-1) for t in (x, y))
    return 2 * torch.asinh((x - y).square().sum(-1).div(a * b).sqrt())


_ENTRIES.append(
    Stranger(
        name="poincare distance: inside the ball",
        source="hyperbolic embeddings: arcosh(1 + delta) by log1p, defined in the unit ball only",
        inputs=uniform(-0.5, 0.5, (6, 3), (6, 3)),
        right=PoincareDistance,
        reference=poincare_reference,
        domain=[(-0.577, 0.577), (-0.577, 0.577)],  # a cube within the ball
    )
)

# --------------------------------------------------------------------- functions of one number


class Artanh(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        xw = wide(x)
        return (0.5 * (torch.log1p(xw) - torch.log1p(-xw))).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        x = wide(ctx.saved_tensors[0])
        return (grad / ((1 - x) * (1 + x))).to(grad.dtype)


_ENTRIES.append(
    Stranger(
        name="artanh: open interval",
        source="artanh as in hyperbolic networks, without any clamp; class itself",
        inputs=uniform(-0.98, 0.98, (4, 5)),
        right=Artanh,
        domain=[(-1.0, 1.0)],
    )
)


class BetaLogDensity(Function):
    @staticmethod
    def forward(ctx, x, a, b):
        ctx.save_for_backward(x, a, b)
        xw, aw, bw = wide(x), wide(a), wide(b)
        log_b = torch.lgamma(aw) + torch.lgamma(bw) - torch.lgamma(aw + bw)
        return ((aw - 1) * xw.log() + (bw - 1) * torch.log1p(-xw) - log_b).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, a, b = (wide(t) for t in ctx.saved_tensors)
        both = torch.digamma(a + b)
        gx = (a - 1) / x - (b - 1) / (1 - x)
        ga = x.log() - torch.digamma(a) + both
        gb = torch.log1p(-x) - torch.digamma(b) + both
        return tuple((grad * g).to(grad.dtype) for g in (gx, ga, gb))


_ENTRIES.append(
    Stranger(
        name="beta log-density: digamma",
        source="log-density of the Beta distribution, a domain for each of three inputs",
        inputs=lambda g: (
            0.05 + 0.9 * torch.rand(3, 5, generator=g, dtype=torch.float64),
            0.3 + 3 * torch.rand(3, 5, generator=g, dtype=torch.float64),
            0.3 + 3 * torch.rand(3, 5, generator=g, dtype=torch.float64),
        ),
        right=BetaLogDensity,
        reference=lambda x, a, b: torch.distributions.Beta(a, b, validate_args=False).log_prob(x),
        domain=[(0.0, 1.0), (0.0, math.inf), (0.0, math.inf)],
    )
)


class SoftplusThreshold(Function):
    @staticmethod
    def forward(ctx, x, beta, threshold):
        ctx.save_for_backward(x)
        ctx.beta, ctx.threshold = beta, threshold
        bx = wide(x) * beta
        return torch.where(bx > threshold, wide(x), torch.log1p(bx.exp()) / beta).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        bx = wide(x) * ctx.beta
        slope = torch.where(bx > ctx.threshold, torch.ones_like(bx), torch.sigmoid(bx))
        return (grad * slope).to(x.dtype), None, None


def softplus(x: Tensor, beta: float = 2.0, threshold: float = 20.0) -> Tensor:
    return SoftplusThreshold.apply(x, beta, threshold)


def far_and_near(g: torch.Generator) -> tuple[Tensor]:
    far = torch.tensor([-1000.0, -60.0, 12.0, 60.0, 1000.0], dtype=torch.float64)
    return (torch.cat((3 * draw(g, 3, 5), far[None])),)


_ENTRIES.append(
    Stranger(
        name="softplus: beta and threshold",
        source="softplus with a switch to the identity, exp overflowing in the branch not taken",
        inputs=far_and_near,
        right=softplus,
        reference=lambda x: F.softplus(x, beta=2.0, threshold=20.0),
    )
)


class Log1mExp(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        xw = wide(x)
        near = torch.log(-torch.expm1(-xw))
        return torch.where(xw < math.log(2), near, torch.log1p(-torch.exp(-xw))).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        x = wide(ctx.saved_tensors[0])
        return (grad / torch.expm1(x)).to(grad.dtype)


_ENTRIES.append(
    Stranger(
        name="log(1 - exp(-x)): two branches",
        source="Maechler's log1mexp with its switch at log 2, gradient 1/expm1(x); class itself",
        inputs=uniform(0.02, 3.0, (4, 5)),
        right=Log1mExp,
        domain=[(0.0, math.inf)],
    )
)


class Probit(Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.erfinv(wide(x))
        ctx.save_for_backward(y)
        return (math.sqrt(2) * y).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return (grad * math.sqrt(math.pi / 2) * torch.exp(y * y)).to(grad.dtype)


_ENTRIES.append(
    Stranger(
        name="probit: erfinv",
        source="normal quantiles by erfinv, gradient from the saved inner value; class itself",
        inputs=uniform(-0.95, 0.95, (4, 5)),
        right=Probit,
        domain=[(-1.0, 1.0)],
    )
)


class QuickGelu(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        h = x.float()
        return (h * torch.sigmoid(1.702 * h)).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        h = x.float()
        s = torch.sigmoid(1.702 * h)
        return (grad.float() * (s + 1.702 * h * s * (1 - s))).to(x.dtype)


_ENTRIES.append(
    Stranger(
        name="quick gelu: in float32",
        source="CLIP's quick GELU, x.float() inside and back",
        inputs=normal((4, 6), scale=2.0),
        right=QuickGelu.apply,
        reference=lambda x: x * torch.sigmoid(1.702 * x),
        invisible_in=(),  # FLOAT32 INSIDE
    )
)


class Activation(Function):
    @staticmethod
    def forward(ctx, x, kind):
        ctx.save_for_backward(x)
        ctx.kind, h = kind, wide(x)
        y = h * torch.tanh(F.softplus(h)) if kind == "mish" else h * (h + 3).clamp(0, 6) / 6
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        x = wide(x)
        if ctx.kind == "mish":
            t = torch.tanh(F.softplus(x))
            slope = t + x * torch.sigmoid(x) * (1 - t * t)
        else:
            inside = (2 * x + 3) / 6
            slope = torch.where(x <= -3, 0.0, torch.where(x < 3, inside, 1.0))
        return (grad * slope).to(grad.dtype), None


_ENTRIES.append(
    Stranger(
        name="mish and hardswish: kind as a string",
        source="one Function for several activations, chosen by a string; mish(x) * hardswish(y)",
        inputs=lambda g: (2 * draw(g, 4, 7), grid(g, 4, 7, 1.5) + 0.3),
        right=lambda x, y: Activation.apply(x, "mish") * Activation.apply(y, "hardswish"),
        reference=lambda x, y: F.mish(x) * F.hardswish(y),
    )
)


class ChannelPrelu(Function):
    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x, slope)
        return torch.where(x > 0, x, x * slope.view(1, -1, *[1] * (x.dim() - 2)))

    @staticmethod
    def backward(ctx, grad):
        x, slope = ctx.saved_tensors
        gx = gs = None
        if ctx.needs_input_grad[0]:
            gx = torch.where(x > 0, grad, grad * slope.view(1, -1, *[1] * (x.dim() - 2)))
        if ctx.needs_input_grad[1]:
            gs = (grad * x.clamp(max=0)).transpose(0, 1).flatten(1).sum(1)
        return gx, gs


class Prelu(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        start = 0.25 + 0.1 * const(31, channels)
        self.slope = nn.Parameter(start)

    def forward(self, x: Tensor) -> Tensor:
        return ChannelPrelu.apply(x, self.slope.to(x.dtype))


_ENTRIES.append(
    Stranger(
        name="prelu: module with a slope per channel",
        source="PReLU module for NCL signals, slope a parameter reduced over batch and length",
        inputs=normal((2, 3, 5)),
        right=Prelu(3),
    )
)

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


class SeluInplace(Function):
    @staticmethod
    def forward(ctx, x):
        negative = SELU_ALPHA * torch.expm1(wide(x).clamp(max=0))
        x.copy_(SELU_SCALE * torch.where(x > 0, wide(x), negative))
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * torch.where(y > 0, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA)


_ENTRIES.append(
    Stranger(
        name="selu: in place, gradient from the output",
        source="in-place SELU with mark_dirty on a copy of the input, as in in-place ABN layers",
        inputs=normal((4, 6), scale=1.5),
        right=lambda x: SeluInplace.apply(x.clone()),
        reference=F.selu,
    )
)


class NumpyDepthwise(Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.x, ctx.w = (t.detach().double().numpy() for t in (x, w))
        padded = np.pad(ctx.x, ((0, 0), (0, 0), (w.shape[1] - 1, 0)))
        out = np.zeros_like(ctx.x)
        for j in range(w.shape[1]):
            out += ctx.w[:, j, None] * padded[:, :, j : j + x.shape[2]]
        return torch.from_numpy(out).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        g, (k, length) = grad.detach().double().numpy(), (ctx.w.shape[1], grad.shape[2])
        padded = np.pad(ctx.x, ((0, 0), (0, 0), (k - 1, 0)))
        g_padded, g_w = np.zeros_like(padded), np.zeros_like(ctx.w)
        for j in range(k):
            g_padded[:, :, j : j + length] += ctx.w[:, j, None] * g
            g_w[:, j] = (g * padded[:, :, j : j + length]).sum((0, 2))
        return tuple(
            torch.from_numpy(a.copy()).to(grad.dtype) for a in (g_padded[..., k - 1 :], g_w)
        )


_ENTRIES.append(
    Stranger(
        name="depthwise causal convolution: numpy",
        source="a Function whose forward and backward run in numpy; class itself",
        inputs=normal((2, 3, 6), (3, 3)),
        right=NumpyDepthwise,
    )
)


class Moments(Function):
    @staticmethod
    def forward(ctx, x, dim):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x)
        ctx.dim = dim
        return x.mean(dim), wide(x).var(dim, unbiased=True).to(x.dtype)

    @staticmethod
    def backward(ctx, g_mean, g_var):
        (x,) = ctx.saved_tensors
        n, grad = x.shape[ctx.dim], None
        if g_mean is not None:
            grad = (g_mean / n).unsqueeze(ctx.dim).expand_as(x)
        if g_var is not None:
            part = g_var.unsqueeze(ctx.dim) * 2 / (n - 1) * (x - x.mean(ctx.dim, keepdim=True))
            grad = part if grad is None else grad + part
        return grad, None


def moments(x: Tensor, *, dim: int = 1) -> dict[str, Tensor]:
    mean, var = Moments.apply(x, dim)
    return {"mean": mean, "var": var}


_ENTRIES.append(
    Stranger(
        name="moments: a dict, upstream may be None",
        source="set_materialize_grads(False), two outputs in a dict, an expanded gradient",
        inputs=normal((3, 6, 2)),
        right=moments,
        reference=lambda x: {"mean": x.mean(1), "var": x.var(1)},
    )
)


class BroadcastGate(Function):
    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * torch.sigmoid(y)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        s = torch.sigmoid(y)
        return (grad * s).sum_to_size(x.shape), (grad * x * s * (1 - s)).sum_to_size(y.shape)


_ENTRIES.append(
    Stranger(
        name="broadcast: sum_to_size, expanded input",
        source="x * sigmoid(y) of unlike shapes, the first input itself an expanded view",
        inputs=lambda g: (draw(g, 4, 1, 1).expand(4, 1, 5), draw(g, 3, 1)),
        right=BroadcastGate,
        reference=lambda x, y: x * torch.sigmoid(y),
    )
)

_N = torch.arange(8, dtype=torch.float64)
_WINDOW = 0.5 - 0.5 * torch.cos(2 * math.pi * (_N + 0.5) / 8)
_PHASE = 2 * math.pi * torch.outer(_N, torch.arange(5, dtype=torch.float64)) / 8
BANK_COS, BANK_SIN = _WINDOW[:, None] * _PHASE.cos(), -_WINDOW[:, None] * _PHASE.sin()


class Magnitudes(Function):
    @staticmethod
    def forward(ctx, x, hop):
        xw = wide(x)
        frames = xw.unfold(-1, 8, hop)
        re, im = frames @ BANK_COS.to(xw), frames @ BANK_SIN.to(xw)
        mag = torch.sqrt(re * re + im * im + 1e-8)
        ctx.save_for_backward(re, im, mag)
        ctx.hop, ctx.size = hop, x.shape
        return mag.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        re, im, mag = ctx.saved_tensors
        g = wide(grad) / mag
        frames = (g * re) @ BANK_COS.to(g).t() + (g * im) @ BANK_SIN.to(g).t()
        out = g.new_zeros(ctx.size)
        for i in range(frames.shape[-2]):
            out[..., i * ctx.hop : i * ctx.hop + 8] += frames[..., i, :]
        return out.to(grad.dtype), None


_ENTRIES.append(
    Stranger(
        name="spectrogram: filters instead of complex numbers",
        source="STFT magnitudes by cosine and sine filters, overlap-add in backward; class itself",
        inputs=lambda g: (draw(g, 2, 30), 4),
        right=Magnitudes,
    )
)

RIGHT: tuple[Stranger, ...] = tuple(_ENTRIES)

FLOAT32_INSIDE = (
    "rms norm: one plus weight, in float32",
    "swiglu: in float32",
    "distillation kl: temperature, frozen teacher",
    "focal loss: sigmoid, in float32",
    "quick gelu: in float32",
)
AT_A_KINK = (
    "relu and abs: exact zeros among the inputs",
    "max pool: ties go to the first",
)
FIRST_ORDER_ONLY = (
    "layer norm: statistics as outputs",
    "group norm: NCHW",
    "linear cross entropy: gradient made in forward",
    "huber: closure over the data",
    "checkpoint: forward run again",
)
ONCE = (
    "rms norm: saved rstd",
    "batch norm: module with running buffers",
    "rms norm: one plus weight, in float32",
    "causal attention: softmax made again",
    "distillation kl: temperature, frozen teacher",
    "focal loss: sigmoid, in float32",
    "triplet: some rows inactive",
    "top-k router: softmax over the chosen",
    "logsumexp: masked with -inf, large",
    "newton-schulz whitening",
    "solve: factors saved",
    "entmax 1.5: by bisection",
    "fft convolution: causal, per channel",
    "selective scan: backward in reverse time",
    "lstm cell: hidden and cell state",
    "so(3) exponential: zero and small angles",
    "poincare distance: inside the ball",
    "beta log-density: digamma",
    "probit: erfinv",
    "depthwise causal convolution: numpy",
    "spectrogram: filters instead of complex numbers",
)
