"""bp-torch cache: the tables that have been read once."""

from typing import Annotated

import typer

EXAMPLE = "bp-torch cache --clear"


def cache(
    folder: Annotated[
        str | None,
        typer.Option(
            "--cache", help="The folder.", metavar="FOLDER", show_default="the user's own"
        ),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of them.")] = False,
) -> None:
    """List the tables that are kept since they were read once, or remove them."""
    from bp_torch.table import cache as kept

    where = kept.default_folder() if folder is None else folder
    if clear:
        removed = kept.clear(folder)
        print(f"{removed} table{'s' * (removed != 1)} removed from {where}")
        return
    found = list(kept.entries(folder))
    for entry in found:
        shape = f"{entry.samples:,} × {entry.features}"
        print(f"{entry.directory.name:44} {shape:>20} {entry.size / 2**20:9,.1f} MiB")
    total = sum(entry.size for entry in found)
    print(f"{len(found)} table{'s' * (len(found) != 1)}, {total / 2**20:,.1f} MiB, in {where}")
