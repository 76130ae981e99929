"""A trained module with what it learnt from: raw features in, as they stand in the data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from bp_torch import checks
from bp_torch.neuron import Model
from bp_torch.table.columns import Column
from bp_torch.table.target import Target


@dataclass(frozen=True)
class About:
    """What a module was trained on and how; kept beside its weights."""

    columns: tuple[Column, ...]
    """Of the table, as the module's features come from them."""
    target: Target
    content: str = ""
    """A hash of the table's rows, in whatever order: those learnt from, and the share held out."""
    training: dict[str, Any] = field(default_factory=dict)
    """Every option."""
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    """Of the training part and of what was held out."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of each feature, "colour=red" where it is a category's."""
        return tuple(name for column in self.columns for name in column.features)


class TrainedModel(nn.Module):
    """A `Neuron` or `Network` behind the standardisation that it was trained with.

        ŷ = f((x − μ)/s)

    with μ and s of each feature in float64, so that a feature far from 0 loses nothing: folded into
    the weights, as w/s and b − Σwμ/s, the two large parts of z would cancel.

    Attributes:
        module: f, for features that are standardised: for `backprop` and `explain`, on
            `standardise(x)`.
        mean, deviation: μ and s, (D,), in float64 whatever the module is moved to.
        about: what it learnt from, and how.
    """

    __call__: Callable[..., Tensor]
    mean: Tensor
    deviation: Tensor

    def __init__(self, module: Model, mean: Tensor, deviation: Tensor, about: About) -> None:
        super().__init__()
        self.module = module
        self.about = about
        self.register_buffer("mean", mean.double())
        self.register_buffer("deviation", deviation.double())

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns of x, (D,)."""
        return self.about.feature_names

    @property
    def classes(self) -> tuple[str, ...]:
        """Of two, the second is the one that ŷ is the probability of; none for a share."""
        return self.about.target.classes

    def standardise(self, x: Tensor) -> Tensor:
        """(x − μ)/s, computed in float64 and rounded to the module's dtype once."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = checks.describe("x", x) if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(
                f"x must be a tensor of raw features, best in float64, got {got}; "
                f"pass torch.as_tensor(x, dtype=torch.float64)"
            )
        if x.ndim == 0 or x.shape[-1] != len(self.mean):
            raise ValueError(
                f"x must have shape (…, {len(self.mean)}), one column per feature, got "
                f"{tuple(x.shape)}"
            )
        standardised = (x.double() - self.mean) / self.deviation
        return standardised.to(self.module.layers[0].weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """ŷ of raw features x (…, D), best in float64: (…,) of a neuron, (…, K) of a network."""
        y_hat: Tensor = self.module(self.standardise(x))
        return y_hat

    def _apply(self, fn: Any, recurse: bool = True) -> "TrainedModel":
        """Moves and converts the module; μ and s are moved, and stay in float64."""
        mean, deviation = self.mean, self.deviation
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.mean, self.deviation = mean.to(self.mean.device), deviation.to(self.mean.device)
        return self
