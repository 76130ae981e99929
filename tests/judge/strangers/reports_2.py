"""Further reported gradient bugs, written anew from the facts of the reports."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from strangers import Apply, Stranger, even, normal


def _chance(generator: torch.Generator, *size: int) -> Tensor:
    return torch.rand(size, generator=generator) < 0.5


# ldexp: exp(other) ln 2 where 2^other should stand, and nothing times the upstream.


def ldexp(right: bool) -> Apply:
    class Ldexp(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, other: Tensor) -> Tensor:
            ctx.save_for_backward(x, other)
            return x * torch.exp2(other)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, other = ctx.saved_tensors
            if right:
                power = grad * torch.exp2(other)
                return power, power * x * math.log(2)
            power = torch.exp(other) * math.log(2)
            return power, x * (power * math.log(2))

    return Ldexp


# Dice coefficient: in the quotient rule the second term is added instead of subtracted.


def dice(right: bool, eps: float = 1e-4) -> Apply:
    class Dice(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, target: Tensor) -> Tensor:
            target = target.to(x.dtype)
            ctx.inter = torch.dot(x.flatten(), target.flatten())
            ctx.union = x.sum() + target.sum() + eps
            ctx.save_for_backward(target)
            return 2 * ctx.inter / ctx.union

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            (target,) = ctx.saved_tensors
            inter = -ctx.inter if right else ctx.inter
            return grad * 2 * (target * ctx.union + inter) / ctx.union**2, None

    return Dice


def _dice(x: Tensor, target: Tensor) -> Tensor:
    return 2 * (x * target).sum() / (x.sum() + target.sum() + 1e-4)


def _mask_guess(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return even(generator, 0.05, 0.95, 4, 5), _chance(generator, 4, 5).long()


# The ramp whose slope is a spike's surrogate: 1/w inside where it climbs by one over 2w.


class PiecewiseLeaky(nn.Module):
    def __init__(self, right: bool, w: float = 1.5, c: float = 0.01) -> None:
        super().__init__()

        class Ramp(Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor) -> Tensor:
                ctx.save_for_backward(x)
                inside = x / (2 * w) + 0.5
                outside = c * x + (x > 0).to(x.dtype) * (1 - 2 * c * w) + c * w
                return torch.where(x.abs() <= w, inside, outside)

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> Tensor:
                (x,) = ctx.saved_tensors
                slope = 1 / (2 * w) if right else 1 / w
                return torch.where(x.abs() <= w, slope * grad, c * grad)

        self.ramp = Ramp

    def forward(self, x: Tensor) -> Tensor:
        return self.ramp.apply(x)


def _piecewise_leaky(x: Tensor) -> Tensor:
    below, above = 0.01 * x + 0.015, 0.01 * x + 0.985
    return torch.where(x.abs() <= 1.5, x / 3 + 0.5, torch.where(x < 0, below, above))


def _inside_and_outside(generator: torch.Generator) -> tuple[Tensor]:
    bands = ((-4, -1.7), (-1.3, 1.3), (1.7, 4))
    return (torch.cat([even(generator, low, high, 4) for low, high in bands]),)


# x sigmoid(x - 1) keeps its slope on a scale of bytes; read back, the scale begins elsewhere.


def double_swish(x: Tensor, right: bool) -> Tensor:
    class DoubleSwish(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            s = torch.sigmoid(x - 1.0)
            y = x * s
            slope = y * (1 - s) + s
            floor, ceil = -0.044, 1.2
            ctx.save_for_backward((slope - floor) * (255.0 / (ceil - floor)))
            return y

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (level,) = ctx.saved_tensors
            floor, ceil = -0.044 if right else -0.043637, 1.2
            return grad * (level * ((ceil - floor) / 255.0) + floor).to(grad.dtype)

    wide = x.float() if x.dtype == torch.bfloat16 else x
    return DoubleSwish.apply(wide).to(x.dtype)


# Sigmoid as a manual shows it: the upstream is not used.


def sigmoid(right: bool) -> Apply:
    class Sigmoid(Function):
        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return 1 / (1 + torch.exp(-x))

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Tensor:
            (y,) = ctx.saved_tensors
            return dy * y * (1 - y) if right else y * (1 - y)

    return Sigmoid


# RMS norm: the variance's term is multiplied by a weight that its sum holds already.


def rms_norm(right: bool, eps: float = 1e-6) -> Apply:
    class RMSNorm(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            r = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
            ctx.save_for_backward(x, weight, r)
            return x * r * weight

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, weight, r = ctx.saved_tensors
            pull = r**3 * x * (grad * x * weight).mean(-1, keepdim=True)
            dx = grad * weight * r - (pull if right else weight * pull)
            return dx, (grad * x * r).sum(tuple(range(x.dim() - 1)))

    return RMSNorm


def _rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight


# RMS norm with weights about zero: one is added for the backward pass only.


def zero_centred_norm(right: bool, eps: float = 1e-6) -> Callable[..., Tensor]:
    class ZeroCentredNorm(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor, zero_centred: bool) -> Tensor:
            r = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
            effective = weight + 1.0 if zero_centred else weight
            ctx.save_for_backward(x, effective, r)
            return x * r * (effective if right else weight)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            x, weight, r = ctx.saved_tensors
            g, hat = grad * weight, x * r
            dx = r * (g - hat * (g * hat).mean(-1, keepdim=True))
            return dx, (grad * hat).sum(0), None

    def norm(x: Tensor, weight: Tensor, *, zero_centred: bool = True) -> Tensor:
        return ZeroCentredNorm.apply(x, weight, zero_centred)

    return norm


# Cross entropy with soft targets: the softmax is not multiplied by the targets' sum.


def soft_cross_entropy(right: bool) -> Apply:
    class SoftCrossEntropy(Function):
        @staticmethod
        def forward(ctx: Any, logits: Tensor, target: Tensor) -> Tensor:
            lse = logits.logsumexp(-1, keepdim=True)
            ctx.save_for_backward(logits, target, lse)
            return ((lse - logits) * target).sum() / len(logits)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            logits, target, lse = ctx.saved_tensors
            total = target.sum(-1, keepdim=True) if right else 1.0
            return grad * (total * torch.exp(logits - lse) - target) / len(logits), None

    return SoftCrossEntropy


def _soft_targets(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    (logits,) = normal((4, 6))(generator)
    return logits.requires_grad_(), even(generator, 0, 0.6, 4, 6)


# Layer norm: the backward pass takes all axes but the first for the normalised one.


def layer_norm(right: bool, eps: float = 1e-5) -> Apply:
    class LayerNorm(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            flat = x.reshape(-1, weight.numel())
            mean = flat.mean(1, keepdim=True)
            rstd = (flat.var(1, keepdim=True, correction=0) + eps).rsqrt()
            ctx.save_for_backward(x, weight, mean, rstd)
            return ((flat - mean) * rstd * weight + bias).view_as(x)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            x, weight, mean, rstd = ctx.saved_tensors
            c = weight.numel()
            rows = x.numel() // c if right else x.shape[0]
            dy, hat = grad.reshape(rows, -1), (x.reshape(rows, -1) - mean[:rows]) * rstd[:rows]
            g = dy * weight.repeat(dy.shape[1] // c)
            dx = g - g.mean(1, keepdim=True) - hat * (g * hat).mean(1, keepdim=True)
            return (dx * rstd[:rows]).view_as(x), (dy * hat).sum(0)[:c], dy.sum(0)[:c]

    return LayerNorm


# Rosenbrock's function: the slope in y has a factor x too many.


def rosenbrock(right: bool) -> Callable[[Tensor], Tensor]:
    class Rosenbrock(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
            ctx.save_for_backward(x, y)
            return (1 - x) ** 2 + 100 * (y - x**2) ** 2

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            x, y = ctx.saved_tensors
            dx = -400 * x * (y - x**2) - 2 * (1 - x)
            dy = 200 * (y - x**2) if right else 200 * x * (y - x**2)
            return grad * dx, grad * dy

    return lambda point: Rosenbrock.apply(*point)


# Swish with trained steepness: its gradient is the sum of upstream times input and no more.


class Swish(nn.Module):
    def __init__(self, right: bool | None, width: int = 4) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.linspace(0.6, 1.6, width, dtype=torch.float64))

        class WithBeta(Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor, beta: Tensor) -> Tensor:
                ctx.save_for_backward(x, beta)
                return x * torch.sigmoid(beta * x)

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
                x, beta = ctx.saved_tensors
                s = torch.sigmoid(beta * x)
                slope = x * s * (1 - s) if right else 1.0
                return grad * (s + beta * x * s * (1 - s)), (grad * x * slope).sum(0)

        self.apply_it = (lambda x, b: x * torch.sigmoid(b * x)) if right is None else WithBeta.apply

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_it(x, self.beta.to(x.dtype))


# SwiGLU in reused buffers: what is left in e is the gradient of g, and the other way about.


def swiglu(right: bool) -> Apply:
    class SwiGLU(Function):
        @staticmethod
        def forward(ctx: Any, e: Tensor, g: Tensor) -> Tensor:
            ctx.save_for_backward(e, g)
            return F.silu(e) * g

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, dw: Tensor) -> tuple[Tensor, Tensor]:
            e, g = ctx.saved_tensors
            s = torch.sigmoid(e)
            dg = dw * e * s
            de = dw * g * s * (1 + e * (1 - s))
            return (de, dg) if right else (dg, de)

    return SwiGLU


# Attention with wider values than keys: for dq the value's channels are cut to the keys' width.


def attention(right: bool) -> Apply:
    class Attention(Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
            p = torch.softmax(q @ k.mT * scale, -1)
            o = p @ v
            ctx.save_for_backward(q, k, v, p, o)
            ctx.scale = scale
            return o

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, do: Tensor) -> tuple[Tensor | None, ...]:
            q, k, v, p, o = ctx.saved_tensors
            delta = (do * o).sum(-1, keepdim=True)
            width = v.shape[-1] if right else q.shape[-1]
            dp = do[..., :width] @ v[..., :width].mT
            dq = p * (dp - delta) @ k * ctx.scale
            ds = p * (do @ v.mT - delta)
            return dq, ds.mT @ q * ctx.scale, p.mT @ do, None

    return Attention


def _heads(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float]:
    return (*normal((2, 4, 3), (2, 5, 3), (2, 5, 5))(generator), 0.6)


# log(e^a + e^b) by the greater one: at a tie the greater is a and the distance has no slope.


def logaddexp(right: bool) -> Apply:
    class LogAddExp(Function):
        @staticmethod
        def forward(a: Tensor, b: Tensor) -> Tensor:
            return torch.maximum(a, b) + torch.log1p(torch.exp(-(a - b).abs()))

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            a, b = ctx.saved_tensors
            d = a - b
            if right:
                return grad * torch.sigmoid(d), grad * torch.sigmoid(-d)
            first, far = (a >= b).to(d.dtype), torch.sign(d) * torch.sigmoid(-d.abs())
            return grad * (first - far), grad * (1 - first + far)

    return LogAddExp


def _some_equal(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    a, b = normal((3, 4), (3, 4))(generator)
    b[0] = a[0]
    return a, b


# Unit vectors by rsqrt, bounded only after it: at a zero vector the backward pass is 0 * inf.


class Normalize(nn.Module):
    def __init__(self, right: bool, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon

        class UnitNorm(Function):
            @staticmethod
            def forward(ctx: Any, x: Tensor, epsilon: float) -> Tensor:
                inverse = x.square().sum(-1, keepdim=True).rsqrt()
                ctx.save_for_backward(x, inverse)
                ctx.most = 1 / epsilon
                return x * inverse.clamp(max=ctx.most)

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
                x, inverse = ctx.saved_tensors
                dinverse = (grad * x).sum(-1, keepdim=True).masked_fill(inverse > ctx.most, 0)
                known = inverse.clamp(max=ctx.most) if right else inverse
                dsquares = dinverse * -0.5 * known**3
                return grad * inverse.clamp(max=ctx.most) + 2 * x * dsquares, None

        self.unit_norm = UnitNorm

    def forward(self, x: Tensor) -> Tensor:
        return self.unit_norm.apply(x, self.epsilon)


def _with_a_zero_row(generator: torch.Generator) -> tuple[Tensor]:
    (x,) = normal((4, 5))(generator)
    x[1] = 0
    return (x,)


# atan2 forms 1 / (x^2 + y^2) by itself, which leaves the range where the gradient does not.


def atan2(right: bool) -> Apply:
    class Atan2(Function):
        @staticmethod
        def forward(ctx: Any, y: Tensor, x: Tensor) -> Tensor:
            ctx.save_for_backward(y, x)
            return torch.atan2(y, x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
            y, x = ctx.saved_tensors
            h = torch.hypot(x, y) if right else x * x + y * y
            nowhere = h == 0
            if right:
                dy, dx = x / h / h, -y / h / h
            else:
                dy, dx = x * (1 / h), -y * (1 / h)
            return grad * dy.masked_fill(nowhere, 0), grad * dx.masked_fill(nowhere, 0)

    return Atan2


def _tiny_and_plain(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    size = torch.tensor([1.0, 1.0, 1.0, 3e-22, 3e-22, 3e-22], dtype=torch.float64)
    return even(generator, 0.5, 2, 6) * size, even(generator, -2, -0.5, 6) * size


# atanh: wherever the upstream is zero the gradient is NaN, which is right at the poles only.


def masked_atanh(right: bool) -> Callable[[Tensor, Tensor], Tensor]:
    class Atanh(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return torch.atanh(x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            lost = (grad == 0) & (x.abs() == 1) if right else (grad == 0) & (x != 0)
            return (grad / (1 - x * x)).masked_fill(lost, math.nan)

    return lambda x, mask: Atanh.apply(x).masked_fill(mask, 0)


def _masked(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return even(generator, -0.8, 0.8, 3, 4), _chance(generator, 3, 4)


# Masked softmax whose backward kernel writes its result over the upstream.


def masked_softmax(right: bool) -> Callable[..., Tensor]:
    class MaskedSoftmax(Function):
        @staticmethod
        def forward(x: Tensor, mask: Tensor, scale: float) -> Tensor:
            return (x * scale).masked_fill(mask, -1e4).softmax(-1)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            ctx.scale = inputs[2]
            ctx.save_for_backward(output)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
            (p,) = ctx.saved_tensors
            grad = grad.contiguous()
            out = torch.empty_like(grad) if right else grad
            out.copy_(ctx.scale * p * (grad - (grad * p).sum(-1, keepdim=True)))
            return out, None, None

    def softmax(x: Tensor, mask: Tensor, *, scale: float = 0.7) -> Tensor:
        return MaskedSoftmax.apply(x, mask, scale)

    return softmax


def _scores(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    return *normal((2, 5, 5))(generator), mask


# Attention returns its log-sum-exp as well, but nothing flows back through that.


def attention_with_lse(right: bool) -> Apply:
    class AttentionWithLse(Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            scores = q @ k.mT / math.sqrt(q.shape[-1])
            lse = scores.logsumexp(-1)
            o = (scores - lse[..., None]).exp() @ v
            ctx.save_for_backward(q, k, v, o, lse)
            return o, lse

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, do: Tensor, dlse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            q, k, v, o, lse = ctx.saved_tensors
            scale = 1 / math.sqrt(q.shape[-1])
            p = (q @ k.mT * scale - lse[..., None]).exp()
            delta = (do * o).sum(-1)
            if right:
                delta = delta - dlse
            ds = p * (do @ v.mT - delta[..., None]) * scale
            return ds @ k, ds.mT @ q, p.mT @ do

    return AttentionWithLse


def _attention_with_lse(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.softmax(-1) @ v, scores.logsumexp(-1)


# The square with its own gradient, as a manual shows it: x for 2x.


def custom_gradient(rule: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    class Custom(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            y, ctx.pull = rule(x)
            return y

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            return ctx.pull(grad)

    return Custom.apply


# where(condition, x, number): the gradient is that of the number's branch.


def where_number(right: bool) -> Apply:
    class WhereNumber(Function):
        @staticmethod
        def forward(ctx: Any, condition: Tensor, x: Tensor, number: float) -> Tensor:
            ctx.save_for_backward(condition)
            return x.masked_fill(condition == 0, number)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
            (condition,) = ctx.saved_tensors
            return None, grad.masked_fill(condition == 0 if right else condition != 0, 0), None

    return WhereNumber


def _picked(generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    return _chance(generator, 3, 5).long(), *normal((3, 5))(generator), -1.0


# Sequence mask: what fills the ends of the sequences also fills those of the gradient.


def sequence_mask(right: bool) -> Callable[..., Tensor]:
    def fill(x: Tensor, lengths: Tensor, value: float) -> Tensor:
        past = torch.arange(len(x), device=x.device)[:, None] >= lengths
        return x.masked_fill(past[..., None], value)

    class SequenceMask(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, lengths: Tensor, value: float) -> Tensor:
            ctx.lengths, ctx.value = lengths, value
            return fill(x, lengths, value)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
            return fill(grad, ctx.lengths, 0.0 if right else ctx.value), None, None

    return lambda x, lengths, value=-1.5: SequenceMask.apply(x, lengths, value)


def _sequences(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return *normal((5, 3, 2))(generator), torch.tensor([2, 5, 3])


# Power: the kernel means to answer inf below zero, but does so at zero too.


def power(right: bool, exponent: float = 3.0) -> Apply:
    class Power(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.pow(exponent)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            undefined = x < 0 if right else x <= 0
            return (grad * exponent * x.pow(exponent - 1)).masked_fill(undefined, math.inf)

    return Power


def _rectified(generator: torch.Generator) -> tuple[Tensor]:
    x = even(generator, 0.2, 2, 3, 5)
    return (x.masked_fill(_chance(generator, 3, 5), 0),)


# log of the normal distribution: a fraction good far below zero is used from -1 on.

NUMERATOR = (0.5641895835477551, 1.275366644729966, 5.019049726784267, 6.16020985310963)
NUMERATOR += (7.409740605964742, 2.978865626393993)
DENOMINATOR = (1.0, 2.260528520767327, 9.396034016235054, 12.04895192785513)
DENOMINATOR += (17.081440747466004, 9.608965327192788, 3.369075206982753)


def _horner(factors: tuple[float, ...], t: Tensor) -> Tensor:
    total = torch.full_like(t, factors[0])
    for factor in factors[1:]:
        total = total * t + factor
    return total


def log_normal_cdf(right: bool) -> Callable[[Tensor], Tensor]:
    class LogNormalCDF(Function):
        @staticmethod
        def forward(ctx: Any, z: Tensor) -> Tensor:
            t = -z / math.sqrt(2)
            above, below = _horner(NUMERATOR, t), _horner(DENOMINATOR, t)
            far = z < (-11.3137 if right else -1.0)
            plain = torch.log(0.5 * torch.erfc(t.clamp(max=8.0)))
            y = torch.where(far, torch.log(above / below / 2) - z * z / 2, plain)
            ctx.save_for_backward(z, y, far, below / above)
            return y

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            z, y, far, fraction = ctx.saved_tensors
            plain = torch.exp(-z * z / 2 - y - math.log(2))
            return grad * math.sqrt(2 / math.pi) * torch.where(far, fraction, plain)

    def apply(z: Tensor) -> Tensor:
        wide = z.float() if z.dtype == torch.bfloat16 else z
        return LogNormalCDF.apply(wide).to(z.dtype)

    return apply


def _below_one(generator: torch.Generator) -> tuple[Tensor]:
    bands = ((-1.5, -1.05), (0.5, 2), (-13, -12))
    return (torch.cat([even(generator, low, high, 4) for low, high in bands]),)


SECOND: tuple[Stranger, ...] = (
    Stranger(
        name="ldexp: exp for 2 to the power, upstream dropped",
        source="https://github.com/tenstorrent/tt-metal/issues/6533",
        inputs=normal((3, 4), (3, 4)),
        right=ldexp(True),
        wrong=ldexp(False),
        reference=lambda x, other: x * 2.0**other,
        mistake=("upstream-ignored", "constants"),
    ),
    Stranger(
        name="dice: quotient rule with a plus",
        source="https://github.com/milesial/Pytorch-UNet/issues/35",
        inputs=_mask_guess,
        right=dice(True),
        wrong=dice(False),
        reference=_dice,
        mistake=("scaled-term",),
    ),
    Stranger(
        name="piecewise leaky ramp: 1/w for 1/2w",
        source="https://github.com/fangwei123456/spikingjelly/pull/412",
        inputs=_inside_and_outside,
        right=PiecewiseLeaky(True),
        wrong=PiecewiseLeaky(False),
        reference=_piecewise_leaky,
        mistake=("region", "factor", "scaled-term"),  # the branch is the region
    ),
    Stranger(
        name="double swish: -0.044 written, -0.043637 read",
        source="https://github.com/k2-fsa/icefall/blob/master/egs/librispeech/ASR/pruned_transducer_stateless7/scaling.py",
        inputs=normal((16,), scale=2.0),
        right=lambda x: double_swish(x, True),
        wrong=lambda x: double_swish(x, False),
        reference=lambda x: x * torch.sigmoid(x - 1),
        mistake=("constants",),
        domain=(-8, 8),  # the scale has no digits for the slopes further out
        invisible_in=(torch.bfloat16,),  # 4e-4 at most of a slope of order one
    ),
    Stranger(
        name="sigmoid: upstream dropped",
        source="https://github.com/apache/mxnet/issues/9872",
        inputs=normal((3, 4)),
        right=sigmoid(True),
        wrong=sigmoid(False),
        reference=torch.sigmoid,
        mistake=("upstream-ignored",),
    ),
    Stranger(
        name="RMS norm: weight twice in the variance's term",
        source="https://github.com/NVIDIA/Megatron-LM/pull/6859",
        inputs=normal((2, 3, 6), (6,)),
        right=rms_norm(True),
        wrong=rms_norm(False),
        reference=_rms_norm,
        mistake=("missing-factor",),  # once too often
    ),
    Stranger(
        name="RMS norm with weights about zero: the one forgotten in the forward pass",
        source="https://github.com/NVIDIA/Megatron-LM/pull/6859",
        inputs=normal((3, 6), (6,), scale=0.7),
        right=zero_centred_norm(True),
        wrong=zero_centred_norm(False),
        reference=lambda x, weight: _rms_norm(x, weight + 1),
        mistake=("forward",),
    ),
    Stranger(
        name="soft cross entropy: targets taken to sum to one",
        source="https://github.com/NVIDIA-NeMo/Automodel/pull/2428",
        inputs=_soft_targets,
        right=soft_cross_entropy(True),
        wrong=soft_cross_entropy(False),
        reference=lambda x, p: -(p * x.log_softmax(-1)).sum() / len(x),
        mistake=("missing-factor", "scaled-term"),
    ),
    Stranger(
        name="layer norm: three axes taken for two",
        source="https://github.com/flagos-ai/FlagGems/issues/5392",
        inputs=normal((3, 2, 4), (4,), (4,)),
        right=layer_norm(True),
        wrong=layer_norm(False),
        reference=lambda x, w, b: F.layer_norm(x, (4,), w, b),
        mistake=("reduction",),
    ),
    Stranger(
        name="rosenbrock: a factor x too many",
        source="https://github.com/pytorch/pytorch/pull/3881",
        inputs=normal((2, 5), scale=1.5),
        right=rosenbrock(True),
        wrong=rosenbrock(False),
        reference=lambda point: (1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2,
        mistake=("missing-factor", "region"),  # all of its row of the point
    ),
    Stranger(
        name="swish: the sigmoid's slope missing for beta",
        source="https://github.com/RubixML/ML/pull/437",
        inputs=normal((5, 4)),
        right=Swish(True),
        wrong=Swish(False),
        reference=Swish(None),
        mistake=("missing-factor",),
    ),
    Stranger(
        name="SwiGLU: buffers exchanged",
        source="https://github.com/unslothai/unsloth/issues/3314",
        inputs=normal((3, 5), (3, 5)),
        right=swiglu(True),
        wrong=swiglu(False),
        reference=lambda e, g: F.silu(e) * g,
        mistake=("swapped",),
    ),
    Stranger(
        name="attention: value channels cut off for dq",
        source="https://github.com/XunhaoLai/native-sparse-attention-triton/issues/27",
        inputs=_heads,
        right=attention(True),
        wrong=attention(False),
        reference=lambda q, k, v, scale: torch.softmax(q @ k.mT * scale, -1) @ v,
        mistake=("reduction", "missing-term"),
    ),
    Stranger(
        name="logaddexp: one and zero at a tie",
        source="https://github.com/keras-team/keras/pull/23616",
        inputs=_some_equal,
        right=logaddexp(True),
        wrong=logaddexp(False),
        reference=lambda a, b: torch.stack((a, b)).logsumexp(0),
        mistake=("region",),
    ),
    Stranger(
        name="normalize: 0 * inf at a zero vector",
        source="https://github.com/keras-team/keras/issues/23075",
        inputs=_with_a_zero_row,
        right=Normalize(True, epsilon=0.1),
        wrong=Normalize(False, epsilon=0.1),
        reference=lambda x: x / x.norm(dim=-1, keepdim=True).clamp(min=0.1),
        mistake=("overflow",),
    ),
    Stranger(
        name="atan2: reciprocal of the squares overflows",
        source="https://github.com/pytorch/pytorch/issues/193040",
        inputs=_tiny_and_plain,
        right=atan2(True),
        wrong=atan2(False),
        reference=lambda y, x: torch.atan(y / x) + math.pi,  # torch.atan2 has the defect itself
        mistake=("overflow", "region"),  # in bfloat16 the squares are zero, and so is the gradient
        domain={"y": (1e-24, 1e12), "x": (-1e12, -1e-24)},
        invisible_in=(torch.float64,),  # 1e-43 is a plain number there
    ),
    Stranger(
        name="atanh: NaN where the upstream is zero",
        source="https://github.com/tenstorrent/tt-metal/issues/55290",
        inputs=_masked,
        right=masked_atanh(True),
        wrong=masked_atanh(False),
        reference=lambda x, mask: torch.atanh(x).masked_fill(mask, 0),
        mistake=("overflow", "region"),
        domain={"x": (-0.99, 0.99)},
    ),
    Stranger(
        name="masked softmax: upstream overwritten",
        source="https://github.com/NVIDIA/apex/issues/1430",
        inputs=_scores,
        right=masked_softmax(True),
        wrong=masked_softmax(False),
        reference=lambda x, mask: (0.7 * x).masked_fill(mask, -1e4).softmax(-1),
        mistake=("side-effect",),
    ),
    Stranger(
        name="attention: upstream of the log-sum-exp ignored",
        source="https://github.com/Dao-AILab/flash-attention/issues/1817",
        inputs=normal((2, 4, 3), (2, 5, 3), (2, 5, 3)),
        right=attention_with_lse(True),
        wrong=attention_with_lse(False),
        reference=_attention_with_lse,
        mistake=("missing-term", "upstream-ignored"),
    ),
    Stranger(
        name="square: x for 2x",
        source="https://github.com/jax-ml/jax/pull/29485",
        inputs=normal((6,)),
        right=custom_gradient(lambda x: (x**2, lambda g: g * 2 * x)),
        wrong=custom_gradient(lambda x: (x**2, lambda g: g * x)),
        reference=lambda x: x**2,
        mistake=("factor",),
    ),
    Stranger(
        name="where with a number: the other branch's gradient",
        source="https://github.com/apache/mxnet/issues/17893",
        inputs=_picked,
        right=where_number(True),
        wrong=where_number(False),
        reference=lambda c, x, number: torch.where(c != 0, x, number),
        mistake=("swapped", "copied", "region"),
    ),
    Stranger(
        name="sequence mask: its value in the gradient",
        source="https://github.com/apache/mxnet/pull/4986",
        inputs=_sequences,
        right=sequence_mask(True),
        wrong=sequence_mask(False),
        reference=lambda x, n: x.masked_fill((torch.arange(5)[:, None] >= n)[..., None], -1.5),
        mistake=("region",),
    ),
    Stranger(
        name="power: inf at zero",
        source="https://github.com/tenstorrent/tt-metal/issues/56383",
        inputs=_rectified,
        right=power(True),
        wrong=power(False),
        reference=lambda x: x * x * x,
        mistake=("overflow", "region"),
        domain=lambda x: x >= 0,
    ),
    Stranger(
        name="log normal cdf: a far tail's fraction near -1",
        source="https://github.com/cornellius-gp/gpytorch/blob/main/gpytorch/functions/_log_normal_cdf.py",
        inputs=_below_one,
        right=log_normal_cdf(True),
        wrong=log_normal_cdf(False),
        reference=lambda z: torch.special.log_ndtr(z.to(torch.promote_types(z.dtype, torch.float))),
        mistake=("forward", "region"),
        invisible_in=(torch.bfloat16,),  # 1e-3 of the value, 2e-3 of the slope
    ),
)
