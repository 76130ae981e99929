"""bp-torch explain: one step of backpropagation with the user's own numbers."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from torch import Tensor

from bp_torch import checks, explanation
from bp_torch.cli.options import number, one_of, whole
from bp_torch.explanation.explanation import PICTURES, Picture
from bp_torch.explanation.text import as_text
from bp_torch.explanation.why import TOPICS, Topic, answer
from bp_torch.neuron import Model, Network, Neuron
from bp_torch.training.config import CostName
from bp_torch.training.model_file import load
from bp_torch.training.prediction import row_of

EXAMPLE = "bp-torch explain --weights 2,-3 --bias -3 --x -1,-2 --target 0 --learning-rate 0.5"

ExampleName = Literal["mazur", "nielsen", "cs231n", "seed"]
BRACKETS = str.maketrans("", "", "[](){}")
"""That people put around their numbers."""

DEFAULT_WEIGHTS, DEFAULT_BIAS, DEFAULT_X, DEFAULT_TARGET = "2,-3", "-3", "-1,-2", "0"


def explain(
    context: typer.Context,
    weights: Annotated[
        str | None,
        typer.Option(
            help="w₁,w₂ …; of a network all of them, layer by layer and neuron by neuron.",
            metavar="NUMBERS",
            show_default=DEFAULT_WEIGHTS,
        ),
    ] = None,
    bias: Annotated[
        str | None,
        typer.Option(
            help="b; of a network one for each neuron.",
            metavar="NUMBERS",
            show_default=DEFAULT_BIAS,
        ),
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(
            help="x₁,x₂ …; several samples as 1,2;3,4.", metavar="NUMBERS", show_default=DEFAULT_X
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="y in [0, 1]; of a network one for each output.",
            metavar="NUMBERS",
            show_default=DEFAULT_TARGET,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(parser=number, help="ν in w ← w − ν ∂C/∂w.", show_default="1"),
    ] = None,
    cost: Annotated[
        CostName | None, one_of(CostName, "quadratic or cross-entropy.", show_default="quadratic")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="A network: neurons in each layer, as 2,2.",
            metavar="SIZES",
            show_default="one neuron",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="A trained model, runs/NAME/model.safetensors.", show_default=False),
    ] = None,
    row: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            help="With --model: a row of the data that it learnt from, counted from 1.",
            show_default=False,
        ),
    ] = None,
    example: Annotated[
        ExampleName | None,
        one_of(ExampleName, "mazur, nielsen, cs231n or seed (the four slips).", show_default=False),
    ] = None,
    why: Annotated[
        Topic | None,
        one_of(
            Topic, "Answer one question by an experiment; alone: list them.", show_default=False
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page to play with, in one file.", show_default=False),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="Draw the step, .svg or .png.", show_default=False),
    ] = None,
    picture: Annotated[
        Picture,
        one_of(
            Picture,
            "Of --figure: circuit; sigma-prime, with the samples; cost, with the way downhill.",
        ),
    ] = "circuit",
    seed: Annotated[
        int | None,
        typer.Option(
            parser=whole, help="Of a network's weights where none are given.", show_default="0"
        ),
    ] = None,
) -> None:
    """Explain one step of backpropagation, with your numbers."""
    checks.require_one_of("--picture", picture, PICTURES)
    if why is not None:
        checks.require_one_of("the topic of --why", why, TOPICS)
    for option, path in (("--html", html), ("--figure", figure)):
        if path is not None:
            _require_place_for(option, path)
    given = {
        "--weights": weights,
        "--bias": bias,
        "--x": x,
        "--target": target,
        "--layers": layers,
        "--seed": seed,
    }
    if example is not None:
        _require_absent(
            "--example brings its own numbers",
            {**given, "--model": model, "--row": row, "--learning-rate": learning_rate},
        )
        story = explanation.example(example, cost=cost)
    else:
        if model is not None:
            _require_absent(
                "--model brings its own weights",
                {name: given[name] for name in ("--weights", "--bias", "--layers", "--seed")},
            )
            module, samples, targets = _trained(model, row, x, target)
        else:
            _require_absent("--row is for --model", {"--row": row})
            module, samples, targets = _typed(weights, bias, x, target, layers, seed)
        story = explanation.explain(
            module,
            samples,
            targets,
            cost="quadratic" if cost is None else cost,
            learning_rate=1.0 if learning_rate is None else learning_rate,
        )
    encoding = sys.stdout.encoding or "utf-8"
    if model is not None:
        print("The features are standardised, (x − μ)/s, as the model takes them.\n")
    if why is not None:
        print(as_text((answer(why, story.step),), encoding))
    else:
        print(f"{story.title}\n\n{as_text(story.sections, encoding)}")
    if html is not None:
        story.to_html(html)
        print(f"\npage    {html}")
    if figure is not None:
        story.figure(figure, picture)
        print(f"\nfigure  {figure}")


def list_questions() -> None:
    """Print what can be asked."""
    for topic, question in TOPICS.items():
        print(f"{topic:17}{question.text}")


def _require_absent(reason: str, options: dict[str, object]) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{reason}, and {name} was given as well; leave one of them out")


def _require_place_for(option: str, path: Path) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"{option} must name a file in a folder that exists, got {path}")


def _typed(
    weights: str | None,
    bias: str | None,
    x: str | None,
    target: str | None,
    layers: str | None,
    seed: int | None,
) -> tuple[Model, Tensor, Tensor]:
    """A module, samples and targets from what was typed."""
    if layers is None and weights is None and x is None:
        weights, x = DEFAULT_WEIGHTS, DEFAULT_X
        bias = DEFAULT_BIAS if bias is None else bias
    if x is None:
        raise ValueError("--x must say what goes in, one number for each weight, as --x -1,-2")
    samples = _matrix("--x", x)
    features = samples.shape[1]
    generator = torch.Generator().manual_seed(checks.require_seed(0 if seed is None else seed))
    module: Model
    if layers is None:
        module = Neuron(features, dtype=torch.float64, generator=generator)
    else:
        sizes = [features, *_sizes(layers)]
        module = Network(sizes, dtype=torch.float64, generator=generator)
    _fill("--weights", weights, [layer.weight for layer in module.layers])
    _fill("--bias", bias, [layer.bias for layer in module.layers])
    return module, samples, _targets(target, module, len(samples))


def _trained(
    path: Path, row: int | None, x: str | None, target: str | None
) -> tuple[Model, Tensor, Tensor]:
    """A trained model, and a row of its data or one that was typed."""
    model = load(path)
    module = model.module
    if row is None:
        if x is None or target is None:
            raise ValueError(
                "--model needs a sample: --row N of the data that it learnt from, or --x and "
                "--target"
            )
        samples = model.standardise(_matrix("--x", x)).double()
        return module, samples, _targets(target, module, len(samples))
    _require_absent("--row brings its own numbers", {"--x": x, "--target": target})
    x_row, y_row = row_of(model, row)
    return (
        module,
        model.standardise(x_row).double(),
        y_row.reshape(1, *module.layers[-1].bias.shape),
    )


def _targets(text: str | None, module: Model, samples: int) -> Tensor:
    """As typed; without, 0 for every output."""
    shape = (samples, *module.layers[-1].bias.shape)
    if text is None:
        return torch.zeros(shape, dtype=torch.float64)
    values = _matrix("--target", text)
    if values.numel() != torch.Size(shape).numel():
        outputs = torch.Size(shape[1:]).numel()
        raise ValueError(
            f"--target must have {outputs} number{'s' if outputs > 1 else ''} for each of the "
            f"{samples} samples, as {';'.join([','.join(['0'] * outputs)] * min(samples, 3))}; "
            f"got {text!r}"
        )
    return values.reshape(shape)


@torch.no_grad()
def _fill(option: str, text: str | None, parameters: list[torch.nn.Parameter]) -> None:
    """Write the numbers into the parameters, in order."""
    if text is None:
        return
    values = _matrix(option, text).reshape(-1)
    wanted = sum(parameter.numel() for parameter in parameters)
    if len(values) != wanted:
        raise ValueError(
            f"{option} must be {wanted} number{'s' if wanted > 1 else ''} for these inputs and "
            f"layers, got {len(values)}: {text!r}"
        )
    for parameter, part in zip(
        parameters, values.split([p.numel() for p in parameters]), strict=True
    ):
        parameter.copy_(part.reshape(parameter.shape))


def _matrix(option: str, text: str) -> Tensor:
    """ "1,2;3,4", or "[1 2]; [3 4]", as a tensor of rows; raises ValueError, in one line."""
    try:
        plain = text.replace("−", "-").translate(BRACKETS)
        rows = [list(map(float, row.replace(",", " ").split())) for row in plain.split(";")]
        if not all(rows):
            raise ValueError
        return torch.tensor(rows, dtype=torch.float64)
    except ValueError:
        raise ValueError(
            f"{option} must be numbers with commas between them, and rows of the same length with "
            f"semicolons, as 1,2;3,4; got {text!r:.80}"
        ) from None


def _sizes(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        raise ValueError(f"--layers must be whole numbers, as 2,2; got {text!r}") from None
