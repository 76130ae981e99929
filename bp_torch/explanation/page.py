"""The explanation as one page to play with: a file that needs no server and no network.

What it computes while one drags stands in page.js, what it looks like in page.css; both are put
into the file.
"""

import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bp_torch.explanation.document import Chart, Formula, Part, Section, Sentences, Table
from bp_torch.explanation.notation import names_of, number
from bp_torch.neuron import Model, Neuron

MOST_EDGES, MOST_LAYERS = 6, 3
"""Between two layers of a network that is drawn, and of its layers; in the place of a larger one
stands a neuron."""

COLOURS = 6
DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 5", "4 4 1 4")


def write_page(
    path: str | os.PathLike[str],
    *,
    module: Model,
    x: Tensor,
    y: Tensor,
    cost: str,
    learning_rate: float,
    title: str,
    sections: Sequence[Section],
    whys: Mapping[str, Section],
) -> None:
    """Write the page.

    Args:
        module, x, y, cost, learning_rate: what the playground begins with, in float64; of several
            samples the first. A module too large to be drawn gives way to a small neuron.
        title: of the page.
        sections: the story.
        whys: answers by their topic, each a section with that anchor.

    Raises:
        OSError: the file cannot be written.
    """
    start, note = _start(module, x, y, cost, learning_rate)
    Path(path).write_text(_page(title, start, note, sections, whys), encoding="utf-8")


def _start(
    module: Model, x: Tensor, y: Tensor, cost: str, learning_rate: float
) -> tuple[dict[str, Any], str]:
    """What page.js begins with, and a sentence where that is not all of it."""
    sizes = [x.shape[1], *(layer.bias.numel() for layer in module.layers)]
    sample, targets = x[0].tolist(), y[0].reshape(-1).tolist()
    note = f"Of the {len(x)} samples it shows the first. " if len(x) > 1 else ""
    if max(a * b for a, b in pairwise(sizes)) > MOST_EDGES or len(sizes) - 1 > MOST_LAYERS:
        kind = "-".join(map(str, sizes))
        note = f"A model of {kind} is too large to be drawn; this is a neuron with two inputs. "
        module, sample, targets = _small(), [-1.0, -2.0], [0.0]
    names = names_of(module.layers)
    widths = [layer.weight.shape[-1] for layer in module.layers]
    return {
        "x": sample,
        "y": targets,
        "rate": learning_rate,
        "cost": cost,
        "layers": [
            {
                "weight": layer.weight.detach().reshape(-1, width).tolist(),
                "bias": layer.bias.detach().reshape(-1).tolist(),
            }
            for layer, width in zip(module.layers, widths, strict=True)
        ],
        "names": {
            "inputs": [name.inputs for name in names],
            "weights": [
                [[name.weight(k, j) for j in range(width)] for k in range(len(name.units))]
                for name, width in zip(names, widths, strict=True)
            ],
            "biases": [[name.bias(k) for k in range(len(name.units))] for name in names],
        },
    }, note


def _small() -> Neuron:
    neuron = Neuron(2, dtype=torch.float64)
    with torch.no_grad():
        neuron.weight.copy_(torch.tensor([2.0, -3.0]))
        neuron.bias.fill_(-3.0)
    return neuron


