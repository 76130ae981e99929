"""bp-torch train: a neuron, or a network of them, on real data."""

import os
from typing import Annotated, Literal, cast, get_args

import typer

from bp_torch import checks
from bp_torch.cli.options import number, one_of, whole
from bp_torch.cli.status import INTERRUPTED
from bp_torch.forms import Derivative
from bp_torch.mistakes import MISTAKES, MistakeName
from bp_torch.training.config import STEPS_PER_LOOK, Config, CostName, DtypeName
from bp_torch.training.data import DATASETS, DatasetName
from bp_torch.training.device import DeviceName
from bp_torch.training.gradients import GradientChoice

Factor = Literal["sigma-prime", "x", "1/N"]

EXAMPLE = "bp-torch train --dataset digits --layers 30 --epochs 100"


def train(
    dataset: Annotated[
        Literal[DatasetName, "list"],
        one_of(Literal[DatasetName, "list"], "breast-cancer or digits; 'list' describes them."),
    ] = Config.dataset,
    layers: Annotated[
        str, typer.Option(help="Neurons in each hidden layer, as 30 or 30,20.", metavar="SIZES")
    ] = ",".join(map(str, Config.layers)),
    cost: Annotated[CostName, one_of(CostName, "quadratic or cross-entropy.")] = Config.cost,
    gradient: Annotated[
        GradientChoice,
        one_of(
            GradientChoice,
            "fused: one pass; manual: custom Function; autograd: torch's; chain: chain rule.",
            show_default="fused for one neuron, manual for a network",
        ),
    ] = Config.gradient,
    derivative: Annotated[
        Derivative,
        one_of(Derivative, "textbook: ŷ(1 − ŷ); accurate: right also where ŷ rounds to 1."),
    ] = Config.derivative,
    epochs: Annotated[
        int, typer.Option(parser=whole, help="Passes over the training part.")
    ] = Config.epochs,
    batch_size: Annotated[
        int, typer.Option(parser=whole, help="Samples per step; 0: all of them.")
    ] = Config.batch_size,
    learning_rate: Annotated[
        float, typer.Option(parser=number, help="ν in w ← w − ν ∂C/∂w.")
    ] = Config.learning_rate,
    init_weight: Annotated[
        float | None,
        typer.Option(
            parser=number,
            help="Where every weight of a neuron starts; with bias 2 and 2 starts saturated.",
            show_default="random",
        ),
    ] = Config.init_weight,
    init_bias: Annotated[
        float | None,
        typer.Option(parser=number, help="Where every bias starts.", show_default="0"),
    ] = Config.init_bias,
    without: Annotated[
        Factor | None,
        one_of(
            Factor,
            "Leave a factor out of the gradient: sigma-prime, x or 1/N.",
            show_default=False,
        ),
    ] = None,
    mistake: Annotated[
        MistakeName | None,
        one_of(
            MistakeName, f"Make a mistake on purpose: {', '.join(MISTAKES)}.", show_default=False
        ),
    ] = Config.mistake,
    device: Annotated[DeviceName, one_of(DeviceName, "auto, cpu or cuda.")] = Config.device,
    dtype: Annotated[
        DtypeName, one_of(DtypeName, "float32, float64, bfloat16 or float16.")
    ] = Config.dtype,
    seed: Annotated[
        int, typer.Option(parser=whole, help="Of weights and sample order.")
    ] = Config.seed,
    check_every: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            help="Steps between two comparisons with autograd; 0: never.",
            show_default="once per epoch",
        ),
    ] = Config.check_every,
    log_every: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            help="Steps between two records for TensorBoard; 0: never.",
            show_default=f"{STEPS_PER_LOOK}, at most once per epoch",
        ),
    ] = Config.log_every,
    name: Annotated[
        str | None,
        typer.Option(help="Of the run's folder.", show_default="data set and a free number"),
    ] = Config.name,
    runs: Annotated[
        str, typer.Option(help="The folder that holds the runs.", metavar="FOLDER")
    ] = os.fspath(Config.runs),
) -> None:
    """Train a sigmoid neuron, or a network of them, by gradient descent."""
    if dataset == "list":
        return list_datasets()
    config = Config(
        dataset=dataset,
        layers=_sizes(layers),
        cost=cost,
        gradient=gradient,
        derivative=derivative,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        init_weight=init_weight,
        init_bias=init_bias,
        mistake=_mistake(without, mistake),
        device=device,
        dtype=dtype,
        seed=seed,
        check_every=check_every,
        log_every=log_every,
        name=name,
        runs=runs,
    )
    from bp_torch.cli.terminal import ProgressBar, print_result
    from bp_torch.training.loop import run

    with ProgressBar() as bar:
        result = run(config, watch=bar.show)
    print_result(result)
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


def list_datasets() -> None:
    """Print what there is to learn from."""
    for name, source in DATASETS.items():
        print(f"{name:16}{source.description}")


def _mistake(without: str | None, mistake: MistakeName | None) -> MistakeName | None:
    """The mistake that both options name."""
    if without is None:
        return mistake
    if mistake is not None:
        raise ValueError("--without and --mistake both name a mistake; choose one of them")
    checks.require_one_of("--without", without, dict.fromkeys(get_args(Factor)))
    return cast(MistakeName, f"without-{without}")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(",")) if text else ()
    except ValueError:
        raise ValueError(
            f"layers must be whole numbers separated by commas, as 30 or 30,20; got {text!r}"
        ) from None
