"""The command line: arguments in, calls out, no mathematics."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

BAD_INPUT = 2
DIVERGED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells report it

app = typer.Typer(
    help="Backpropagation with the derivative in plain sight.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _app(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(BAD_INPUT)


@app.command(
    epilog="Example: bp-torch train --dataset digits --layers 30 --epochs 100",
)
def train(
    dataset: Annotated[
        str,
        typer.Option(help="breast-cancer or digits; 'list' describes them.", metavar="NAME"),
    ] = "breast-cancer",
    layers: Annotated[
        str, typer.Option(help="Neurons in each hidden layer, as 30 or 30,20.", metavar="SIZES")
    ] = "",
    cost: Annotated[str, typer.Option(help="quadratic or cross-entropy.")] = "quadratic",
    gradient: Annotated[
        str,
        typer.Option(
            help="manual: custom Function; autograd: torch's own; chain: chain rule by hand."
        ),
    ] = "manual",
    epochs: Annotated[int, typer.Option(help="Passes over the training part.")] = 300,
    batch_size: Annotated[int, typer.Option(help="Samples per step; 0: all of them.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="ν in w ← w − ν ∂C/∂w.")] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    seed: Annotated[int, typer.Option(help="Of weights and sample order.")] = 0,
    check_every: Annotated[
        int | None,
        typer.Option(
            help="Steps between two comparisons with autograd; 0: never.",
            show_default="once per epoch",
        ),
    ] = None,
    log_every: Annotated[
        int | None,
        typer.Option(
            help="Steps between two records for TensorBoard; 0: never.",
            show_default="200, at most once per epoch",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Of the run's folder.", show_default="data set and a free number"),
    ] = None,
    runs: Annotated[Path, typer.Option(help="The folder that holds the runs.")] = Path("runs"),
) -> None:
    """Train a sigmoid neuron, or a network of them, by gradient descent."""
    from bp_torch.train.config import Config
    from bp_torch.train.loop import train as run
    from bp_torch.train.terminal import ProgressBar, print_result

    if dataset == "list":
        return _list_datasets()
    config = Config(
        dataset=dataset,
        layers=_sizes(layers),
        cost=cost,
        gradient=gradient,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        device=device,
        dtype=dtype,
        seed=seed,
        check_every=check_every,
        log_every=log_every,
        name=name,
        runs=runs,
    )
    with ProgressBar() as bar:
        result = run(config, watch=bar.show)
    print_result(result)
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)


def main() -> None:
    """Run the command line: a user's mistake is one line on standard error and status 2."""
    try:
        status = app(prog_name="bp-torch", standalone_mode=False)
    except typer.TyperException as error:
        if getattr(error, "option_name", None) == "--dataset":  # --dataset without a value
            _list_datasets()
            return
        _fail(error.format_message(), error.exit_code)
    except (ValueError, OSError) as error:
        _fail(str(error), BAD_INPUT)
    except ArithmeticError as error:
        _fail(str(error), DIVERGED)
    sys.exit(status)


def _fail(message: str, status: int) -> NoReturn:
    print(f"bp-torch: {message}", file=sys.stderr)
    sys.exit(status)


def _list_datasets() -> None:
    from bp_torch.train.data import DATASETS

    for name, (description, _) in DATASETS.items():
        print(f"{name:16}{description}")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(",")) if text else ()
    except ValueError:
        raise ValueError(
            f"layers must be whole numbers separated by commas, as 30 or 30,20; got {text!r}"
        ) from None
