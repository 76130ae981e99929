"""bp-torch train: a neuron, or a network of them, on a table."""

import os
import sys
from typing import Annotated, Any, Literal, cast, get_args

import typer

from bp_torch import checks
from bp_torch.cli.options import names, number, one_of, whole
from bp_torch.cli.output import one_line
from bp_torch.cli.status import BAD_INPUT, SIGNALLED
from bp_torch.cli.sweep import points
from bp_torch.forms import Derivative
from bp_torch.mistakes import MISTAKES, MistakeName
from bp_torch.table.choice import Missing
from bp_torch.training.config import STEPS_PER_LOOK, Config, CostName, DtypeName
from bp_torch.training.data import DATASETS, DatasetName
from bp_torch.training.device import DeviceName, resolve_device
from bp_torch.training.gradients import GradientChoice
from bp_torch.training.resumption import begun_with
from bp_torch.training.signals import Interrupted, Signals
from bp_torch.training.steps import Schedule

Factor = Literal["sigma-prime", "x", "1/N"]

EXAMPLE = "bp-torch train wine.csv --target quality --missing drop"


def train(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A CSV or Parquet file, a folder or pattern of them, or a bundled set's name.",
            show_default=Config.dataset,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="The column to learn.", metavar="COLUMN", show_default=False),
    ] = None,
    features: Annotated[
        str, typer.Option(help="Columns to learn from.", metavar="COLUMNS", show_default="all")
    ] = "",
    drop: Annotated[
        str, typer.Option(help="Columns to leave out.", metavar="COLUMNS", show_default=False)
    ] = "",
    one_hot: Annotated[
        str,
        typer.Option(
            help="Columns of numbers that name categories; texts do anyway.",
            metavar="COLUMNS",
            show_default=False,
        ),
    ] = "",
    columns: Annotated[
        str,
        typer.Option(
            help="All columns' names, where a CSV file has no line of them.",
            metavar="COLUMNS",
            show_default=False,
        ),
    ] = "",
    missing: Annotated[
        Missing | None,
        one_of(
            Missing, "Rows with missing values: drop them, or fill in the mean.", show_default=False
        ),
    ] = None,
    positive: Annotated[
        str | None,
        typer.Option(
            help="Which of the target's two values is 1.",
            metavar="VALUE",
            show_default="the later, by size or by letters",
        ),
    ] = None,
    above: Annotated[
        float | None,
        typer.Option(
            parser=number,
            help="Learn whether the target is larger than this.",
            metavar="NUMBER",
            show_default=False,
        ),
    ] = None,
    sample_weight: Annotated[
        str | None,
        typer.Option(
            help="The column that says how much a row counts.", metavar="COLUMN", show_default=False
        ),
    ] = None,
    class_weight: Annotated[
        Literal["balanced"] | None,
        one_of(Literal["balanced"], "balanced: both classes count alike.", show_default=False),
    ] = None,
    test_size: Annotated[
        float, typer.Option(parser=number, help="The share of every class that is held out.")
    ] = Config.test_size,
    test: Annotated[
        str | None,
        typer.Option(help="Other data to hold out.", metavar="DATA", show_default=False),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            help="The folder for large tables once they are read; off: none.",
            metavar="FOLDER",
            show_default="the user's own",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        one_of(
            Literal[DatasetName, "list"],
            "A bundled set: breast-cancer or digits; 'list' describes them.",
            show_default=False,
        ),
    ] = None,
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
    momentum: Annotated[
        float, typer.Option(parser=number, help="μ in v ← μv + ∂C/∂w, w ← w − νv.")
    ] = Config.momentum,
    l2: Annotated[float, typer.Option(parser=number, help="λ in C + λ/2 Σw².")] = Config.l2,
    l1: Annotated[
        float, typer.Option(parser=number, help="λ in C + λ Σ|w|, which makes weights 0.")
    ] = Config.l1,
    schedule: Annotated[
        Schedule, one_of(Schedule, "Of ν over the epochs: constant, linear or cosine.")
    ] = Config.schedule,
    early_stopping: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            help="Epochs without a lower cost over what is held out, then stop.",
            show_default="never",
        ),
    ] = Config.early_stopping,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="A run for each value, as learning-rate=0.1,1 or seed=0:5; more than once: all "
            "together.",
            metavar="OPTION=VALUES",
            show_default=False,
        ),
    ] = None,
    sync_every: Annotated[
        int | None,
        typer.Option(
            parser=whole,
            help="With several processes: steps of each by itself, between two means of weights.",
            show_default="every step is that of the whole batch",
        ),
    ] = Config.sync_every,
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
    checkpoint_every: Annotated[
        str,
        typer.Option(
            help="Steps, or a time as 30s or 5m, between two states to go on from; 0: never.",
            metavar="STEPS|TIME",
        ),
    ] = str(Config.checkpoint_every),
    resume: Annotated[
        str | None,
        typer.Option(
            help="Go on with the run of that name, as if it had not stopped.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write model.onnx as well.", show_default=False)
    ] = False,
    pt2: Annotated[
        bool,
        typer.Option(
            "--pt2", help="Write model.pt2 as well, with torch.export.", show_default=False
        ),
    ] = False,
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
    if data is not None and dataset is not None:
        raise ValueError(f"DATA is {data!r}, and --dataset {dataset!r}; choose one of them")
    options: dict[str, Any] = {
        "dataset": data or dataset or Config.dataset,
        "target": target,
        "features": names(features),
        "drop": names(drop),
        "one_hot": names(one_hot),
        "columns": names(columns),
        "missing": missing,
        "positive": positive,
        "above": above,
        "sample_weight": sample_weight,
        "class_weight": class_weight,
        "test_size": test_size,
        "test": test,
        "cache": cache,
        "layers": _sizes(layers),
        "cost": cost,
        "gradient": gradient,
        "derivative": derivative,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "momentum": momentum,
        "l2": l2,
        "l1": l1,
        "schedule": schedule,
        "early_stopping": early_stopping,
        "sync_every": sync_every,
        "init_weight": init_weight,
        "init_bias": init_bias,
        "mistake": _mistake(without, mistake),
        "device": device,
        "dtype": dtype,
        "seed": seed,
        "check_every": check_every,
        "log_every": log_every,
        "checkpoint_every": checkpoint_every,
        "onnx": onnx,
        "pt2": pt2,
        "name": name,
        "runs": runs,
    }
    if resume is not None and sweep:
        raise ValueError("--resume goes on with one run, and --sweep begins many; leave one")
    try:
        with Signals() as signals:  # to the end: a second one must not cut off what is printed
            if resume is None:
                config = Config(**options)
            else:
                config = begun_with(runs, resume, _given(context, options))
            status = _run(config, sweep or [], resume is not None, signals)
    except Interrupted as error:
        print(f"bp-torch: {error}", file=sys.stderr)
        status = SIGNALLED + error.number
    if status:
        raise typer.Exit(status)


