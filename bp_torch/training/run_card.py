"""What a run says of itself in TensorBoard: its first step in numbers, and how to have it again."""

import os
import platform
import shlex
from dataclasses import fields

import torch
from torch import Tensor

import bp_torch
from bp_torch.explanation.notation import factor, number
from bp_torch.explanation.step import Step, take_step
from bp_torch.mistakes import MISTAKES
from bp_torch.neuron import Model
from bp_torch.training.config import Config
from bp_torch.training.data import name_of


def first_step(config: Config, module: Model, x: Tensor, y: Tensor) -> str:
    """The first sample of the first batch, forward and backward, and one weight updated: Markdown.

    The weight is the one of the last layer whose gradient is largest.
    """
    step = take_step(module, x, y, cost=config.cost, learning_rate=config.learning_rate)
    parts = [_one_sample(step), _update(step)]
    if config.mistake is not None:
        said = MISTAKES[config.mistake].sentence
        parts.insert(
            0, f"**This run makes a mistake on purpose**: {said}. Below is the right step."
        )
    return "\n\n".join(parts)


def _one_sample(step: Step) -> str:
    link, names = step.layers[-1][1], step.layers[-1][2]
    n, (z, y_hat, by_output, prime, delta) = (
        step.samples,
        (
            float(values[0].reshape(-1)[0])
            for values in (link.z, link.y_hat, link.dC_dy_hat, link.dy_hat_dz, link.delta)
        ),
    )
    target = float(step.y[0].reshape(-1)[0])
    output = names.units[0]
    rows = (
        ("z", "the weighted sum of the inputs", number(z)),
        (f"{output} = σ(z)", "the output", number(y_hat)),
        ("y", "the target", number(target)),
        (f"∂C/∂{output}", f"how C answers to {output} (N = {n})", number(by_output)),
        ("σ′(z)", f"{number(y_hat)}·{number(1 - y_hat)}", number(prime)),
        ("δ", f"{number(by_output)}·{factor(prime)}", number(delta)),
    )
    return "\n".join(
        [
            f"The first of the {n} samples of the first batch:",
            "",
            "| | | value |",
            "|---|---|---:|",
            *(f"| {a} | {b} | {c} |" for a, b, c in rows),
        ]
    )


def _update(step: Step) -> str:
    names = step.layers[-1][2]
    parameter = [name for name in step.chain.gradients if name.endswith("weight")][-1]
    gradient = step.chain.gradients[parameter].reshape(-1)
    place = int(gradient.abs().argmax())
    label = names.weight(*divmod(place, len(names.inputs)))
    before, after = (
        dict(module.named_parameters())[parameter].detach().reshape(-1)[place].item()
        for module in (step.module, step.updated)
    )
    slope = gradient[place].item()
    return (
        f"Summed over the batch, ∂C/∂{label} = {number(slope)}, so the step is "
        f"{label} ← {number(before)} − {number(step.learning_rate)}·{factor(slope)} = "
        f"{number(after)}. With every weight updated so, the batch's cost goes from "
        f"{number(step.chain.cost.item())} to {number(step.after.cost.item())}."
    )


def command(config: Config) -> str:
    """The command line that gives the run again, and the versions: Markdown."""
    words = ["bp-torch", "train", name_of(config.dataset)]
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in ("dataset", "name", "runs"):
            continue
        plain = value is None or isinstance(value, str | int | float | tuple | os.PathLike)
        if plain and value == field.default:
            continue
        if value is True:
            words.append(f"--{field.name}")
            continue
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words += [f"--{field.name.replace('_', '-')}", text if plain else name_of(value)]
    versions = (
        f"bp_torch {bp_torch.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )
    return f"    {shlex.join(words)}\n\n{versions}"
