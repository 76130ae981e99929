"""Reported gradient bugs, written anew from the facts of the reports."""

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from strangers import Apply, Stranger, even, normal, uniform


def _whole(generator: torch.Generator, high: int, *size: int) -> Tensor:
    return torch.randint(high, size, generator=generator)


# sparsemax: the support's size is squeezed in every axis of length one, not in the one summed.


def _support(x: Tensor) -> tuple[Tensor, Tensor]:
    ordered = x.sort(dim=-1, descending=True).values
    count = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=x.dtype)
    excess = ordered.cumsum(-1) - 1
    size = (count * ordered > excess).sum(dim=-1, keepdim=True)
    return excess.gather(-1, size - 1) / size.to(x.dtype), size


def sparsemax(right: bool) -> Apply:
    class Sparsemax(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            tau, size = _support(x)
            y = (x - tau).clamp(min=0)
            ctx.save_for_backward(size, y)
            return y

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            size, y = ctx.saved_tensors
            grad = grad.masked_fill(y == 0, 0)
            size = size.to(y.dtype)
            mean = grad.sum(dim=-1) / (size.squeeze(-1) if right else size.squeeze())
            return torch.where(y != 0, grad - mean.unsqueeze(-1), grad)

    return Sparsemax


# A spike's surrogate slope, here beside the sigmoid it is the slope of, so that it is a derivative.


def steep_sigmoid(right: bool, slope: float = 25.0) -> Apply:
    class SteepSigmoid(Function):
        @staticmethod
        def forward(ctx: Any, membrane: Tensor) -> Tensor:
            ctx.save_for_backward(membrane)
            ctx.slope = slope
            return torch.sigmoid(slope * membrane)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (membrane,) = ctx.saved_tensors
            if right:
                s = torch.sigmoid(ctx.slope * membrane)
                return grad * ctx.slope * s * (1 - s)
            e = torch.exp(-ctx.slope * membrane)
            return grad * ctx.slope * e / (e + 1) ** 2

    return SteepSigmoid


def _near_and_far(generator: torch.Generator) -> tuple[Tensor]:
    near = even(generator, -0.2, 0.2, 8)
    return (torch.cat((near, even(generator, 30, 45, 3), -even(generator, 30, 45, 3))),)


# Pre-norm with a residual that is returned too: its upstream goes around the norm, not through it.


def prenorm(right: bool, eps: float = 1e-6) -> Apply:
    class PreNorm(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
            total = residual + x
            rstd = torch.rsqrt(total.square().mean(-1, keepdim=True) + eps)
            ctx.save_for_backward(total, weight, rstd)
            return total * rstd * weight, total

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, dout: Tensor, dtotal: Tensor) -> tuple[Tensor, ...]:
            total, weight, rstd = ctx.saved_tensors
            hat = total * rstd

            def through(g: Tensor) -> Tensor:
                wg = g * weight
                return rstd * (wg - hat * (wg * hat).mean(-1, keepdim=True))

            dx = dtotal + through(dout) if right else through(dtotal + dout)
            return dx, dx, (dout * hat).sum(0)

    return PreNorm


def _prenorm(x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    total = residual + x
    return total * torch.rsqrt(total.square().mean(-1, keepdim=True) + 1e-6) * weight, total


# Newton-Schulz square root: the backward pass forgets the transposes (all is symmetric as used).


def _roots(x: Tensor, steps: int) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor, Tensor]:
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    trace = x.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    y, z, history = x / trace, eye.expand_as(x), []
    for _ in range(steps):
        t = 0.5 * (3 * eye - z @ y)
        history.append((y, z, t))
        y, z = y @ t, t @ z
    return history, y, trace


def matrix_root(right: bool, steps: int = 4) -> Apply:
    def flip(m: Tensor) -> Tensor:
        return m.mT if right else m

    class MatrixRoot(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            history, y, trace = _roots(x, steps)
            ctx.history = history
            ctx.save_for_backward(x, y, trace)
            return y * trace.sqrt()

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            x, last, trace = ctx.saved_tensors
            dy, dz = grad * trace.sqrt(), torch.zeros_like(x)
            dtrace = (grad * last).sum((1, 2), keepdim=True) / (2 * trace.sqrt())
            for y, z, t in reversed(ctx.history):
                dt = flip(y) @ dy + dz @ flip(z)
                dy, dz = dy @ flip(t) - 0.5 * flip(z) @ dt, flip(t) @ dz - 0.5 * dt @ flip(y)
            dtrace = dtrace - (dy * x).sum((1, 2), keepdim=True) / trace**2
            return dy / trace + dtrace * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)

    return MatrixRoot


def _matrix_root(x: Tensor) -> Tensor:
    _, y, trace = _roots(x, 4)
    return y * trace.sqrt()


def _lopsided(generator: torch.Generator) -> tuple[Tensor]:
    noise = torch.randn(2, 4, 4, generator=generator, dtype=torch.float64)
    return (2 * torch.eye(4, dtype=torch.float64) + 0.4 * noise,)


# SwiGLU whose backward kernel writes the gradients over the saved inputs.


def swiglu(right: bool) -> Apply:
    class SwiGLU(Function):
        @staticmethod
        def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
            ctx.save_for_backward(a, b)
            return F.silu(a) * b

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            a, b = ctx.saved_tensors
            out_a, out_b = (torch.empty_like(t) if right else t.data for t in (a, b))
            s = torch.sigmoid(a)
            da, db = grad * b * (s * (1 - a * s) + a * s), grad * a * s
            out_a.copy_(da)
            out_b.copy_(db)
            return out_a, out_b

    return SwiGLU


# The product of all elements, whose backward pass starts from one instead of from the upstream.


def product(right: bool) -> Apply:
    class Product(Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x.prod()

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
            ctx.save_for_backward(inputs[0], output)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            x, y = ctx.saved_tensors
            return grad * y / x if right else y / x

    return Product


# Linear layer and cross entropy in one, gradients prepared in the forward pass, a loss per token.


def linear_cross_entropy(right: bool) -> Apply:
    class LinearCrossEntropy(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
            logits = x @ weight.T
            dlogits = logits.softmax(-1) - F.one_hot(target, weight.shape[0]).to(x.dtype)
            ctx.save_for_backward(x, weight, dlogits)
            return logits.logsumexp(-1) - logits.gather(1, target[:, None]).squeeze(1)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            x, weight, dlogits = ctx.saved_tensors
            dlogits = dlogits * (grad[:, None] if right else grad[0])
            return dlogits @ weight, dlogits.T @ x, None

    return LinearCrossEntropy


def _tokens(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    x, weight = normal((5, 4), (6, 4))(generator)
    return x, weight, _whole(generator, 6, 5)


# Total variation: where both distributions agree the kernel takes the branch of the smaller.


def total_variation(right: bool) -> Apply:
    class TotalVariation(Function):
        @staticmethod
        def forward(ctx: Any, p: Tensor, q: Tensor) -> Tensor:
            step = torch.where(p > q, 0.5, -0.5).to(p.dtype)
            if right:
                step = step.masked_fill(p == q, 0)
            ctx.save_for_backward(step)
            return 0.5 * (p - q).abs().sum() / p.shape[0]

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            (step,) = ctx.saved_tensors
            return grad * step / step.shape[0], None

    return TotalVariation


def _student_and_teacher(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    p, q = (t.softmax(-1) for t in normal((4, 6), (4, 6))(generator))
    q[0] = p[0]
    p[1:, -1] = q[1:, -1] = 0
    return p.requires_grad_(), q


# Softplus: linear beyond a threshold of the input, but the backward pass asks the output.


def softplus(x: Tensor, beta: float, threshold: float, right: bool) -> Tensor:
    class Softplus(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            y = torch.where(x * beta > threshold, x, torch.log1p(torch.exp(x * beta)) / beta)
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            x, y = ctx.saved_tensors
            linear = (x if right else y) * beta > threshold
            z = torch.exp(y * beta)
            return torch.where(linear, grad, grad * (z - 1) / z)

    return Softplus.apply(x)


def _about_threshold(generator: torch.Generator) -> tuple[Tensor]:
    bands = ((0.2, 0.31), (-1.0, 0.1), (0.4, 1.0))
    return (torch.cat([even(generator, low, high, 4) for low, high in bands]),)


# x tanh x keeps the tanh of the forward pass: differentiated again it counts as a constant.


def x_tanh(right: bool) -> Apply:
    class XTanh(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.tanh = torch.tanh(x)
            ctx.save_for_backward(x)
            return x * ctx.tanh

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            t = torch.tanh(x) if right else ctx.tanh
            return grad * (t + x * (1 - t * t))

    return XTanh


# A layer norm with a gate: the gate's gradient is also handed out as that of x.


def gated_norm(right: bool, eps: float = 1e-5) -> Apply:
    class GatedNorm(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, z: Tensor, weight: Tensor) -> Tensor:
            mean = x.mean(-1, keepdim=True)
            rstd = torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + eps)
            ctx.save_for_backward(x, z, weight, mean, rstd)
            return (x - mean) * rstd * weight * F.silu(z)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x, z, weight, mean, rstd = ctx.saved_tensors
            hat, s = (x - mean) * rstd, torch.sigmoid(z)
            dy = grad * z * s
            dz = grad * hat * weight * s * (1 + z * (1 - s))
            g = dy * weight
            dx = g - g.mean(-1, keepdim=True) - hat * (g * hat).mean(-1, keepdim=True)
            return dx * rstd if right else dz, dz, (dy * hat).sum(0)

    return GatedNorm


def _gated_norm(x: Tensor, z: Tensor, weight: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-5) * weight * F.silu(z)


# A kernel that walks over the upstream with the strides of x (autograd promises no strides).


def scaled_square(right: bool) -> Apply:
    def read(grad: Tensor, like: Tensor) -> Tensor:
        """As a kernel does that is given where the memory begins, and takes it for contiguous."""
        count = grad.untyped_storage().nbytes() // grad.element_size() - grad.storage_offset()
        memory = grad.as_strided((count,), (1,))
        return memory[torch.arange(like.numel(), device=like.device) % count].view_as(like)

    class ScaledSquare(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            x = x.contiguous()
            ctx.save_for_backward(x, weight)
            return weight * x * x

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, weight = ctx.saved_tensors
            grad = read(grad.contiguous() if right else grad, x)
            return 2 * grad * weight * x, (grad * x * x).sum(0)

    return ScaledSquare


# Quick GELU on a sigmoid made of exp and reciprocal: far below zero its backward is 0 * inf.


class QuickGELU(nn.Module):
    def __init__(self, right: bool, slope: float = 1.702) -> None:
        super().__init__()

        class Gate(Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor) -> Tensor:
                e = torch.exp(-slope * x)
                s = 1 / (1 + e)
                ctx.save_for_backward(e, s)
                return s

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> Tensor:
                e, s = ctx.saved_tensors
                if right:
                    return grad * slope * s * (1 - s)
                sum_grad = -grad * s * s
                return sum_grad * e * -slope

        self.gate = Gate.apply

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def _far_below(generator: torch.Generator) -> tuple[Tensor]:
    near = torch.randn(8, generator=generator, dtype=torch.float64)
    return (torch.cat((near, even(generator, -600, -450, 4))),)


# Mish with the closed form of its derivative, one exponent of which was misprinted.


def mish(right: bool) -> Apply:
    class Mish(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x * torch.tanh(F.softplus(x))

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            e = torch.exp(x)
            omega = 4 * (x + 1) + 4 * e**2 + e**3 + e * (4 * x + 6)
            delta = 2 * (e if right else e**2) + e**2 + 2
            return grad * e * omega / delta**2

    return Mish


# Layer norm: a register that still holds the mean is added to, so the mean is subtracted twice.


def layer_norm(right: bool, eps: float = 1e-5) -> Apply:
    class LayerNorm(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
            mean = x.mean(-1, keepdim=True)
            rstd = (x.var(-1, keepdim=True, correction=0) + eps).rsqrt()
            ctx.save_for_backward(x, gamma, mean, rstd)
            return (x - mean) * rstd * gamma + beta

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x, gamma, mean, rstd = ctx.saved_tensors
            hat, g = (x - mean) * rstd, grad * gamma
            first = g.mean(-1, keepdim=True)
            register = torch.zeros_like(first) if right else first
            register = register + hat * (g * hat).mean(-1, keepdim=True)
            return rstd * (g - first - register), (grad * hat).sum(0), grad.sum(0)

    return LayerNorm


# gather: the backward pass scatters, so of an element taken twice one upstream is lost.


def gather(right: bool) -> Apply:
    class Gather(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
            ctx.save_for_backward(index)
            ctx.shape = x.shape
            return x.gather(0, index)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            (index,) = ctx.saved_tensors
            zero = grad.new_zeros(ctx.shape)
            return zero.scatter_add(0, index, grad) if right else zero.scatter(0, index, grad), None

    return Gather


def _rows(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    # More rows are taken than there are: some twice.
    return (*normal((4, 3))(generator), _whole(generator, 4, 7, 3))


# A convolution whose weight gradient is a mean over batch and places, not a sum.


def conv2d(right: bool) -> Apply:
    class Conv2d(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            ctx.save_for_backward(x, weight)
            return F.conv2d(x, weight)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, weight = ctx.saved_tensors
            patches = F.unfold(x, weight.shape[-2:])
            dweight = torch.einsum("bol,bpl->op", grad.flatten(2), patches).view_as(weight)
            if not right:
                batch, _, height, width = grad.shape
                dweight = dweight / (batch * height * width)
            return F.conv_transpose2d(grad, weight), dweight

    return Conv2d


# An LSTM cell from scratch: the forget gate is multiplied by its sigmoid, not by the slope.


def lstm_cell(right: bool) -> Apply:
    def sigmoid(x: Tensor, derivative: bool = False) -> Tensor:
        return x * (1 - x) if derivative else torch.sigmoid(x)

    class LSTMCell(Function):
        @staticmethod
        def forward(ctx: Any, *gates_and_cell: Tensor) -> tuple[Tensor, Tensor]:
            zf, zi, zo, zg, cell = gates_and_cell
            f, i, o, g = sigmoid(zf), sigmoid(zi), sigmoid(zo), torch.tanh(zg)
            new = f * cell + i * g
            ctx.save_for_backward(f, i, o, g, cell, new)
            return o * torch.tanh(new), new

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, dh: Tensor, dnew: Tensor) -> tuple[Tensor, ...]:
            f, i, o, g, cell, new = ctx.saved_tensors
            t = torch.tanh(new)
            dc = dnew + dh * o * (1 - t * t)
            df = sigmoid(f, derivative=right) * (dc * cell)
            di = sigmoid(i, derivative=True) * (dc * g)
            do = sigmoid(o, derivative=True) * (dh * t)
            return df, di, do, (1 - g * g) * (dc * i), dc * f

    return LSTMCell


def _lstm_cell(zf: Tensor, zi: Tensor, zo: Tensor, zg: Tensor, cell: Tensor) -> Any:
    new = torch.sigmoid(zf) * cell + torch.sigmoid(zi) * torch.tanh(zg)
    return torch.sigmoid(zo) * torch.tanh(new), new


# A splat's weight: the half of the square terms was also put before the mixed term's gradient.


def splat(right: bool) -> Apply:
    class Splat(Function):
        @staticmethod
        def forward(dx: Tensor, dy: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
            return torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs, output)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
            dx, dy, a, b, c, y = ctx.saved_tensors
            g = grad * y
            half = 1.0 if right else 0.5
            places = (-g * (a * dx + b * dy), -g * (c * dy + b * dx))
            return *places, -0.5 * g * dx * dx, -half * g * dx * dy, -0.5 * g * dy * dy

    return Splat


def _splat(dx: Tensor, dy: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)


def _splats(generator: torch.Generator) -> tuple[Tensor, ...]:
    dx, dy = normal((8,), (8,))(generator)
    a, c = uniform(0.5, 1.5, (8,), (8,))(generator)
    return dx, dy, a, even(generator, -0.4, 0.4, 8), c


# Turning points by a quaternion: the forward pass normalises it, the backward pass does not know.


def _turn(q: Tensor, v: Tensor) -> Tensor:
    w, u = q[..., :1], q[..., 1:]
    cross = torch.linalg.cross(u, v)
    return v + 2 * w * cross + 2 * torch.linalg.cross(u, cross)


def rotate(right: bool) -> Apply:
    class Rotate(Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor, v: Tensor) -> Tensor:
            length = q.square().sum(-1, keepdim=True).sqrt()
            ctx.save_for_backward(q / length, v, length)
            return _turn(q / length, v)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
            n, v, length = ctx.saved_tensors
            w, u = n[..., :1], n[..., 1:]

            def dot(a: Tensor, b: Tensor) -> Tensor:
                return (a * b).sum(-1, keepdim=True)

            dw = 2 * dot(torch.linalg.cross(u, v), g)
            du = 2 * w * torch.linalg.cross(v, g)
            du = du + 2 * (v * dot(u, g) + g * dot(u, v) - 2 * u * dot(v, g))
            dn = torch.cat((dw, du), -1)
            dq = (dn - n * dot(n, dn)) / length if right else dn
            return dq, _turn(torch.cat((w, -u), -1), g)

    return Rotate


# A cell whose ELU is written with fminf and fmaxf: in double it goes through single precision.


def elu_cell(right: bool) -> Apply:
    def clip(x: Tensor, low: float | None = None, high: float | None = None) -> Tensor:
        return x.clamp(low, high) if right else x.float().clamp(low, high).to(x.dtype)

    class EluCell(Function):
        @staticmethod
        def forward(ctx: Any, gate: Tensor, z: Tensor, old: Tensor) -> Tensor:
            candidate = clip(z, low=0.0) + clip(torch.expm1(z), high=0.0)
            ctx.save_for_backward(gate, z, candidate)
            return old + candidate * torch.sigmoid(gate)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            gate, z, candidate = ctx.saved_tensors
            s = torch.sigmoid(gate)
            slope = torch.where(z > 0, torch.ones_like(z), torch.exp(z))
            return grad * candidate * s * (1 - s), grad * s * slope, grad

    return EluCell


# Linear attention divided by its row sums, the sum over keys made by a kernel unknown to autograd.


def normalised_attention(q: Tensor, k: Tensor, v: Tensor, right: bool) -> Tensor:
    class NormalisedAttention(Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            weight = (q @ k.mT).tril()
            total = weight.sum(-1, keepdim=True)
            out = weight @ v / total
            ctx.save_for_backward(q, k, v, weight, total, out)
            return out

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            q, k, v, weight, total, out = ctx.saved_tensors
            grad = grad / total
            above = (grad @ v.mT).tril()
            below = -(grad * out).sum(-1, keepdim=True).expand_as(above).tril()
            dk = (above + below).mT @ q if right else above.mT @ q
            return (above + below) @ k, dk, weight.mT @ grad

    return NormalisedAttention.apply(q, k, v)


def _normalised_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weight = (q @ k.mT).tril()
    return weight @ v / weight.sum(-1, keepdim=True)


def _positive_keys(generator: torch.Generator) -> tuple[Tensor, ...]:
    q, k = uniform(0.2, 1.5, (2, 5, 3), (2, 5, 3))(generator)
    return q, k, *normal((2, 5, 4))(generator)


# A loss weighted by how wrong the guess is; the weight is held constant in the backward pass.


def attention_loss(right: bool, beta: float = 4.0, gamma: float = 0.5, alpha: float = 0.7) -> Apply:
    class AttentionLoss(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, edge: Tensor) -> Tensor:
            p = torch.sigmoid(torch.where(edge, x, -x))
            weight = torch.where(edge, alpha, 1 - alpha).to(x.dtype) * beta ** ((1 - p) ** gamma)
            ctx.save_for_backward(p, weight, edge)
            return -(weight * p.log()).sum()

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            p, weight, edge = ctx.saved_tensors
            dp = -weight / p
            if right:
                dp = dp + p.log() * weight * math.log(beta) * gamma * (1 - p) ** (gamma - 1)
            return grad * dp * p * (1 - p) * torch.where(edge, 1, -1).to(p.dtype), None

    return AttentionLoss


def _attention_loss(x: Tensor, edge: Tensor) -> Tensor:
    p = torch.sigmoid(torch.where(edge, x, -x))
    weight = torch.where(edge, 0.7, 1 - 0.7).to(x.dtype) * 4.0 ** ((1 - p) ** 0.5)
    return -(weight * F.logsigmoid(torch.where(edge, x, -x))).sum()


def _edges(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return (*normal((4, 4))(generator), _whole(generator, 2, 4, 4).bool())


# atan2: the rule is written for the arguments' other order, so that both signs are wrong.


def atan2(right: bool) -> Apply:
    class Atan2(Function):
        @staticmethod
        def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
            ctx.save_for_backward(first, second)
            return torch.atan2(first, second)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            first, second = ctx.saved_tensors
            square = first * first + second * second
            if right:
                return grad * second / square, -grad * first / square
            return -grad * second / square, grad * first / square

    return Atan2


# The range of a fake quantisation (without its rounding, which has no slope): all passes through.


def quantised_range(right: bool, scale: float = 0.25, low: int = -4, high: int = 3) -> Apply:
    class QuantisedRange(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return (x / scale).clamp(low, high) * scale

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            inside = (x >= low * scale) & (x <= high * scale)
            return grad * inside if right else grad

    return QuantisedRange


def _in_and_out(generator: torch.Generator) -> tuple[Tensor]:
    bands = ((-2.0, -1.2), (-0.8, 0.6), (0.9, 2.0))
    return (torch.cat([even(generator, low, high, 4) for low, high in bands]),)


# L2 normalisation x / (|x| + eps): the slope of the norm is divided by the norm and eps.


def normalise(right: bool, eps: float = 0.5) -> Apply:
    class Normalise(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            length = x.square().sum(1, keepdim=True).sqrt()
            ctx.save_for_backward(x, length)
            return x / (length + eps)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            x, length = ctx.saved_tensors
            norm = length + eps
            along = (x * grad).sum(1, keepdim=True)
            return (grad * norm - along * x / (length if right else norm)) / norm**2

    return Normalise


# Rotary embedding of queries, written by the kernel into the tensor it was given.


def rotary(right: bool, base: float = 100.0) -> Apply:
    def turn(x: Tensor, sign: float) -> Tensor:
        half = x.shape[-1] // 2
        rate = base ** (-torch.arange(half, device=x.device, dtype=torch.float64) / half)
        angle = torch.arange(x.shape[-2], device=x.device, dtype=torch.float64)[:, None] * rate
        cos, sin = angle.cos().to(x.dtype), sign * angle.sin().to(x.dtype)
        a, b = x[..., :half].clone(), x[..., half:].clone()
        x[..., :half] = a * cos - b * sin
        x[..., half:] = b * cos + a * sin
        return x

    class Rotary(Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor) -> Tensor:
            return turn(q.clone() if right else q.data, 1.0)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return turn(grad.clone(), -1.0)

    return Rotary


def _rotary(q: Tensor) -> Tensor:
    half = q.shape[-1] // 2
    rate = 100.0 ** (-torch.arange(half, device=q.device, dtype=torch.float64) / half)
    angle = torch.arange(q.shape[-2], device=q.device, dtype=torch.float64)[:, None] * rate
    cos, sin = angle.cos().to(q.dtype), angle.sin().to(q.dtype)
    a, b = q.split(half, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


# take along the second axis: gradients are added into a workspace that nobody sets to zero.


def take(right: bool) -> Apply:
    workspace: dict[Any, Tensor] = {}

    class Take(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
            ctx.save_for_backward(index)
            ctx.shape = x.shape
            return x.index_select(1, index)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            (index,) = ctx.saved_tensors
            key = (ctx.shape, grad.dtype, grad.device)
            if right or key not in workspace:
                workspace[key] = grad.new_zeros(ctx.shape)
            return workspace[key].index_add_(1, index, grad).clone(), None

    return Take


def _columns(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return (*normal((3, 5))(generator), _whole(generator, 5, 4))


# Attention on queries scaled beforehand: the gradient of the queries is scaled once too often.


def attention(right: bool) -> Apply:
    class Attention(Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            scale = q.shape[-1] ** -0.5
            p = torch.softmax((q * scale) @ k.mT, -1)
            out = p @ v
            ctx.save_for_backward(q, k, v, p, out)
            ctx.scale = scale
            return out

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            q, k, v, p, out = ctx.saved_tensors
            ds = p * (grad @ v.mT - (grad * out).sum(-1, keepdim=True))
            dq = ds @ (k * ctx.scale)
            if not right:
                dq = dq * ctx.scale
            return dq, ds.mT @ (q * ctx.scale), p.mT @ grad

    return Attention


# Sinkhorn with given row and column sums, differentiated implicitly as if all of them were one.

ROWS, COLUMNS = (0.5, 1.0, 2.0, 1.5), (1.2, 0.8, 0.6, 2.4)


def _sums(like: Tensor) -> tuple[Tensor, Tensor]:
    return like.new_tensor(ROWS)[:, None], like.new_tensor(COLUMNS)[:, None]


def _balance(cost: Tensor) -> Tensor:
    plan = cost.double().exp()
    row, column = _sums(plan)
    for _ in range(150):
        plan = plan / plan.sum(-2, keepdim=True) * column.T
        plan = plan / plan.sum(-1, keepdim=True) * row
    return plan.to(cost.dtype)


def sinkhorn(right: bool) -> Apply:
    class Sinkhorn(Function):
        @staticmethod
        def forward(ctx: Any, cost: Tensor) -> Tensor:
            plan = _balance(cost.double())
            ctx.save_for_backward(plan)
            return plan.to(cost.dtype)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (plan,) = ctx.saved_tensors
            row, column = _sums(plan)
            if not right:
                row, column = torch.ones_like(row), torch.ones_like(column)
            change = plan * grad.double()
            at_row, at_column = change.sum(-1)[..., None], change.sum(-2)[..., None]
            system = torch.diag(column[:, 0]) - plan.mT @ (plan / row)
            # The potentials are known up to a constant: the ones choose one.
            beta = torch.linalg.solve(system + 1, at_column - plan.mT @ (at_row / row))
            alpha = (at_row - plan @ beta) / row
            return (change - plan * (alpha + beta.mT)).to(grad.dtype)

    return Sinkhorn


# w z^2 - z with one z for many w: a term already summed is added to one that is not yet.


def broadcast_square(right: bool) -> Apply:
    class BroadcastSquare(Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor, w: Tensor) -> Tensor:
            ctx.save_for_backward(z, w)
            return w * z * z - z

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            z, w = ctx.saved_tensors
            square = (grad * w * 2 * z).sum(0, keepdim=True)
            straight = -grad.sum(0, keepdim=True) if right else -grad
            return (square + straight).sum(0, keepdim=True), grad * z * z

    return BroadcastSquare


# Softsign: its slope is taken at the output.


def softsign(right: bool) -> Apply:
    class Softsign(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            y = x / (1 + x.abs())
            ctx.save_for_backward(x if right else y)
            return y

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (at,) = ctx.saved_tensors
            return grad / (1 + at.abs()) ** 2

    return Softsign


FIRST: tuple[Stranger, ...] = (
    Stranger(
        name="sparsemax: an axis of length one squeezed away",
        source="https://github.com/deep-spin/entmax/issues/13",
        inputs=normal((4, 1, 5)),
        right=sparsemax(True),
        wrong=sparsemax(False),
        reference=lambda x: (x - _support(x)[0]).clamp(min=0),
        mistake=("reduction",),
    ),
    Stranger(
        name="steep sigmoid: inf / inf below the threshold",
        source="https://github.com/jeshraghian/snntorch/issues/427",
        inputs=_near_and_far,
        right=steep_sigmoid(True),
        wrong=steep_sigmoid(False),
        reference=lambda x: torch.sigmoid(25.0 * x),
        mistake=("overflow",),
    ),
    Stranger(
        name="RMS pre-norm: the residual's upstream sent through the norm",
        source="https://github.com/Dao-AILab/quack/pull/53",
        inputs=normal((3, 6), (3, 6), (6,)),
        right=prenorm(True),
        wrong=prenorm(False),
        reference=_prenorm,
        # J(dres + dout) for dres + J dout: in one term the norm's Jacobian is once too often.
        mistake=("missing-factor", "transform"),
    ),
    Stranger(
        name="matrix square root: transposes forgotten",
        source="https://github.com/jiangtaoxie/fast-MPN-COV/pull/7",
        inputs=_lopsided,
        right=matrix_root(True),
        wrong=matrix_root(False),
        reference=_matrix_root,
        mistake=("transposed",),
    ),
    Stranger(
        name="SwiGLU: gradients written over the inputs",
        source="https://github.com/linkedin/Liger-Kernel/issues/254",
        inputs=normal((3, 5), (3, 5)),
        right=swiglu(True),
        wrong=swiglu(False),
        reference=lambda a, b: F.silu(a) * b,
        mistake=("side-effect",),
    ),
    Stranger(
        name="prod: upstream dropped",
        source="https://github.com/pytorch/pytorch/issues/995",
        inputs=uniform(0.5, 2.0, (5,)),
        right=product(True),
        wrong=product(False),
        reference=lambda x: x.prod(),
        mistake=("upstream-ignored",),
        domain=lambda x: x != 0,  # it divides by them
    ),
    Stranger(
        name="fused cross entropy without reduction: the first token's upstream for all",
        source="https://github.com/linkedin/Liger-Kernel/pull/1298",
        inputs=_tokens,
        right=linear_cross_entropy(True),
        wrong=linear_cross_entropy(False),
        reference=lambda x, w, t: F.cross_entropy(x @ w.T, t, reduction="none"),
        mistake=("upstream-ignored", "reduction"),
    ),
    Stranger(
        name="softplus: threshold asked of the output",
        source="https://github.com/pytorch/pytorch/issues/55587",
        inputs=_about_threshold,
        right=lambda x: softplus(x, 3.0, 1.0, True),
        wrong=lambda x: softplus(x, 3.0, 1.0, False),
        reference=lambda x: torch.where(3 * x > 1, x, torch.log1p(torch.exp(3 * x)) / 3),
        mistake=("region", "output-for-input"),
    ),
    Stranger(
        name="x tanh x: an intermediate kept from the forward pass",
        source="https://github.com/pytorch/pytorch/issues/76185",
        inputs=normal((6,)),
        right=x_tanh(True),
        wrong=x_tanh(False),
        reference=lambda x: x * torch.tanh(x),
        mistake=("second-derivative",),
        order=2,
    ),
    Stranger(
        name="gated layer norm: dx is dz",
        source="https://github.com/fla-org/flash-linear-attention/issues/155",
        inputs=normal((3, 6), (3, 6), (6,)),
        right=gated_norm(True),
        wrong=gated_norm(False),
        reference=_gated_norm,
        mistake=("copied",),
    ),
    Stranger(
        name="kernel that takes the upstream for contiguous",
        source="https://github.com/pytorch/pytorch/issues/194719",
        inputs=normal((4, 6), (6,)),
        right=scaled_square(True),
        wrong=scaled_square(False),
        reference=lambda x, weight: weight * x * x,
        mistake=("storage-order",),
    ),
    Stranger(
        name="quick GELU: 0 * inf far below zero",
        source="https://github.com/tinygrad/tinygrad/pull/1113",
        inputs=_far_below,
        right=QuickGELU(True),
        wrong=QuickGELU(False),
        reference=lambda x: x * torch.sigmoid(1.702 * x),
        mistake=("overflow",),
    ),
    Stranger(
        name="mish: 2 exp(2x) for 2 exp(x)",
        source="https://github.com/digantamisra98/Mish/issues/11",
        inputs=normal((12,), scale=1.5),
        right=mish(True),
        wrong=mish(False),
        reference=lambda x: x * torch.tanh(F.softplus(x)),
        mistake=("constants", "missing-factor"),
        domain=(-20, 20),  # its exponentials overflow
    ),
    Stranger(
        name="layer norm: mean subtracted twice",
        source="https://github.com/tenstorrent/tt-metal/issues/53204",
        inputs=normal((3, 6), (6,), (6,)),
        right=layer_norm(True),
        wrong=layer_norm(False),
        reference=lambda x, gamma, beta: F.layer_norm(x, (6,), gamma, beta),
        mistake=("scaled-term",),
    ),
    Stranger(
        name="gather: of repeated indices one wins",
        source="https://github.com/pytorch/pytorch/issues/1631",
        inputs=_rows,
        right=gather(True),
        wrong=gather(False),
        reference=lambda x, index: x.gather(0, index),
        mistake=("reduction", "missing-term"),
    ),
    Stranger(
        name="conv2d: weight gradient averaged",
        source="https://github.com/sebgao/cTensor/issues/3",
        inputs=normal((2, 2, 5, 5), (3, 2, 3, 3)),
        right=conv2d(True),
        wrong=conv2d(False),
        reference=lambda x, weight: F.conv2d(x, weight),
        mistake=("factor", "reduction"),
    ),
    Stranger(
        name="LSTM cell: sigmoid for its slope at the forget gate",
        source="https://github.com/CaptainE/RNN-LSTM-in-numpy/issues/1",
        inputs=normal((2, 4), (2, 4), (2, 4), (2, 4), (2, 4)),
        right=lstm_cell(True),
        wrong=lstm_cell(False),
        reference=_lstm_cell,
        mistake=("missing-factor", "output-for-input"),
    ),
    Stranger(
        name="Gaussian splat: half of the mixed term",
        source="https://github.com/graphdeco-inria/gaussian-splatting/issues/551",
        inputs=_splats,
        right=splat(True),
        wrong=splat(False),
        reference=_splat,
        mistake=("factor",),
    ),
    Stranger(
        name="rotation: quaternion's normalisation not differentiated",
        source="https://github.com/nerfstudio-project/gsplat/issues/153",
        inputs=normal((5, 4), (5, 3)),
        right=rotate(True),
        wrong=rotate(False),
        reference=lambda q, v: _turn(q / q.square().sum(-1, keepdim=True).sqrt(), v),
        mistake=("missing-factor", "missing-term", "transform"),
    ),
    Stranger(
        name="ELU cell: fminf and fmaxf on doubles",
        source="https://github.com/pytorch/extension-cpp/issues/42",
        inputs=normal((3, 4), (3, 4), (3, 4)),
        right=elu_cell(True),
        wrong=elu_cell(False),
        reference=lambda gate, z, old: old + F.elu(z) * torch.sigmoid(gate),
        mistake=("precision", "forward"),
        # What goes through single precision loses nothing when it has no more than that.
        invisible_in=(torch.float32, torch.bfloat16),
    ),
    Stranger(
        name="normalised linear attention: keys of the denominator forgotten",
        source="https://github.com/fla-org/flash-linear-attention/pull/875",
        inputs=_positive_keys,
        right=lambda q, k, v: normalised_attention(q, k, v, True),
        wrong=lambda q, k, v: normalised_attention(q, k, v, False),
        reference=_normalised_attention,
        mistake=("missing-term",),
    ),
    Stranger(
        name="attention loss: its weight held constant",
        source="https://github.com/GuoxiaWang/DOOBNet/issues/6",
        inputs=_edges,
        right=attention_loss(True),
        wrong=attention_loss(False),
        reference=_attention_loss,
        mistake=("missing-term",),
        domain=(-30, 30),  # its exponentials overflow
    ),
    Stranger(
        name="atan2: both signs turned",
        source="https://github.com/EnzymeAD/Enzyme-JAX/pull/2066",
        inputs=normal((8,), (8,)),
        right=atan2(True),
        wrong=atan2(False),
        reference=torch.atan2,
        mistake=("sign",),
        domain=lambda x: x.abs() > 1e-3,  # it divides by the sum of squares
    ),
    Stranger(
        name="quantised range: gradient outside of it",
        source="https://github.com/microsoft/nni/issues/3159",
        inputs=_in_and_out,
        right=quantised_range(True),
        wrong=quantised_range(False),
        reference=lambda x: (x / 0.25).clamp(-4, 3) * 0.25,
        mistake=("region", "missing-factor"),
    ),
    Stranger(
        name="L2 normalisation: eps in the slope of the norm",
        source="https://github.com/chainer/chainer/pull/4190",
        inputs=normal((3, 4)),
        right=normalise(True),
        wrong=normalise(False),
        reference=lambda x: x / (x.square().sum(1, keepdim=True).sqrt() + 0.5),
        # One term of two has |x| / (|x| + eps) once too often.
        mistake=("scaled-term", "missing-factor"),
    ),
    Stranger(
        name="rotary embedding: written into the queries",
        source="https://github.com/unslothai/unsloth/issues/5001",
        inputs=normal((2, 4, 6)),
        right=rotary(True),
        wrong=rotary(False),
        reference=_rotary,
        mistake=("side-effect",),
    ),
    Stranger(
        name="take: workspace not set to zero",
        source="https://github.com/apache/mxnet/issues/19817",
        inputs=_columns,
        right=take(True),
        wrong=take(False),
        reference=lambda x, index: x.index_select(1, index),
        mistake=("stale-value", "nondeterministic"),
    ),
    Stranger(
        name="attention: queries' gradient scaled twice",
        source="https://github.com/HKUSTDial/flash-sparse-attention/pull/203",
        inputs=normal((2, 4, 4), (2, 5, 4), (2, 5, 3)),
        right=attention(True),
        wrong=attention(False),
        reference=lambda q, k, v: torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, -1) @ v,
        mistake=("factor",),
    ),
    Stranger(
        name="sinkhorn: row and column sums taken for one",
        source="https://github.com/deepseek-ai/TileKernels/issues/2",
        inputs=normal((2, 4, 4), scale=0.7),
        right=sinkhorn(True),
        wrong=sinkhorn(False),
        reference=_balance,
        mistake=("missing-factor", "scaled-term"),
        domain=lambda cost: cost.abs() < 4,  # there so many steps converge
    ),
    Stranger(
        name="broadcast: a summed term spread and summed again",
        source="https://github.com/pytorch/pytorch/issues/22833",
        inputs=normal((1,), (5,)),
        right=broadcast_square(True),
        wrong=broadcast_square(False),
        reference=lambda z, w: w * z * z - z,
        mistake=("reduction", "scaled-term"),
    ),
    Stranger(
        name="softsign: slope at the output",
        source="https://github.com/apache/mxnet/issues/10868",
        inputs=normal((10,), scale=2.0),
        right=softsign(True),
        wrong=softsign(False),
        reference=F.softsign,
        mistake=("output-for-input",),
    ),
)
