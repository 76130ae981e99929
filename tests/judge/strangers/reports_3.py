"""Still more reported gradient bugs, written anew from the facts of the reports."""

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from strangers import Apply, Stranger, even, normal, uniform


def _either_side(generator: torch.Generator, low: float, high: float, *size: int) -> Tensor:
    """Numbers of both signs, none near zero."""
    side = torch.randint(2, size, generator=generator) * 2 - 1
    return side * even(generator, low, high, *size)


# GELU's slope with the constants as a computer algebra system printed them: six digits.


def gelu(right: bool) -> Apply:
    root = math.sqrt(2 / math.pi)
    a, b = (root, 0.044715 * root) if right else (0.797885, 0.0356774)
    c, d = (a / 2, 1.5 * b) if right else (0.398942, 0.0535161)

    class GELU(Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return F.gelu(x, approximate="tanh")

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            cube = x**3
            t = torch.tanh(b * cube + a * x)
            return grad * (0.5 * t + (d * cube + c * x) * (1 - t * t) + 0.5)

    return GELU


# SiLU's sigmoid won back from the output by dividing it by the input, which may be zero.


def silu(right: bool) -> Apply:
    class SiLU(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            y = F.silu(x)
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            x, y = ctx.saved_tensors
            s = torch.sigmoid(x) if right else y / x
            return grad * s * (1 + x * (1 - s))

    return SiLU


def _with_zeros(generator: torch.Generator) -> tuple[Tensor]:
    x = _either_side(generator, 0.3, 2.0, 3, 4)
    x[1, 2] = x[2, 0] = 0
    return (x,)


# Swish with a beta for each column: its gradient is summed over the columns too.


def swish(right: bool) -> Apply:
    class Swish(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, beta: Tensor) -> Tensor:
            ctx.save_for_backward(x, beta)
            return x * torch.sigmoid(beta * x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, beta = ctx.saved_tensors
            s = torch.sigmoid(beta * x)
            dbeta = grad * x * x * s * (1 - s)
            return (
                grad * s * (1 + beta * x * (1 - s)),
                dbeta.sum(0) if right else dbeta.sum().expand_as(beta),
            )

    return Swish


# Softmax with the diagonal of its Jacobian alone.


class Softmax(nn.Module):
    def __init__(self, right: bool, dim: int = -1) -> None:
        super().__init__()

        class Inner(Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor) -> Tensor:
                y = torch.exp(x - x.amax(dim, keepdim=True))
                y = y / y.sum(dim, keepdim=True)
                ctx.save_for_backward(y)
                return y

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> Tensor:
                (y,) = ctx.saved_tensors
                if right:
                    return y * (grad - (grad * y).sum(dim, keepdim=True))
                return grad * y * (1 - y)

        self.inner = Inner.apply

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


# Huber loss of each row, whose backward pass never looks at gy.


def huber(right: bool) -> Apply:
    class Huber(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, t: Tensor, delta: float) -> Tensor:
            ctx.delta = delta
            ctx.save_for_backward(x - t)
            size = (x - t).abs()
            linear = delta * (size - 0.5 * delta)
            return torch.where(size <= delta, 0.5 * size.square(), linear).sum(1)

        @staticmethod
        def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, Tensor, None]:
            (difference,) = ctx.saved_tensors
            dx = difference.clamp(-ctx.delta, ctx.delta)
            if right:
                dx = gy[:, None] * dx
            return dx, -dx, None

    return Huber


def _predictions(generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    return (*normal((4, 5), (4, 5))(generator), 0.8)


# Smooth L1 that asks the difference, not its size, whether it is in the quadratic piece.


def smooth_l1(right: bool, beta: float = 1.0) -> Apply:
    class SmoothL1(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, target: Tensor) -> Tensor:
            d = x - target
            inside = (d.abs() if right else d) < beta
            ctx.save_for_backward(d, inside)
            return torch.where(inside, 0.5 * d * d / beta, d.abs() - 0.5 * beta).mean()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            d, inside = ctx.saved_tensors
            dx = grad * torch.where(inside, d / beta, d.sign()) / d.numel()
            return dx, -dx

    return SmoothL1


def _far_and_near(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    target = torch.randn(12, generator=generator, dtype=torch.float64)
    far = even(generator, 1.3, 2.5, 4)
    d = torch.cat((far, -far, _either_side(generator, 0.1, 0.7, 4)))
    return target + d, target


# Batch norm: the upstream is multiplied by the scale after what depends on it has been computed.


def batch_norm(right: bool, eps: float = 1e-5) -> Apply:
    class BatchNorm(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
            mean = x.mean(0)
            ivar = torch.rsqrt(x.var(0, correction=0) + eps)
            ctx.save_for_backward(x - mean, ivar, scale)
            return (x - mean) * ivar * scale + bias

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            centred, ivar, scale = ctx.saved_tensors
            dscale, dbias = (dy * centred * ivar).sum(0), dy.sum(0)
            m = dy.shape[0]
            dyivar = dy * ivar
            if right:
                dyivar = dyivar * scale
            dvar = -0.5 * (dyivar * centred * ivar**2).sum(0)
            dmean = -dyivar.sum(0)
            return dyivar + (2 * dvar * centred + dmean) / m, dscale, dbias

    return BatchNorm


# LoRA on dropped-out inputs: on the way back to x the adapter's branch forgets what was dropped.


def lora(right: bool) -> Apply:
    class Lora(Function):
        @staticmethod
        def forward(
            ctx: Any, x: Tensor, kept: Tensor, w: Tensor, a: Tensor, b: Tensor, p: float, s: float
        ) -> Tensor:
            mask = kept.to(x.dtype) / (1 - p)
            ctx.s = s
            ctx.save_for_backward(x, mask, w, a, b)
            return x @ w.T + s * ((x * mask) @ a.T) @ b.T

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            x, mask, w, a, b = ctx.saved_tensors
            dropped, dlow = x * mask, ctx.s * grad @ b
            dbranch = dlow @ a
            dx = grad @ w + (dbranch * mask if right else dbranch)
            return dx, None, None, dlow.T @ dropped, ctx.s * grad.T @ (dropped @ a.T), None, None

    return Lora


def _adapter(generator: torch.Generator) -> tuple[Any, ...]:
    x, w, a, b = normal((4, 6), (5, 6), (2, 6), (5, 2))(generator)
    kept = torch.rand((4, 6), generator=generator) >= 0.3
    return x.requires_grad_(), kept, w, a.requires_grad_(), b.requires_grad_(), 0.3, 1.5


def _lora(x: Tensor, kept: Tensor, w: Tensor, a: Tensor, b: Tensor, p: float, s: float) -> Tensor:
    return F.linear(x, w) + s * F.linear(F.linear(torch.where(kept, x, 0) / (1 - p), a), b)


# The mean over the last axis, whose kernel takes the upstream for contiguous.


class Mean(nn.Module):
    def __init__(self, right: bool) -> None:
        super().__init__()

        def read(grad: Tensor) -> Tensor:
            memory = grad.new_empty(0).set_(grad.untyped_storage())
            at = grad.storage_offset() + torch.arange(grad.numel(), device=grad.device)
            return memory[at % memory.numel()].view(grad.shape)

        class Inner(Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor) -> Tensor:
                ctx.shape = x.shape
                return x.sum(-1) / x.shape[-1]

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> Tensor:
                grad = read(grad.contiguous() if right else grad) / ctx.shape[-1]
                return grad[..., None].expand(ctx.shape)

        self.inner = Inner.apply

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


# (x0 x1 sin x2 + exp(x0 x1)) / x2: the gradients come in another order than the variables.


def expression(right: bool) -> Apply:
    class Expression(Function):
        @staticmethod
        def forward(x0: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
            return (x0 * x1 * x2.sin() + torch.exp(x0 * x1)) / x2

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs, output)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x0, x1, x2, y = ctx.saved_tensors
            dproduct = grad * (x2.sin() + torch.exp(x0 * x1)) / x2
            d0, d1 = dproduct * x1, dproduct * x0
            d2 = grad * (x0 * x1 * x2.cos() - y) / x2
            return (d0, d1, d2) if right else (d1, d0, d2)

    return Expression


# A scale whose backward pass scales the upstream where it lies.


def scaled(x: Tensor, by: float, right: bool) -> Tensor:
    class Scale(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * by

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            if right:
                return grad * by
            grad *= by
            return grad

    return Scale.apply(x)


# (2x)^2 with the 2x of the forward pass kept: the gradient of the gradient is lost.


def squared_double(right: bool) -> Apply:
    class SquaredDouble(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.doubled = 2 * x
            ctx.save_for_backward(x)
            return ctx.doubled**2

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return grad * 4 * (2 * x if right else ctx.doubled)

    return SquaredDouble


# Dropout that draws once more on the way back.


def dropout(right: bool) -> Apply:
    class Dropout(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, p: float, seed: int) -> Tensor:
            drawn = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
            ctx.kept, ctx.p = drawn.to(x.device) >= p, p
            return torch.where(ctx.kept, x / (1 - p), 0)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
            kept = ctx.kept if right else torch.rand(grad.shape, device=grad.device) >= ctx.p
            return torch.where(kept, grad / (1 - ctx.p), 0), None, None

    return Dropout


def _dropout(x: Tensor, p: float, seed: int) -> Tensor:
    drawn = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed))
    return x * (drawn.to(x.device) >= p) / (1 - p)


# A training loop's backward pass: each layer takes its step, and then the gradient goes through it.


def trained_layers(right: bool, rate: float = 0.2) -> Apply:
    class Layers(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, *parameters: Tensor) -> Tensor:
            hidden = [x]
            for w, b in zip(parameters[::2], parameters[1::2], strict=True):
                hidden.append(torch.tanh(hidden[-1] @ w + b))
            ctx.save_for_backward(*parameters[::2], *hidden)
            return hidden[-1]

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
            depth = len(ctx.saved_tensors) // 2
            weights, hidden = ctx.saved_tensors[:depth], ctx.saved_tensors[depth:]
            gradients: list[Tensor] = []
            for n in reversed(range(depth)):
                grad = grad * (1 - hidden[n + 1] ** 2)
                dw, db = hidden[n].T @ grad, grad.sum(0)
                gradients[:0] = dw, db
                grad = grad @ (weights[n] if right else weights[n] - rate * dw).T
            return grad, *gradients

    return Layers


def _layers(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    return torch.tanh(torch.tanh(x @ w1 + b1) @ w2 + b2)


# An LSTM step: input and output gate's biases get the forget gate's deltas (copied and pasted).


def lstm_step(right: bool) -> Apply:
    class Step(Function):
        @staticmethod
        def forward(
            ctx: Any, z: Tensor, c: Tensor, bf: Tensor, bi: Tensor, bo: Tensor, bc: Tensor
        ) -> tuple[Tensor, Tensor]:
            zf, zi, zo, zc = z.chunk(4, dim=1)
            f, i, o = torch.sigmoid(zf + bf), torch.sigmoid(zi + bi), torch.sigmoid(zo + bo)
            new = torch.tanh(zc + bc)
            after = f * c + i * new
            ctx.save_for_backward(c, f, i, o, new, after)
            return o * torch.tanh(after), after

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, dh: Tensor, dc: Tensor) -> tuple[Tensor, ...]:
            c, f, i, o, new, after = ctx.saved_tensors
            t = torch.tanh(after)
            dc = dc + dh * o * (1 - t * t)
            delta_f = dc * c * f * (1 - f)
            delta_i = dc * new * i * (1 - i)
            delta_o = dh * t * o * (1 - o)
            delta_c = dc * i * (1 - new * new)
            dbi, dbo = (delta_i, delta_o) if right else (delta_f, delta_f)
            dz = torch.cat((delta_f, delta_i, delta_o, delta_c), dim=1)
            return dz, dc * f, delta_f.sum(0), dbi.sum(0), dbo.sum(0), delta_c.sum(0)

    return Step


def _lstm_step(
    z: Tensor, c: Tensor, bf: Tensor, bi: Tensor, bo: Tensor, bc: Tensor
) -> tuple[Tensor, Tensor]:
    f, i, o, new = (z + torch.cat((bf, bi, bo, bc))).chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * new.tanh()
    return o.sigmoid() * c.tanh(), c


# The difference of two values, both of which get the upstream as it is.


def subtract(right: bool) -> Apply:
    class Subtract(Function):
        @staticmethod
        def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
            return a - b

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            return grad, -grad if right else grad

    return Subtract


# Focal loss on softmax, its factor's first term with the sign lost on the way.


def softmax_focal(right: bool, gamma: float = 2.0) -> Apply:
    class SoftmaxFocal(Function):
        @staticmethod
        def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
            log_all = logits.log_softmax(-1)
            log_p = log_all.gather(1, target[:, None])
            rest = -torch.expm1(log_p)
            ctx.save_for_backward(log_all, log_p, rest, target)
            return -(rest**gamma * log_p).mean()

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            log_all, log_p, rest, target = ctx.saved_tensors
            focus = gamma * rest ** (gamma - 1) * log_p.exp() * log_p
            factor = (focus if right else -focus) - rest**gamma
            hot = F.one_hot(target, log_all.shape[-1]).to(log_all.dtype)
            return grad * factor * (hot - log_all.exp()) / len(target), None

    return SoftmaxFocal


def _softmax_focal(logits: Tensor, target: Tensor) -> Tensor:
    log_p = logits.log_softmax(-1).gather(1, target[:, None])
    return -(torch.expm1(log_p) ** 2 * log_p).mean()


def _classes(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    (logits,) = normal((6, 4))(generator)
    return logits, torch.randint(4, (6,), generator=generator)


# Focal loss for boosting: the derivative by the probability given as that by the raw score.


def binary_focal(right: bool) -> Apply:
    class BinaryFocal(Function):
        @staticmethod
        def forward(ctx: Any, score: Tensor, label: Tensor, gamma: float) -> Tensor:
            z = torch.where(label, score, -score)
            p, rest, log_p = torch.sigmoid(z), torch.sigmoid(-z), F.logsigmoid(z)
            ctx.save_for_backward(p, rest, log_p, label)
            ctx.gamma = gamma
            return -(rest**gamma) * log_p

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
            p, rest, log_p, label = ctx.saved_tensors
            power = rest**ctx.gamma
            if right:
                dz = ctx.gamma * power * p * log_p - power * rest
            else:
                dz = ctx.gamma * rest ** (ctx.gamma - 1) * log_p - power / p
            return grad * torch.where(label, dz, -dz), None, None

    return BinaryFocal


def _scores(generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    (score,) = normal((10,), scale=0.8)(generator)
    return score, torch.rand(10, generator=generator) < 0.5, 2.0


def _binary_focal(score: Tensor, label: Tensor, gamma: float) -> Tensor:
    z = torch.where(label, score, -score)
    return -(torch.sigmoid(-z) ** gamma) * F.logsigmoid(z)


# The maximum over an axis: who is within a hundredth of it gets the gradient as well.


def maximum(right: bool) -> Apply:
    class Maximum(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, dim: int) -> Tensor:
            y = x.amax(dim, keepdim=True)
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            x, y = ctx.saved_tensors
            mask = x == y if right else torch.isclose(x, y, rtol=0, atol=1e-2)
            return grad * mask, None

    return Maximum


def _close_seconds(generator: torch.Generator) -> tuple[Tensor, int]:
    x = even(generator, -1.0, 0.2, 5, 6)
    x[:, 1] = even(generator, 0.3, 0.45, 5)
    x[::2, 4] = x[::2, 1] - 0.006
    return x, 1


# A network whose neurons ask the slope of tanh at their output.


class TanhNetwork(nn.Module):
    def __init__(self, right: bool) -> None:
        super().__init__()

        def slope(z: Tensor, y: Tensor) -> Tensor:
            return 1 - torch.tanh(z if right else y) ** 2

        class Network(Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
                z1 = x @ w1.T
                h = torch.tanh(z1)
                z2 = h @ w2.T
                y = torch.tanh(z2)
                ctx.save_for_backward(x, w1, w2, z1, h, z2, y)
                return y

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
                x, w1, w2, z1, h, z2, y = ctx.saved_tensors
                output = grad * slope(z2, y)
                hidden = output @ w2 * slope(z1, h)
                return hidden @ w1, hidden.T @ x, output.T @ h

        self.network = Network.apply

    def forward(self, x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
        return self.network(x, w1, w2)


# x = cos(theta) x, written over x: what theta's gradient multiplies is already turned.


def turned(right: bool) -> Apply:
    class Turned(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, theta: Tensor) -> Tensor:
            field = x.clone()
            ctx.save_for_backward(x if right else field, theta)
            field *= theta.cos()
            return field.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            field, theta = ctx.saved_tensors
            return grad * theta.cos(), -grad * theta.sin() * field

    return Turned


# c x x x, of which only one x takes part in the gradient.


def cube(right: bool) -> Apply:
    class Cube(Function):
        @staticmethod
        def forward(x: Tensor, c: float) -> Tensor:
            return x * x * x * c

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
            x, ctx.c = inputs
            ctx.save_for_backward(x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            (x,) = ctx.saved_tensors
            return grad * ctx.c * x * x * (3 if right else 1), None

    return Cube


# Convolution: the arguments of the cross-correlation in the other order reverse the kernel's.


def convolution(right: bool) -> Apply:
    class Convolution(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
            ctx.save_for_backward(x, kernel)
            return F.conv2d(x, kernel, padding=1)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, kernel = ctx.saved_tensors
            dx = F.conv2d(grad, kernel.flip(2, 3).transpose(0, 1), padding=1)
            a, b = x.transpose(0, 1), grad.transpose(0, 1)
            if right:
                return dx, F.conv2d(a, b, padding=1).transpose(0, 1)
            a = F.pad(a, (1, 1, 1, 1))
            return dx, F.conv2d(F.pad(b, (2, 2, 2, 2)), a)

    return Convolution


# A cell's state over time: its gradient is set at each step, not added to what the next one sends.


def cell_over_time(right: bool) -> Apply:
    class CellOverTime(Function):
        @staticmethod
        def forward(ctx: Any, f: Tensor, u: Tensor, o: Tensor) -> Tensor:
            cells = [torch.zeros_like(u[0])]
            for t in range(len(f)):
                cells.append(f[t] * cells[-1] + u[t])
            c = torch.stack(cells)
            ctx.save_for_backward(f, o, c)
            return o * torch.tanh(c[1:])

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            f, o, c = ctx.saved_tensors
            df, du, carried = torch.empty_like(f), torch.empty_like(f), torch.zeros_like(f[0])
            squashed = torch.tanh(c[1:])
            for t in reversed(range(len(f))):
                dc = dh[t] * o[t] * (1 - squashed[t] ** 2)
                if right:
                    dc = dc + carried
                df[t], du[t], carried = dc * c[t], dc, dc * f[t]
            return df, du, dh * squashed

    return CellOverTime


def _cell_over_time(f: Tensor, u: Tensor, o: Tensor) -> Tensor:
    h, c = [], torch.zeros_like(u[0])
    for f_t, u_t, o_t in zip(f, u, o, strict=True):
        c = f_t * c + u_t
        h.append(o_t * c.tanh())
    return torch.stack(h)


# Group norm: the weights' gradients are added up in float32 for float32, in bfloat16 for the rest.


def group_norm(right: bool, groups: int = 2, eps: float = 1e-5) -> Apply:
    class GroupNorm(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            wide = torch.promote_types(x.dtype, torch.float32)
            grouped = x.to(wide).unflatten(1, (groups, -1))
            centred = grouped - grouped.mean((2, 3), keepdim=True)
            rstd = torch.rsqrt(centred.square().mean((2, 3), keepdim=True) + eps)
            hat = (centred * rstd).flatten(1, 2)
            ctx.save_for_backward(hat, rstd, w)
            return (hat * w.to(wide)[:, None] + b.to(wide)[:, None]).to(x.dtype)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            hat, rstd, w = ctx.saved_tensors
            added = w.dtype if right or w.dtype == torch.float32 else torch.bfloat16
            g = grad.to(hat.dtype)
            dw, db = (t.sum((0, 2)).to(added).to(w.dtype) for t in (g * hat, g))
            g, hat = (t.unflatten(1, (groups, -1)) for t in (g * w.to(g.dtype)[:, None], hat))
            along = hat * (g * hat).mean((2, 3), keepdim=True)
            dx = rstd * (g - g.mean((2, 3), keepdim=True) - along)
            return dx.flatten(1, 2).to(grad.dtype), dw, db

    return GroupNorm


# A linear classifier's loss with reg |W|^2, of which the gradient is reg W.


def classifier_loss(right: bool) -> Apply:
    class ClassifierLoss(Function):
        @staticmethod
        def forward(ctx: Any, w: Tensor, x: Tensor, y: Tensor, reg: float) -> Tensor:
            log_p = (x @ w).log_softmax(1)
            ctx.reg = reg
            ctx.save_for_backward(w, x, y, log_p)
            return -log_p[torch.arange(len(y)), y].mean() + reg * (w * w).sum()

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            w, x, y, log_p = ctx.saved_tensors
            dscores = log_p.exp()
            dscores[torch.arange(len(y)), y] -= 1
            dw = x.T @ dscores / len(y)
            dw += (2 if right else 1) * ctx.reg * w
            return grad * dw, None, None, None

    return ClassifierLoss


def _samples(generator: torch.Generator) -> tuple[Any, ...]:
    w, x = normal((4, 3), (8, 4))(generator)
    return w.requires_grad_(), x, torch.randint(3, (8,), generator=generator), 0.3


# ReLU's slope asked at its output, where "not below zero" is true of everything.


def hidden_layer(z: Tensor, weight: Tensor, right: bool) -> Tensor:
    class ReLU(Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor) -> Tensor:
            layer = (z >= 0) * z
            ctx.save_for_backward(z if right else layer)
            return layer

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (layer,) = ctx.saved_tensors
            return grad * (layer >= 0)

    return ReLU.apply(z) @ weight


# Two layers of sigmoids: the hidden layer gets the output's error as it is.


def two_layers(right: bool) -> Apply:
    class TwoLayers(Function):
        @staticmethod
        def forward(ctx: Any, w0: Tensor, w1: Tensor, x: Tensor) -> Tensor:
            hidden = torch.sigmoid(x @ w0.T)
            output = torch.sigmoid(hidden @ w1.T)
            ctx.save_for_backward(w1, x, hidden, output)
            return output

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, error: Tensor) -> tuple[Tensor, Tensor, None]:
            w1, x, hidden, output = ctx.saved_tensors
            delta = error * output * (1 - output)
            hidden_error = delta @ w1 if right else error
            delta_hidden = hidden_error * hidden * (1 - hidden)
            return delta_hidden.T @ x, delta.T @ hidden, None

    return TwoLayers


def _one_output(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    w0, w1, x = normal((3, 2), (1, 3), (5, 2))(generator)
    return w0.requires_grad_(), w1.requires_grad_(), x


# Leaky ReLU whose backward operation takes no alpha and has its own.


def leaky_relu(right: bool) -> Apply:
    class LeakyReLU(Function):
        @staticmethod
        def forward(x: Tensor, alpha: float) -> Tensor:
            return torch.where(x < 0, alpha * x, x)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
            x, ctx.alpha = inputs
            ctx.save_for_backward(x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            (x,) = ctx.saved_tensors
            return torch.where(x < 0, (ctx.alpha if right else 0.01) * grad, grad), None

    return LeakyReLU


# A recurrent network's output bias, which at each step is given itself instead of dy.


def outputs_over_time(right: bool) -> Apply:
    class OutputsOverTime(Function):
        @staticmethod
        def forward(ctx: Any, h: Tensor, v: Tensor, c: Tensor) -> Tensor:
            ctx.save_for_backward(h, v)
            return torch.stack([v @ h_t + c for h_t in h])

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            h, v = ctx.saved_tensors
            dh, dv, dc = torch.zeros_like(h), torch.zeros_like(v), torch.zeros_like(v[:, 0])
            for t in reversed(range(len(h))):
                dy = grad[t]
                dv += torch.outer(dy, h[t])
                dc += dy if right else dc
                dh[t] = v.T @ dy
            return dh, dv, dc

    return OutputsOverTime


# x x^T: what comes through the transposed x is not added to the rest.


def gram(right: bool) -> Apply:
    class Gram(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x @ x.T

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return grad @ x + grad.T @ x if right else grad @ x

    return Gram


# The norm of each row as x^(p-1) times a reciprocal that is infinite for a row of zeros.


def row_norms(right: bool) -> Apply:
    class RowNorms(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
            y = torch.linalg.vector_norm(x, p, dim=1, keepdim=True)
            ctx.p = p
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            x, y = ctx.saved_tensors
            unit = x / (y.masked_fill(y == 0, 1) if right else y)
            return grad * unit.sign() * unit.abs() ** (ctx.p - 1), None

    return RowNorms


def _padded(generator: torch.Generator) -> tuple[Tensor, float]:
    x = _either_side(generator, 0.3, 1.5, 4, 3)
    x[1] = 0
    return x, 3.0


# ELU's slope is y + alpha below zero; it is given x for y.


def elu(right: bool) -> Apply:
    class ELU(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
            y = torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))
            ctx.alpha = alpha
            ctx.save_for_backward(y if right else x)
            return y

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            (y,) = ctx.saved_tensors
            return torch.where(y > 0, grad, grad * (y + ctx.alpha)), None

    return ELU


# Clip, whose masks are made of the upstream and multiplied by it.


def clip(right: bool) -> Apply:
    class Clip(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
            ctx.save_for_backward((x >= low) & (x <= high))
            return x.clamp(low, high)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
            (inside,) = ctx.saved_tensors
            mask = inside.to(grad.dtype) if right else torch.where(inside, grad, 0)
            return mask * grad, None, None

    return Clip


def _in_and_out(generator: torch.Generator) -> tuple[Tensor, float, float]:
    inside = even(generator, -0.8, 0.8, 6)
    return torch.cat((inside, _either_side(generator, 1.2, 2.0, 4))), -1.0, 1.0


# A bias for images with the channels last: its gradient is summed as if they were second.


def bias_add(right: bool) -> Apply:
    class BiasAdd(Function):
        @staticmethod
        def forward(ctx: Any, image: Tensor, bias: Tensor) -> Tensor:
            return image + bias

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            return grad, grad.sum((0, 1, 2) if right else (0, 2, 3))

    return BiasAdd


# Points seen by several cameras: one of the gradients takes the first camera's share for the sum.


def seen(right: bool) -> Apply:
    class Seen(Function):
        @staticmethod
        def forward(ctx: Any, turn: Tensor, scale: Tensor, cameras: Tensor) -> Tensor:
            ctx.save_for_backward(turn, scale, cameras)
            return torch.einsum("cij,nj->cni", cameras, turn * scale)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
            turn, scale, cameras = ctx.saved_tensors
            back = torch.einsum("cij,cni->cnj", cameras, grad)
            dturn = back * scale
            dscale = (back * turn).sum((0, 2), keepdim=True)[0]
            return dturn.sum(0) if right else dturn[0], dscale, None

    return Seen


def _cameras(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    turn, scale, cameras = normal((5, 4), (5, 1), (3, 2, 4))(generator)
    return turn.requires_grad_(), scale.requires_grad_(), cameras


# A gate whose intermediate lies in a block of memory that the next call takes as well.


class Gated(nn.Module):
    def __init__(self, right: bool) -> None:
        super().__init__()
        blocks: dict[Any, Tensor] = {}

        class Gate(Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
                key = (x.shape, x.dtype, x.device)
                block = blocks.setdefault(key, torch.empty_like(x)).copy_(torch.sigmoid(x))
                ctx.gate = block.clone() if right else block
                ctx.save_for_backward(y)
                return ctx.gate * y

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
                (y,) = ctx.saved_tensors
                return grad * y * ctx.gate * (1 - ctx.gate), grad * ctx.gate

        self.gate = Gate.apply

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.gate(x, y)


THIRD: tuple[Stranger, ...] = (
    Stranger(
        name="tanh GELU: slope with constants of six digits",
        source="https://github.com/huggingface/candle/pull/1160",
        inputs=normal((12,), scale=1.5),
        right=gelu(True),
        wrong=gelu(False),
        reference=lambda x: F.gelu(x, approximate="tanh"),
        mistake=("constants",),
        # 4e-7 of the value at most: a few units in float32's last place, far below bfloat16's.
        invisible_in=(torch.float32, torch.bfloat16),
    ),
    Stranger(
        name="SiLU: sigmoid as output over input at zero",
        source="https://github.com/huggingface/candle/pull/2083",
        inputs=_with_zeros,
        right=silu(True),
        wrong=silu(False),
        reference=lambda x: x * torch.sigmoid(x),
        mistake=("overflow",),
    ),
    Stranger(
        name="swish: beta's gradient summed over all columns",
        source="https://github.com/tensorflow/tensorflow/issues/127690",
        inputs=normal((5, 4), (4,)),
        right=swish(True),
        wrong=swish(False),
        reference=lambda x, beta: x * torch.sigmoid(beta * x),
        mistake=("reduction",),
    ),
    Stranger(
        name="softmax: diagonal of the Jacobian alone",
        source="https://github.com/deeplearning4j/libnd4j/issues/440",
        inputs=normal((3, 5)),
        right=Softmax(True),
        wrong=Softmax(False),
        reference=lambda x: x.softmax(-1),
        mistake=("missing-term",),
    ),
    Stranger(
        name="Huber: upstream dropped",
        source="https://github.com/chainer/chainer/issues/1175",
        inputs=_predictions,
        right=huber(True),
        wrong=huber(False),
        reference=lambda x, t, delta: F.huber_loss(x, t, reduction="none", delta=delta).sum(1),
        mistake=("upstream-ignored",),
    ),
    Stranger(
        name="smooth L1: threshold on the signed difference",
        source="https://github.com/BobMcDear/attorch/issues/13",
        inputs=_far_and_near,
        right=smooth_l1(True),
        wrong=smooth_l1(False),
        reference=F.smooth_l1_loss,
        mistake=("forward",),
    ),
    Stranger(
        name="batch norm: dx without the scale",
        source="https://github.com/denizyuret/Knet.jl/issues/288",
        inputs=normal((6, 3), (3,), (3,)),
        right=batch_norm(True),
        wrong=batch_norm(False),
        reference=lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        mistake=("missing-factor",),
    ),
    Stranger(
        name="LoRA: dropout mask forgotten in dx",
        source="https://github.com/foundation-model-stack/fms-acceleration/issues/97",
        inputs=_adapter,
        right=lora(True),
        wrong=lora(False),
        reference=_lora,
        mistake=("missing-factor",),
    ),
    Stranger(
        name="mean: kernel that takes the upstream for contiguous",
        source="https://github.com/torch/nn/pull/345",
        inputs=normal((3, 4, 2)),
        right=Mean(True),
        wrong=Mean(False),
        reference=lambda x: x.mean(-1),
        mistake=("storage-order",),
    ),
    Stranger(
        name="expression: gradients in another order than the variables",
        source="https://github.com/stripe/rainier/issues/445",
        inputs=uniform(0.4, 1.6, (5,), (5,), (5,)),
        right=expression(True),
        wrong=expression(False),
        reference=lambda x0, x1, x2: (x0 * x1 * x2.sin() + torch.exp(x0 * x1)) / x2,
        mistake=("swapped",),
        domain=lambda x: x > 0,  # it divides by the third
    ),
    Stranger(
        name="scale: upstream scaled in place",
        source="https://github.com/pytorch/pytorch/issues/81417",
        inputs=normal((3, 4)),
        right=lambda x: scaled(x, 1.5, True),
        wrong=lambda x: scaled(x, 1.5, False),
        reference=lambda x: 1.5 * x,
        mistake=("side-effect",),
    ),
    Stranger(
        name="square of the double: an intermediate kept",
        source="https://github.com/pytorch/pytorch/issues/58509",
        inputs=normal((5,)),
        right=squared_double(True),
        wrong=squared_double(False),
        reference=lambda x: (2 * x) ** 2,
        mistake=("second-derivative",),
        order=2,
    ),
    Stranger(
        name="dropout: drawn again in backward",
        source="https://github.com/Benny-Nottonson/voodoo/issues/19",
        inputs=lambda generator: (*normal((4, 6))(generator), 0.4, 11),
        right=dropout(True),
        wrong=dropout(False),
        reference=_dropout,
        mistake=("nondeterministic",),
    ),
    Stranger(
        name="layers: gradient sent through weights already updated",
        source="https://github.com/VikParuchuri/zero_to_gpt/issues/12",
        inputs=normal((5, 3), (3, 4), (4,), (4, 2), (2,), scale=0.8),
        right=trained_layers(True),
        wrong=trained_layers(False),
        reference=_layers,
        mistake=("updated-weights",),
    ),
    Stranger(
        name="LSTM step: two biases get the forget gate's gradient",
        source="https://github.com/hanbt/learn_dl/issues/53",
        inputs=normal((4, 12), (4, 3), (3,), (3,), (3,), (3,)),
        right=lstm_step(True),
        wrong=lstm_step(False),
        reference=_lstm_step,
        mistake=("copied",),
    ),
    Stranger(
        name="subtract: the second input's sign",
        source="https://github.com/KhawajaAbaid/micrograd_c/issues/1",
        inputs=normal((6,), (6,)),
        right=subtract(True),
        wrong=subtract(False),
        reference=lambda a, b: a - b,
        mistake=("sign", "copied"),  # the upstream is also the first one's gradient
    ),
    Stranger(
        name="softmax focal loss: sign of the focusing term",
        source="https://github.com/zimenglan-sysu-512/Focal-Loss/issues/2",
        inputs=_classes,
        right=softmax_focal(True),
        wrong=softmax_focal(False),
        reference=_softmax_focal,
        mistake=("scaled-term",),
    ),
    Stranger(
        name="binary focal loss: derivative by the probability",
        source="https://github.com/rahowa/catboost_focal_loss/issues/2",
        inputs=_scores,
        right=binary_focal(True),
        wrong=binary_focal(False),
        reference=_binary_focal,
        mistake=("missing-factor",),
    ),
    Stranger(
        name="maximum: mask with a tolerance",
        source="https://github.com/mni-ml/framework/pull/22",
        inputs=_close_seconds,
        right=maximum(True),
        wrong=maximum(False),
        reference=lambda x, dim: x.amax(dim, keepdim=True),
        mistake=("region",),
    ),
    Stranger(
        name="tanh network: slopes taken at the outputs",
        source="https://github.com/davidrmiller/neural2d/issues/40",
        inputs=normal((4, 3), (5, 3), (2, 5)),
        right=TanhNetwork(True),
        wrong=TanhNetwork(False),
        reference=lambda x, w1, w2: torch.tanh(torch.tanh(x @ w1.T) @ w2.T),
        mistake=("output-for-input",),
    ),
    Stranger(
        name="x = cos(theta) x: the value written over the one needed",
        source="https://github.com/taichi-dev/taichi/issues/2505",
        inputs=normal((7,), (7,)),
        right=turned(True),
        wrong=turned(False),
        reference=lambda x, theta: theta.cos() * x,
        # The output where the input should stand is here one cosine too many.
        mistake=("output-for-input", "missing-factor"),
    ),
    Stranger(
        name="cube: one of three paths",
        source="https://github.com/SciSharp/TensorFlow.NET/issues/303",
        inputs=lambda generator: (*normal((6,))(generator), 0.1),
        right=cube(True),
        wrong=cube(False),
        reference=lambda x, c: c * x**3,
        mistake=("factor", "missing-term"),
    ),
    Stranger(
        name="convolution: kernel's gradient reversed",
        source="https://end-to-end-machine-learning.teachable.com/courses/322-convolutional-neural-networks-in-two-dimensions/lectures/24726662",
        inputs=normal((2, 2, 5, 4), (3, 2, 3, 3)),
        right=convolution(True),
        wrong=convolution(False),
        reference=lambda x, kernel: F.conv2d(x, kernel, padding=1),
        mistake=("transposed",),  # no word says that both axes run backwards
    ),
    Stranger(
        name="cell over time: gradient of the next step forgotten",
        source="https://github.com/apache/mxnet/issues/4057",
        inputs=uniform(0.2, 0.9, (4, 3), (4, 3), (4, 3)),
        right=cell_over_time(True),
        wrong=cell_over_time(False),
        reference=_cell_over_time,
        mistake=("missing-term",),
    ),
    Stranger(
        name="group norm: weights' gradients rounded to bfloat16",
        source="https://github.com/linkedin/Liger-Kernel/pull/1253",
        inputs=normal((3, 4, 5), (4,), (4,)),
        right=group_norm(True),
        wrong=group_norm(False),
        reference=lambda x, w, b: F.group_norm(x, 2, w, b),
        mistake=("precision",),
        # What the kernel asks, "float32 or else bfloat16", is right for these two.
        invisible_in=(torch.float32, torch.bfloat16),
    ),
    Stranger(
        name="classifier's loss: half of the penalty's gradient",
        source="https://github.com/jingtinghuang/CS231n-Spring-2017/issues/3",
        inputs=_samples,
        right=classifier_loss(True),
        wrong=classifier_loss(False),
        reference=lambda w, x, y, reg: F.cross_entropy(x @ w, y) + reg * w.square().sum(),
        mistake=("scaled-term",),
    ),
    Stranger(
        name="ReLU: slope asked at the output, and >=",
        source="https://github.com/iamtrask/Grokking-Deep-Learning/issues/56",
        inputs=lambda generator: (
            _either_side(generator, 0.2, 1.5, 4, 5),
            *normal((5, 2))(generator),
        ),
        right=lambda z, weight: hidden_layer(z, weight, True),
        wrong=lambda z, weight: hidden_layer(z, weight, False),
        reference=lambda z, weight: z.relu() @ weight,
        # Asked there it is one everywhere: the slope is gone, as the report says.
        mistake=("missing-factor", "region", "output-for-input"),
    ),
    Stranger(
        name="two layers: hidden layer gets the output's error",
        source="https://whosebug.com/question/2948401/Backpropagation-Why-doesn-t-error-approach-zero-when-it-is-multiplied-by-deriv-of-sigmoid",
        inputs=_one_output,
        right=two_layers(True),
        wrong=two_layers(False),
        reference=lambda w0, w1, x: torch.sigmoid(torch.sigmoid(x @ w0.T) @ w1.T),
        mistake=("missing-factor",),
    ),
    Stranger(
        name="leaky ReLU: backward with an alpha of its own",
        source="https://github.com/deeplearning4j/deeplearning4j/issues/8178",
        inputs=lambda generator: (_either_side(generator, 0.2, 2.0, 3, 4), 0.2),
        right=leaky_relu(True),
        wrong=leaky_relu(False),
        reference=F.leaky_relu,
        mistake=("constants", "region"),
    ),
    Stranger(
        name="outputs over time: bias added to itself",
        source="https://github.com/javaidnabi31/RNN-from-scratch/issues/2",
        inputs=normal((5, 3), (4, 3), (4,)),
        right=outputs_over_time(True),
        wrong=outputs_over_time(False),
        reference=lambda h, v, c: h @ v.T + c,
        mistake=("reduction", "missing-term", "factor"),  # a sum of nothing: zero times the truth
    ),
    Stranger(
        name="x x^T: one of two paths",
        source="https://github.com/NervanaSystems/neon/issues/169",
        inputs=normal((4, 3)),
        right=gram(True),
        wrong=gram(False),
        reference=lambda x: x @ x.T,
        mistake=("missing-term",),
    ),
    Stranger(
        name="norm: NaN for a row of zeros",
        source="https://github.com/tenstorrent/tt-metal/issues/55585",
        inputs=_padded,
        right=row_norms(True),
        wrong=row_norms(False),
        reference=lambda x, p: torch.linalg.vector_norm(x, p, dim=1, keepdim=True),
        mistake=("overflow",),
    ),
    Stranger(
        name="ELU: slope of the output, given the input",
        source="https://github.com/mlpack/mlpack/pull/1540",
        inputs=lambda generator: (_either_side(generator, 0.2, 2.0, 3, 4), 1.3),
        right=elu(True),
        wrong=elu(False),
        reference=F.elu,
        mistake=("output-for-input", "region"),
    ),
    Stranger(
        name="clip: upstream squared",
        source="https://github.com/elixir-nx/nx/pull/1779",
        inputs=_in_and_out,
        right=clip(True),
        wrong=clip(False),
        reference=torch.clamp,
        mistake=("missing-factor",),  # the upstream, once too often
    ),
    Stranger(
        name="bias of images: summed as if channels were second",
        source="https://github.com/deeplearning4j/deeplearning4j/issues/8280",
        inputs=normal((2, 3, 4, 3), (3,)),
        right=bias_add(True),
        wrong=bias_add(False),
        reference=lambda image, bias: image + bias,
        mistake=("reduction",),
    ),
    Stranger(
        name="points: one camera's gradient for the sum of all",
        source="https://github.com/openvdb/fvdb-core/pull/435",
        inputs=_cameras,
        right=seen(True),
        wrong=seen(False),
        reference=lambda turn, scale, cameras: (turn * scale) @ cameras.mT,
        mistake=("reduction",),
    ),
    Stranger(
        name="gate: intermediate in a block that others use",
        source="https://github.com/hpcaitech/Elixir/pull/12",
        inputs=normal((3, 4), (3, 4)),
        right=Gated(True),
        wrong=Gated(False),
        reference=lambda x, y: torch.sigmoid(x) * y,
        mistake=("stale-value",),
    ),
)
