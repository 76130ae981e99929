"""bp-torch predict: what a trained model says of new rows."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLE = "bp-torch predict runs/wine-1/model.safetensors new.csv -o out.csv"

WRITTEN = (".csv", ".parquet", ".pq")


def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model.safetensors.")],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A CSV or Parquet file, a folder or a pattern of them."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to, as .csv or .parquet.",
            metavar="FILE",
            show_default="CSV on standard output",
        ),
    ] = None,
    columns: Annotated[
        str,
        typer.Option(
            help="All columns' names, where a CSV file has no line of them.",
            metavar="COLUMNS",
            show_default=False,
        ),
    ] = "",
) -> None:
    """Add to each row the probability of the class that is 1, and the class."""
    from bp_torch.cli.options import names
    from bp_torch.training.model_file import load
    from bp_torch.training.prediction import Predictions, source_of

    if output is not None and output.suffix.lower() not in WRITTEN:
        raise ValueError(f"--output must end in {', '.join(WRITTEN)}, got {output}")
    predictions = Predictions(load(model), source_of(data, names(columns)))
    with _writer(output) as write:
        for batch in predictions.batches():
            write(batch)
    for name, rows in predictions.missing.items():
        print(
            f"note: rows without {name!r}: {rows:,}; they get no prediction (a model that was "
            f"trained with --missing mean fills it in)",
            file=sys.stderr,
        )
    for name, rows in predictions.unknown.items():
        print(
            f"note: rows with a {name!r} that the model has not seen: {rows:,}; it counts as none",
            file=sys.stderr,
        )
    if output is not None:
        print(f"{predictions.rows:,} rows  {output}")


@contextmanager
def _writer(output: Path | None) -> Iterator[Any]:
    """Writes batches; a file appears when it is whole."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    if output is None:
        header = True

        def to_terminal(batch: Any) -> None:
            nonlocal header
            buffer = pa.BufferOutputStream()
            csv.write_csv(
                batch, buffer, csv.WriteOptions(include_header=header, quoting_style="needed")
            )
            header = False
            sys.stdout.write(buffer.getvalue().to_pybytes().decode())

        yield to_terminal
        return
    if not output.parent.is_dir():
        raise ValueError(f"--output must be in a folder that exists, got {output}")
    unfinished = output.with_name(f".{output.name}.unfinished")
    writer: Any = None

    def to_file(batch: Any) -> None:
        nonlocal writer
        if writer is None:
            is_csv = output.suffix.lower() == ".csv"
            writer = (
                csv.CSVWriter(
                    unfinished, batch.schema, write_options=csv.WriteOptions(quoting_style="needed")
                )
                if is_csv
                else parquet.ParquetWriter(unfinished, batch.schema)
            )
        if batch.num_rows:
            writer.write_batch(batch)

    try:
        yield to_file
        if writer is not None:
            writer.close()
            os.replace(unfinished, output)
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno or 0), str(output)) from None
        raise
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
