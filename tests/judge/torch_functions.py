"""Functions of torch by name, each of one tensor: right, but for what is said here."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

_UNARY = {
    torch: (
        "abs acos acosh asin asinh atan atanh ceil cos cosh deg2rad digamma erf erfc erfinv exp "
        "exp2 expm1 floor frac i0 lgamma log log10 log1p log2 logit nan_to_num neg rad2deg "
        "reciprocal relu round rsqrt sigmoid sign sin sinc sinh sqrt square tan tanh trunc"
    ),
    F: (
        "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu6 "
        "selu silu softplus softshrink softsign tanhshrink"
    ),
    torch.special: "entr erfcx i0e i1 i1e log_ndtr ndtr ndtri",
}

UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(module, name) for module, names in _UNARY.items() for name in names.split()
}

MIXING: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "logsumexp": lambda x: torch.logsumexp(x, -1),
    "sort": lambda x: torch.sort(x).values,
    "median": lambda x: x.median(-1).values,
    "max": lambda x: x.max(-1).values,
    "amax": lambda x: x.amax(-1),
    "topk": lambda x: x.topk(2).values,
    "cummax": lambda x: x.cummax(-1).values,
    "cumsum": lambda x: x.cumsum(-1),
    "cumprod": lambda x: x.cumprod(-1),
    "logcumsumexp": lambda x: x.logcumsumexp(-1),
    "norm": lambda x: x.norm(dim=-1),
    "std": lambda x: x.std(-1),
    "var": lambda x: x.var(-1),
    "prod": lambda x: x.prod(-1),
    "layer_norm": lambda x: F.layer_norm(x, (3,)),
    "normalize": lambda x: F.normalize(x),
    "max_pool1d": lambda x: F.max_pool1d(x[None], 2)[0],
    "avg_pool1d": lambda x: F.avg_pool1d(x[None], 2)[0],
    "det": lambda x: torch.linalg.det(x[:3]),
    "inv": lambda x: torch.linalg.inv(x[:3] + 5 * torch.eye(3, dtype=x.dtype)),
    "rfft": lambda x: torch.fft.rfft(x, dim=-1).abs(),
}

OFF = {
    # 1/6 is a float32 in its backward, in every dtype: 3e-8 of itself off.
    ("hardsigmoid", torch.float64): "has lost precision: its numbers carry only the digits of",
    # Its derivative, the trigamma function, is 4.5e-10 of itself off for positive numbers.
    ("digamma", torch.float64): "the gradient of input is wrong",
    # i1e is 8e-7 of itself off around 7.75, seven rounding units, and the derivatives, in which
    # terms cancel, up to 1e-5.
    ("i0e", torch.float32): "the gradient of input is wrong",
    ("i1e", torch.float32): "the gradient of input is wrong",
}
"""What of torch itself is wrong by more than rounding, held against 40 digits of mpmath."""

NOT_IN_BFLOAT16 = {"erfcx", "i1", "i1e", "log_ndtr", "ndtri", "det", "inv", "rfft"}
"""torch has no kernel for these on a CPU."""
