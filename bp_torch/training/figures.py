"""Figures of what was learnt: what weighs most, and whether probabilities are what they say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bp_torch.pictures import BACKWARD, FORWARD, LINES, NEUTRAL, blank_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_WEIGHTS = 20
LONGEST = 32
"""Characters of a name that is drawn."""

BINS = 10


def weights_figure(names: Sequence[str], weight: Tensor) -> "Figure":
    """The largest weights of a neuron, or of a layer's first output, with their features' names.

    Args:
        names: of the D features.
        weight: (D,) or (K, D).
    """
    weight = weight.detach().double().cpu().reshape(-1, len(names))[0]
    largest = weight.abs().sort(descending=True, stable=True).indices[:MOST_WEIGHTS].flip(0)
    values = weight[largest].tolist()
    shown = [" ".join(names[place].split()) for place in largest.tolist()]
    figure = blank_figure(7.2, 1.4 + 0.26 * len(values))
    axes = figure.subplots()
    colors = [FORWARD if value > 0 else BACKWARD for value in values]
    axes.barh(range(len(values)), values, color=colors, height=0.7)
    short = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in shown]
    axes.set_yticks(range(len(values)), short, fontsize=9, parse_math=False)
    axes.axvline(0, color=NEUTRAL, linewidth=0.8)
    axes.grid(axis="x", color=LINES, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("weight (features are standardised)")
    more = len(names) - len(values)
    axes.set_title(
        f"the {len(values)} largest of {len(names)} weights" if more else "the weights", fontsize=11
    )
    return figure


def calibration_figure(y: Tensor, y_hat: Tensor) -> "Figure":
    """How often it was class 1 where the output said so: a reliability diagram.

    Source: Niculescu-Mizil & Caruana (2005), "Predicting Good Probabilities with Supervised
    Learning", §4, in ten bins of equal width; drawn by how many samples there are in each.

    Args:
        y, y_hat: targets and outputs of the samples, of one shape.
    """
    true, said = (each.detach().double().cpu().flatten() for each in (y, y_hat))
    finite = said.isfinite()
    true, said = true[finite], said[finite]
    places = (said * BINS).long().clamp(0, BINS - 1)
    counts = torch.bincount(places, minlength=BINS)
    known = counts > 0
    mean_said = torch.bincount(places, said, minlength=BINS)[known] / counts[known]
    share = torch.bincount(places, true, minlength=BINS)[known] / counts[known]
    figure = blank_figure(5.4, 5.8)
    above, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    above.plot([0, 1], [0, 1], color=LINES, linestyle="--", label="as it should be")
    above.plot(mean_said.tolist(), share.tolist(), color=FORWARD, marker="o", label="held out")
    above.set_ylabel("share that is class 1")
    above.set_title("where the output says p, how often is it class 1?", fontsize=11)
    above.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    above.legend(loc="upper left", fontsize=9)
    edges = np.linspace(0, 1, BINS + 1)
    below.bar(
        edges[:-1], counts.tolist(), width=1 / BINS, align="edge", color=FORWARD, edgecolor="white"
    )
    below.set(xlabel="output ŷ", ylabel="samples")
    return figure
