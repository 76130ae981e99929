"""The commands under one name, and a user's mistakes in one line."""

import platform
import sys
from typing import Annotated

import torch
import typer

import bp_torch
from bp_torch.cli import cache, compare, explain, predict, train
from bp_torch.cli.output import any_terminal, one_line
from bp_torch.cli.status import BAD_INPUT, DIVERGED, LOST
from bp_torch.training.descent import DivergedError
from bp_torch.training.processes import LostProcessError

app = typer.Typer(
    help="Backpropagation with the derivative in plain sight.",
    epilog="Example: bp-torch train",
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("train", epilog=f"Example: {train.EXAMPLE}")(train.train)
app.command("predict", epilog=f"Example: {predict.EXAMPLE}")(predict.predict)
app.command("cache", epilog=f"Example: {cache.EXAMPLE}")(cache.cache)
app.command("explain", epilog=f"Example: {explain.EXAMPLE}")(explain.explain)
app.command("compare", epilog=f"Example: {compare.EXAMPLE}")(compare.compare)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(
            f"bp-torch {bp_torch.__version__} "
            f"(torch {torch.__version__}, Python {platform.python_version()})"
        )
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _app(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version, and torch's.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(BAD_INPUT)


def main() -> None:
    """Run the command line: a user's mistake is one line on standard error and status 2."""
    with any_terminal():
        sys.exit(_status())


def _status() -> int:
    try:
        status = app(prog_name="bp-torch", standalone_mode=False)
        print(end="", flush=True)  # here, where a full disk is one line like any other mistake
        return status or 0
    except typer.TyperException as error:
        lists = {"--dataset": train.list_datasets, "--why": explain.list_questions}
        if (option := getattr(error, "option_name", None)) in lists:  # without a value
            lists[option]()
            return 0
        message, status = error.format_message(), error.exit_code
    except LostProcessError as error:
        message, status = str(error), LOST
    except (ValueError, OSError) as error:
        message, status = str(error), BAD_INPUT
    except DivergedError as error:
        message, status = str(error), DIVERGED
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "NUMBA_DISABLE_JIT" in str(error):
            message, status = str(error), BAD_INPUT
        elif _is_out_of_memory(error):
            message, status = ": ".join(filter(None, ["out of memory", str(error)])), BAD_INPUT
        else:
            raise
    print(f"bp-torch: {one_line(message)}", file=sys.stderr)
    return status


def _is_out_of_memory(error: Exception) -> bool:
    """torch has a class for it on a GPU, and on a CPU only a sentence."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error)
