"""Figures of a step and of a descent: the circuit, what σ′ does, the cost's surface, δ by layer.

Forward is blue and backward is vermilion, in colours that colour-blind people tell apart (Okabe &
Ito 2008, "Color Universal Design"). Figures are matplotlib's, made without its global state.
"""

import copy
import io
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from bp_torch.chain_rule import Chain
from bp_torch.costs import COSTS
from bp_torch.derivative import sigmoid, sigmoid_prime
from bp_torch.explanation.notation import LayerNames, names_of, number
from bp_torch.neuron import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORWARD, BACKWARD, NEUTRAL, LINES = "#0072b2", "#d55e00", "#555555", "#bbbbbb"
MOST_EDGES, MOST_LAYERS = 6, 3
"""Between two layers of a network that is drawn as a circuit, and of its layers: with more the
labels would meet."""

SATURATED_BELOW = 0.01
TANGENTS = 5
MOST_SAMPLES = 400
"""Drawn one by one; of more, as many at regular places in their order."""

GRID = 41
"""Points of the cost's surface along each weight."""

DPI = 100


def circuit_figure(module: Model, chain: Chain) -> "Figure":
    """The step as a circuit: values forward above, gradients backward below.

    Args:
        module, chain: what `backprop` took and what it gave. Of several samples the first is shown.

    Raises:
        ValueError: a network too large to be read.
    """
    sizes = [chain.layers[0].dz_dw.shape[1], *(link.z[0].numel() for link in chain.layers)]
    if max(a * b for a, b in pairwise(sizes)) > MOST_EDGES or len(sizes) - 1 > MOST_LAYERS:
        raise ValueError(
            f"a circuit can be drawn of at most {MOST_LAYERS} layers with {MOST_EDGES} weights "
            f"each, got {'-'.join(map(str, sizes))}; explain a smaller network"
        )
    figure = blank_figure(3.3 * len(sizes) + 2.2, 1.5 * max(sizes) + 0.8, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    names = names_of(module.layers)
    columns = _columns(chain, names)
    rows = {place: _rows(len(column), max(sizes)) for place, column in enumerate(columns)}
    axes.set_xlim(-0.55, len(sizes) + 0.35)
    axes.set_ylim(-0.85, max(sizes) - 0.3)
    for place, (layer, link, name) in enumerate(
        zip(module.layers, chain.layers, names, strict=True)
    ):
        weights = layer.weight.detach().reshape(-1, sizes[place])
        slopes = link.delta[0].reshape(-1, 1) * link.dz_dw[0]
        for k, end in enumerate(rows[place + 1]):
            for j, begin in enumerate(rows[place]):
                axes.plot([place, place + 1], [begin, end], color=LINES, zorder=1)
                at = (0.36, 0.66)[j % 2] if sizes[place] > 1 and len(rows[place + 1]) > 1 else 0.45
                height = begin + (end - begin) * at
                label = f"{name.weight(k, j)} = {number(float(weights[k, j]), 4)}"
                _two(axes, place + at, height, label, number(float(slopes[k, j]), 4))
    last, middle = len(sizes) - 1, 0.5 * (max(sizes) - 1)
    for height in rows[last]:
        axes.plot([last, last + 1], [height, middle], color=LINES, zorder=1)
    for place, column in enumerate(columns):
        for (title, value, slope), row in zip(column, rows[place], strict=True):
            _node(axes, place, row, title, value, slope)
    _node(axes, last + 1, middle, "C", number(float(chain.cost), 4), "1")
    many = len(chain.z) > 1
    note = ", of the first sample" if many else ""
    axes.text(-0.5, -0.62, f"above: values, forward{note}", color=FORWARD, fontsize=10)
    below = "below: ∂C/∂ of the number above it, backward"
    axes.text(-0.5, -0.78, below, color=BACKWARD, fontsize=10)
    return figure


def _columns(chain: Chain, names: Sequence[LayerNames]) -> list[list[tuple[str, str, str]]]:
    """Title, value and slope of every node, by column."""
    first = [
        (name, number(float(value), 4), "")
        for name, value in zip(names[0].inputs, chain.layers[0].dz_dw[0], strict=True)
    ]
    columns = [first]
    for link, name in zip(chain.layers, names, strict=True):
        outputs, slopes = link.y_hat[0].reshape(-1), link.dC_dy_hat[0].reshape(-1)
        zs = link.z[0].reshape(-1)
        columns.append(
            [
                (
                    f"{unit} = σ({number(float(z), 4)})",
                    number(float(value), 4),
                    number(float(slope), 4),
                )
                for unit, z, value, slope in zip(name.units, zs, outputs, slopes, strict=True)
            ]
        )
    return columns


def _rows(count: int, most: int) -> list[float]:
    """Heights of a column's nodes, from the top, in the middle of the figure."""
    return [0.5 * (most - 1) + 0.5 * (count - 1) - k for k in range(count)]


def _node(axes: "Axes", x: float, y: float, title: str, value: str, slope: str) -> None:
    axes.scatter([x], [y], s=3400, color="white", edgecolor="#888888", zorder=2)
    axes.text(x, y + 0.36, title, ha="center", va="bottom", fontsize=10)
    if slope:
        _two(axes, x, y, value, slope)
    else:
        axes.text(x, y, value, ha="center", va="center", color=FORWARD, fontsize=9)


def _two(axes: "Axes", x: float, y: float, forward: str, backward: str) -> None:
    """A value, and below it the gradient, on a ground that hides the lines."""
    ground = {"boxstyle": "square,pad=0.08", "facecolor": "white", "edgecolor": "none"}
    for text, color, side in ((forward, FORWARD, "bottom"), (backward, BACKWARD, "top")):
        height = y + (0.02 if side == "bottom" else -0.02)
        axes.text(x, height, text, ha="center", va=side, color=color, fontsize=9, bbox=ground)


def sigma_prime_figure(z: Tensor, *, title: str = "what σ′ does") -> "Figure":
    """σ with a batch on it and tangents at some of its samples; below, σ′.

    Args:
        z: pre-activations, any shape; what is not finite is left out.
    """
    values = z.detach().double().cpu().reshape(-1)
    values = _thinned(values[values.isfinite()].sort().values)
    reach = max(6.0, float(values.abs().max()) * 1.05 if len(values) else 0.0)
    line = torch.linspace(-reach, reach, 601, dtype=torch.float64)
    figure = blank_figure(7.2, 5.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    primes = sigmoid_prime(sigmoid(values))
    share = float((primes < SATURATED_BELOW).double().mean()) if len(values) else 0.0
    edge = 4.59512  # σ′(z) = 0.01
    for axes in (upper, lower):
        for side in (-1, 1):
            axes.axvspan(side * edge, side * reach, color="#eeeeee", zorder=0, linewidth=0)
    upper.plot(line.numpy(), sigmoid(line).numpy(), color=FORWARD)
    for place in _places(len(values)):
        at, slope = float(values[place]), float(primes[place])
        here = float(sigmoid(values[place]))
        along = min(1.4, 0.16 * reach)
        upper.plot(
            [at - along, at + along],
            [here - slope * along, here + slope * along],
            color=BACKWARD,
            linewidth=1.5,
        )
    dots = {"s": 14, "alpha": 0.9 if len(values) < 20 else 0.35, "zorder": 3}
    upper.scatter(values.numpy(), sigmoid(values).numpy(), color=FORWARD, **dots)
    upper.set_ylabel("ŷ = σ(z)")
    upper.set_title(title, fontsize=12)
    lower.plot(line.numpy(), sigmoid_prime(sigmoid(line)).numpy(), color=BACKWARD)
    lower.scatter(values.numpy(), primes.numpy(), color=BACKWARD, **dots)
    for height, name in ((0.25, "¼, the most there is"), (SATURATED_BELOW, "0.01")):
        lower.axhline(height, color=NEUTRAL, linewidth=0.8, linestyle=":")
        lower.text(-reach, height + 0.004, f" {name}", fontsize=9, color=NEUTRAL, va="bottom")
    lower.text(
        reach,
        0.12,
        f"saturated, σ′ < 0.01: \n{share:.0%} of the samples ",
        ha="right",
        fontsize=9,
        color=NEUTRAL,
    )
    lower.set_ylim(-0.01, 0.29)
    lower.set_ylabel("σ′(z), the slope")
    lower.set_xlabel("z")
    lower.set_xlim(-reach, reach)
    return figure


def cost_surface_figure(
    module: Model,
    x: Tensor,
    y: Tensor,
    *,
    cost: str,
    path: Sequence[tuple[float, float]],
    weights: tuple[int, int] = (0, 1),
    names: tuple[str, str] | None = None,
) -> "Figure":
    """The cost over two numbers of the first layer, with the way that descent took.

    Args:
        module: its other numbers stay where they are.
        path: the two numbers over the steps, from the start.
        weights: their places in the flattened weight; the one behind its last is the bias.
        names: what they are called; without, w₁ and w₂, or w and b.
    """
    points = torch.tensor([p for p in path if all(map(_finite, p))], dtype=torch.float64)
    across, up = (_range(points[:, side]) for side in (0, 1))
    surface = _surface(module, x, y, cost, weights, across, up)
    first = module.layers[0].weight.reshape(-1)
    if names is None:
        called = names_of(module.layers)[0]
        width = module.layers[0].weight.shape[-1]
        names = tuple(  # type: ignore[assignment]
            called.weight(*divmod(place, width)) if place < len(first) else called.bias(0)
            for place in weights
        )
    assert names is not None
    figure = blank_figure(6.4, 5.2)
    axes = figure.subplots()
    filled = axes.contourf(across.numpy(), up.numpy(), surface.numpy(), levels=16, cmap="Blues")
    figure.colorbar(filled, ax=axes, label=f"{cost} cost")
    axes.plot(*points.t().numpy(), color=BACKWARD, linewidth=1.5, label="descent")
    for point, name, fill in ((points[0], "start", "white"), (points[-1], "end", BACKWARD)):
        axes.scatter(
            [float(point[0])],
            [float(point[1])],
            s=50,
            color=fill,
            edgecolor=BACKWARD,
            zorder=3,
            label=name,
        )
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.set_title("the cost over two weights, the others as they are at the end", fontsize=11)
    axes.legend(loc="best", fontsize=9)
    return figure


@torch.no_grad()
def _surface(
    module: Model,
    x: Tensor,
    y: Tensor,
    cost: str,
    weights: tuple[int, int],
    across: Tensor,
    up: Tensor,
) -> Tensor:
    """C at every point of the grid, (len(up), len(across)): the first layer alone is moved."""
    chosen = _places(len(x), MOST_SAMPLES)
    moved: Model = copy.deepcopy(module).double().cpu()
    inputs, targets = x[chosen].double().cpu(), y[chosen].double().cpu()
    layer = moved.layers[0]
    numbers = [
        (layer.weight.view(-1), place)
        if place < layer.weight.numel()
        else (layer.bias.view(-1), place - layer.weight.numel())
        for place in weights
    ]
    result = torch.empty(len(up), len(across), dtype=torch.float64)
    for row, height in enumerate(up):
        for column, width in enumerate(across):
            for (tensor, place), value in zip(numbers, (width, height), strict=True):
                tensor[place] = value
            result[row, column] = COSTS[cost][0](moved(inputs), targets)
    return result


def delta_figure(steps: Sequence[int], deltas: Sequence[Sequence[float]]) -> "Figure":
    """How large δ is in each layer over the steps, on a logarithmic scale.

    Args:
        steps: where it was looked at, ascending.
        deltas: for each of them, the root mean square of δ in each layer from the first.
    """
    from matplotlib.colors import LogNorm

    values = torch.tensor(deltas, dtype=torch.float64).t()  # (layers, steps)
    positive = values[(values > 0) & values.isfinite()]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (1e-9, 1.0)
    figure = blank_figure(7.2, 1.6 + 0.6 * len(values))
    axes = figure.subplots()
    drawn = axes.imshow(
        values.clamp(min=low).numpy(),
        aspect="auto",
        origin="lower",
        cmap="Oranges",
        norm=LogNorm(low, high if high > low else 1.01 * low),
        interpolation="nearest",
    )
    shown = sorted(
        {round(i) for i in torch.linspace(0, len(steps) - 1, min(7, len(steps))).tolist()}
    )
    axes.set_xticks(shown, [f"{steps[i]:,}" for i in shown])
    axes.set_yticks(range(len(values)), [f"layer {k + 1}" for k in range(len(values))])
    axes.set_xlabel("step (looks are closer together at the beginning)")
    axes.set_title("δ = ∂C/∂z in each layer, root mean square", fontsize=11)
    figure.colorbar(drawn, ax=axes)
    return figure


def png(figure: "Figure") -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write the figure as SVG or PNG, by the file's ending; another raises ValueError."""
    from matplotlib import rc_context

    ending = Path(path).suffix.lower()
    if ending not in (".svg", ".png"):
        raise ValueError(f"a figure's file must end with .svg or .png, got {os.fspath(path)!r}")
    # The same figure gives the same file.
    metadata: dict[str, Any] = {"Date": None} if ending == ".svg" else {"Software": None}
    with rc_context({"svg.hashsalt": "bp_torch"}):
        figure.savefig(path, format=ending[1:], dpi=2 * DPI, metadata=metadata)


def blank_figure(
    width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> "Figure":
    """A figure to draw on, its size in inches, without matplotlib's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _thinned(values: Tensor) -> Tensor:
    return values[_places(len(values), MOST_SAMPLES)]


def _places(count: int, most: int = TANGENTS) -> list[int]:
    """At most so many places of a sequence, at regular distances, its ends among them."""
    if count <= most:
        return [*range(count)]
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _range(values: Tensor) -> Tensor:
    """A grid around the path, with as much room on each side as the path is long."""
    low, high = float(values.min()), float(values.max())
    room = max(high - low, 0.1 * max(abs(low), abs(high)), 0.5) * 0.75
    return torch.linspace(low - room, high + room, GRID, dtype=torch.float64)


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
