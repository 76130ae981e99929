"""What all figures share: colours, sizes, the way to pixels and files.

Forward is blue and backward is vermilion, two colours that colour-blind people tell apart (Okabe &
Ito 2008, "Color Universal Design"), darkened where they are letters, for contrast on white.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bp_torch.explanation.notation import exponent_of, number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

FORWARD, BACKWARD, INK, QUIET = "#00588f", "#a93f00", "#1d1d1f", "#5b5b63"
FORWARD_LINE, BACKWARD_LINE, WIRE, SHADE = "#0072b2", "#d55e00", "#b4b4ba", "#ececef"

SMALL, MEDIUM, LARGE = 9, 10, 12
"""Points: of labels, of axes, of titles."""

DPI = 100
"""Pixels of an inch on the screen."""

SETTINGS = {
    "font.size": SMALL,
    "axes.labelsize": MEDIUM,
    "axes.titlesize": LARGE,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "text.color": INK,
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "svg.hashsalt": "bp_torch",  # the same figure gives the same file
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in here: whatever matplotlib's user has set counts again afterwards, and not before."""
    from matplotlib.style import context

    with context(["default", SETTINGS]):
        yield


def new_figure(width: float, height: float, *, constrained: bool = True) -> "Figure":
    """An empty figure of that many inches, which pyplot knows nothing of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout = "constrained" if constrained else "none"
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def to_rgb(figure: "Figure") -> "NDArray[np.uint8]":
    """The figure's pixels, (H, W, 3) from the top left, on white."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with style():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file, in the pixels of `to_rgb`."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def save(figure: "Figure", path: str | os.PathLike[str]) -> None:
    """Write the figure to a file, SVG or PNG (of twice the pixels) by its ending.

    The same figure gives the same bytes. Raises ValueError for another ending, and OSError where
    the file cannot be written.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".svg", ".png"):
        raise ValueError(f"a figure's file must end with .svg or .png, got {os.fspath(path)!r}")
    metadata: dict[str, Any] = {"Date": None} if ending == ".svg" else {"Software": None}
    with style():
        figure.savefig(path, format=ending[1:], dpi=2 * DPI, metadata=metadata)


def plain(tensor: Tensor) -> Tensor:
    """The same numbers in float64 on the CPU, for matplotlib; no part of a graph."""
    return tensor.detach().cpu().to(torch.float64)


def short(value: float) -> str:
    """Four significant digits: "0.08217", "−3", "4.386·10⁻⁵", "∞", "NaN"."""
    if value != value or value in (float("inf"), float("-inf")):
        return number(value)
    mantissa, _, exponent = f"{abs(value):.4g}".partition("e")
    power = f"10{exponent_of(exponent)}" if exponent else ""
    text = "·".join(part for part in (mantissa, power) if part)
    return f"−{text}" if value < 0 else text


def spread(count: int, most: int) -> list[int]:
    """At most so many places of a sequence, at regular distances, its ends among them."""
    if count <= most:
        return [*range(count)]
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]
