"""How an option's text becomes a value, where typer's own way would not say what came."""

import csv
from typing import Any, get_args

import typer


def one_of(names: Any, help: str, *, show_default: bool | str = True) -> Any:
    """An option that takes one of the names of a Literal, which the shell completes.

    The text is handed on as it is: what another name would be told stands in `Config`.
    """
    return typer.Option(
        parser=str,
        metavar="NAME",
        autocompletion=lambda: list(get_args(names)),
        help=help,
        show_default=show_default,
    )


def names(text: str) -> tuple[str, ...]:
    """Names with commas between them; one that holds a comma stands in quotes."""
    return tuple(next(csv.reader([text], skipinitialspace=True))) if text else ()


def whole(text: str) -> int:
    """A whole number; raises typer.BadParameter for another text."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"expected a whole number, got {text!r:.60}") from None


def number(text: str) -> float:
    """A number; raises typer.BadParameter for another text."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a number, got {text!r:.60}") from None