def _page(
    title: str,
    start: dict[str, Any],
    note: str,
    sections: Sequence[Section],
    whys: Mapping[str, Section],
) -> str:
    here = files("bp_torch.explanation")
    css, script = (here.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    data = json.dumps(start).replace("</", "<\\/")
    whose = "the neuron" if len(start["layers"]) == 1 else "the network"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{css}</style>
</head>
<body>
<main>
<h1>What is the derivative of the sigmoid for?</h1>
<p>{escape(title)}. Values go <span class="forward">forward</span>, gradients come
<span class="backward">backward</span>: move a number and look what follows.</p>
<section class="playground" aria-label="playground">
<figure class="panel wide"><h3>{whose.capitalize()}</h3><div id="circuit" tabindex="0"></div>
<figcaption>{escape(note)}<span class="forward">Above: values, forward.</span>
<span class="backward">Below: ∂C/∂ of the number above it, backward.</span></figcaption></figure>
<figure class="panel"><h3>σ with its tangent at z, and σ′</h3><div id="sigmoid"></div></figure>
<div class="panel chain"><h3>The chain rule with these numbers</h3><div id="chain"></div></div>
<div class="panel wide"><h3>Move a number</h3><div class="controls" id="numbers"></div></div>
<div class="panel wide"><h3>Take steps</h3>
<div class="row"><button id="step" class="first">step</button>
<button id="steps" class="first">100 steps</button>
<button id="saturated">start saturated</button><button id="reset">reset</button>
<button id="clear">clear curves</button></div>
<div class="row" id="switches" role="group" aria-label="what is done otherwise"></div>
<p id="said" class="quiet" role="status" aria-live="polite">Each switch begins at the same numbers,
and its curve stays beside the others.</p>
<p class="quiet">The cost over the steps, as a share of what it was at the start:</p>
<div id="curves"></div><ul class="legend" id="legend"></ul></div>
</section>
<h2>The step, in words</h2>
{"".join(f"<section><h3>{escape(s.heading)}</h3>{_parts(s)}</section>" for s in sections)}
<h2>Why?</h2>
{"".join(_why(topic, section) for topic, section in whys.items())}
</main>
<script type="application/json" id="start">{data}</script>
<script>
{script}</script>
</body>
</html>
"""


def _why(topic: str, section: Section) -> str:
    return (
        f'<details id="{escape(topic)}"><summary>{escape(section.heading)}</summary>'
        f"{_parts(section)}</details>"
    )


def _parts(section: Section) -> str:
    return "".join(map(_part, section.parts))


def _part(part: Part) -> str:
    if isinstance(part, Sentences):
        return f"<p>{escape(part.text)}</p>"
    if isinstance(part, Formula):
        return f"<pre>{escape(chr(10).join(part.lines))}</pre>"
    if isinstance(part, Table):
        return _table(part)
    return _chart(part)


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="table"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _chart(chart: Chart) -> str:
    """The curves as an inline SVG, with a legend below."""
    points = [point for curve in chart.curves.values() for point in curve]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    width, height, margin = 640, 260, 66

    def across(x: float) -> float:
        return margin + (x - left) / ((right - left) or 1) * (width - margin - 24)

    def up(y: float) -> float:
        return height - 36 - (y - low) / ((high - low) or 1) * (height - 64)

    grid = "".join(
        f'<line class="axis" x1="{margin}" x2="{width - 24}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>'
        f'<text class="small" x="{margin - 6}" y="{up(y) + 4:.1f}" text-anchor="end">'
        f"{_rounded(y)}</text>"
        for y in (low, (low + high) / 2, high)
    ) + "".join(
        f'<text class="small" x="{across(x):.1f}" y="{height - 12}" text-anchor="middle">'
        f"{_rounded(x)}</text>"
        for x in (left, right)
    )
    lines, legend = "", ""
    for place, (name, curve) in enumerate(chart.curves.items()):
        style = f'stroke="var(--c{place % COLOURS})" stroke-dasharray="{DASHES[place % COLOURS]}"'
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in curve)
        lines += f'<polyline class="curve" points="{path}" {style}/>'
        legend += (
            f'<li><svg viewBox="0 0 34 10" aria-hidden="true"><line x1="0" x2="34" y1="5" y2="5" '
            f'stroke-width="3" {style}/></svg>{escape(name)}</li>'
        )
    title = escape(f"{chart.title}: {', '.join(chart.curves)}", quote=True)
    return (
        f"<figure><figcaption>{escape(chart.title)}</figcaption>"
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{title}">'
        f'{grid}{lines}<text class="small" x="{width / 2}" y="{height - 12}" text-anchor="middle">'
        f"{escape(chart.across)}</text></svg>"
        f'<ul class="legend">{legend}</ul></figure>'
    )


def _rounded(value: float) -> str:
    return number(float(f"{value:.3g}"))
