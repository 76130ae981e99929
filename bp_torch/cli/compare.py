"""bp-torch compare: a hand-written gradient proven, the user's or the package's own."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from bp_torch import checks, judge
from bp_torch.cli import targets
from bp_torch.cli.options import whole
from bp_torch.cli.status import INCONCLUSIVE, WRONG
from bp_torch.witnesses import WITNESSES, testimonies

EXAMPLE = "bp-torch compare torch:sigmoid --reference torch:sigmoid"


def compare(
    context: typer.Context,
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
            help="A function of a torch.Generator, or of one and a size, that makes the inputs.",
            metavar="TARGET",
            show_default="normal numbers of that shape",
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Any of float64, float32, bfloat16, float16.", metavar="DTYPES")
    ] = "float64,float32,bfloat16,float16",
    device: Annotated[str, typer.Option(help="cpu or cuda, or both.", metavar="DEVICES")] = "cpu",
    domain: Annotated[
        str | None,
        typer.Option(
            help="Where each input lies, as 0:1 or 0:,-1:1 (an open interval; : is everywhere).",
            metavar="ENDS",
            show_default="everywhere",
        ),
    ] = None,
    order: Annotated[
        int,
        typer.Option(
            help="2: the second derivative is part of the verdict.", metavar="1|2", min=1, max=2
        ),
    ] = 1,
    compile: Annotated[bool, typer.Option(help="Try torch.compile and torch.export.")] = True,
    cost: Annotated[bool, typer.Option(help="Measure time and memory beside autograd's.")] = True,
    isolate: Annotated[
        bool, typer.Option(help="Survive code that kills its process or never ends.")
    ] = True,
    timeout: Annotated[
        float,
        typer.Option(help="Seconds for one trial, with --isolate.", metavar="SECONDS", min=0.1),
    ] = 300.0,
    seed: Annotated[int, typer.Option(parser=whole, help="Of everything random.")] = 0,
    json: Annotated[
        Path | None, typer.Option(help="Write the whole report there.", show_default=False)
    ] = None,
) -> None:
    """Prove a hand-written gradient, and name what is wrong with it.

    Status 0: right; 1: wrong; 2: it could not be tried; 3: it could not be told.
    """
    given = {name for name in context.params if _is_given(context, name)}
    if target is None:
        if meaningless := given - {"compile"}:
            raise ValueError(
                f"--{min(meaningless)} is for a target, and there is none; "
                f"name one, as bp-torch compare package.module:function"
            )
        _prove_own(compile=compile)
        return
    if given >= {"inputs", "shape"}:
        raise ValueError("--inputs and --shape both say what the inputs are; choose one of them")
    if json is not None:
        _require_place_for(json)
    dtypes, devices = targets.dtypes(dtype), targets.devices(device)
    checks.require_seed(seed)
    ends = None if domain is None else targets.intervals(domain)
    made: Any
    if inputs is None:
        made = targets.random_inputs(shape, seed, ends)
    else:
        made = targets.drawn_by(inputs, seed)
    fn = targets.find(target)
    peer = None if reference is None else targets.find(reference)
    with targets.foreign_code(f"{target} could not be tried"):
        report = judge.compare(
            fn,
            peer,
            inputs=made,
            domain=ends,
            dtypes=dtypes,
            devices=devices,
            compile=compile,
            order=2 if order == 2 else 1,
            cost=cost,
            seed=seed,
            isolate=isolate,
            timeout=timeout,
        )
    print(report)
    if json is not None:
        json.write_text(report.to_json(indent=1) + "\n", encoding="utf-8")
    if not report.ok:
        raise typer.Exit(WRONG if report.verdict == "wrong" else INCONCLUSIVE)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _require_place_for(path: Path) -> None:
    """Raise ValueError where no file can be written: before the comparison, which takes a while."""
    if path.is_dir():
        raise ValueError(f"--json must name a file, got the folder {path}")
    if not path.parent.is_dir():
        raise ValueError(f"--json must name a file in a folder that exists, got {path}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError(f"--json must name a file that can be written, got {path}")


def _prove_own(*, compile: bool) -> None:
    """Print the package's own derivatives before five witnesses; ends with WRONG if one is."""
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
    if not ok:
        raise typer.Exit(WRONG)