def _run(config: Config, sweep: list[str], goes_on: bool, signals: Signals) -> int:
    """Train, and print what came of it; returns the status."""
    from bp_torch.cli.terminal import ProgressBar, print_result, print_sweep
    from bp_torch.training.loop import run
    from bp_torch.training.processes import FirstFailedError, launched
    from bp_torch.training.reading import read

    configs = points(config, sweep)
    try:
        with launched(resolve_device(config.device)) as rank:
            if len(configs) > 1 and int(os.environ.get("WORLD_SIZE", 1)) > 1:
                raise ValueError(
                    "--sweep begins many runs, each in one process; leave torchrun out"
                )
            if len(configs) > 1:
                return print_sweep(configs, read(config), signals)
            with ProgressBar() as bar:
                result = run(config, goes_on=goes_on, watch=bar.show, signals=signals)
            if rank == 0:
                print_result(result)
                if result.trouble:
                    print(f"bp-torch: {one_line('; '.join(result.trouble))}", file=sys.stderr)
    except FirstFailedError:
        return BAD_INPUT  # which the first process has said
    if result.signal is not None:
        return SIGNALLED + result.signal
    return BAD_INPUT if result.path is None or result.trouble else 0


def list_datasets() -> None:
    """Print what there is to learn from."""
    for name, source in DATASETS.items():
        print(f"{name:16}{source.description}")


def _given(context: typer.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options that stand on the command line, but for what finds the run."""
    fields = {"data": "dataset", "without": "mistake"}
    found = {
        fields.get(name, name)
        for name in context.params
        if str(context.get_parameter_source(name)).endswith("COMMANDLINE")
    }
    return {name: value for name, value in options.items() if name in found - {"runs"}}


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
