"""The command line: arguments in, calls out, no mathematics."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

BAD_INPUT = 2
DIVERGED = WRONG = 1
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
            help="fused: one pass; manual: custom Function; autograd: torch's; chain: chain rule.",
            show_default="fused for one neuron, manual for a network",
        ),
    ] = "auto",
    derivative: Annotated[
        str,
        typer.Option(help="textbook: ŷ(1 − ŷ); accurate: right also where ŷ rounds to 1."),
    ] = "textbook",
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
            show_default="300, at most once per epoch",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Of the run's folder.", show_default="data set and a free number"),
    ] = None,
    runs: Annotated[Path, typer.Option(help="The folder that holds the runs.")] = Path("runs"),
) -> None:
    """Train a sigmoid neuron, or a network of them, by gradient descent."""
    from bp_torch.training.config import Config
    from bp_torch.training.loop import run
    from bp_torch.cli.terminal import ProgressBar, print_result

    if dataset == "list":
        return _list_datasets()
    config = Config(
        dataset=dataset,
        layers=_sizes(layers),
        cost=cost,
        gradient=gradient,
        derivative=derivative,  # type: ignore[arg-type]
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


@app.command(
    epilog="Example: bp-torch compare torch:sigmoid --reference torch:sigmoid --shape 64x3",
)
def compare(
    target: Annotated[
        str | None,
        typer.Argument(help="package.module:function; without one, the package's own."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The same mathematics for autograd.", metavar="TARGET", show_default="its values"
        ),
    ] = None,
    shape: Annotated[
        str, typer.Option(help="Of each input, as 64x3 or 64x3,3,scalar.", metavar="SIZES")
    ] = "64x3",
    inputs: Annotated[
        str | None,
        typer.Option(
            help="A function of a torch.Generator that makes the inputs.",
            metavar="TARGET",
            show_default="normal numbers of that shape",
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Any of float64, float32, bfloat16, float16.", metavar="DTYPES")
    ] = "float64,float32,bfloat16,float16",
    device: Annotated[str, typer.Option(help="cpu or cuda, or both.", metavar="DEVICES")] = "cpu",
    compile: Annotated[bool, typer.Option(help="Try torch.compile and torch.export.")] = True,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    json: Annotated[
        Path | None, typer.Option(help="Write the whole report there.", show_default=False)
    ] = None,
) -> None:
    """Prove a hand-written gradient, and name what is wrong with it.

    Status 0: right; 1: wrong; 2: it could not be tried.
    """
    from bp_torch.cli import targets
    from bp_torch.judge.prove import compare as prove
    from bp_torch.training.device import resolve_device

    if target is None:
        if not _own_derivatives(compile=compile):
            raise typer.Exit(WRONG)
        return
    arguments = {
        "inputs": targets.find(inputs)
        if inputs
        else targets.random_inputs(targets.shapes(shape), seed),
        "dtypes": targets.dtypes(dtype),
        "devices": [resolve_device(name) for name in device.split(",")],
    }
    fn, peer = targets.find(target), targets.find(reference) if reference else None
    try:
        report = prove(fn, peer, compile=compile, seed=seed, **arguments)  # type: ignore[arg-type]
    except Exception as error:
        where = "; ".join(getattr(error, "__notes__", []))
        first = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(
            f"{target} could not be tried: {type(error).__name__}: {first}"
            + (f" ({where})" if where else "")
        ) from error
    print(report)
    if json is not None:
        json.write_text(report.to_json(indent=1) + "\n")
    if not report.ok:
        raise typer.Exit(WRONG)


def _own_derivatives(*, compile: bool) -> bool:
    """Print the package's own derivatives before five witnesses; whether all are right."""
    from bp_torch.witnesses import WITNESSES, testimonies

    print("largest error against 50 digits, in rounding units of float64")
    print(f"{'':20}" + "".join(f"{name:>12}" for name in WITNESSES) + f"{'compare':>12}")
    ok = True
    for testimony in testimonies(compile=compile):
        errors = "".join(f"{testimony.errors[name]:12.3g}" for name in WITNESSES)
        verdict = "right" if testimony.report.ok else "wrong"
        print(f"{testimony.subject:20}{errors}{verdict:>12}")
        if not testimony.report.ok:
            ok = False
            print(f"  {testimony.report.diagnosis}")
    return ok


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
    from bp_torch.training.data import DATASETS

    for name, source in DATASETS.items():
        print(f"{name:16}{source.description}")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(",")) if text else ()
    except ValueError:
        raise ValueError(
            f"layers must be whole numbers separated by commas, as 30 or 30,20; got {text!r}"
        ) from None
