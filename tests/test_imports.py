"""The house: imports go one way, the judge stands apart, and what is heavy loads when used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bp_torch"

# Each imports only from those before it; a name stands for a module or a whole package.
ORDER = [
    *("derivative", "dtypes", "symbols", "checks", "quirks", "precise", "forms"),
    *("costs", "neuron", "chain_rule", "mistakes"),
    *("judge.criteria", "judge.distance", "judge.progress", "judge.undisturbed"),
    *(
        "judge.widening",
        "judge.graph",
        "judge.passes",
        "judge.closures",
        "judge.own_forward",
        "judge.arguments",
        "judge.callables",
        "judge.domains",
        "judge.drawing",
        "judge.cases",
        "judge.trials",
        "judge.truth",
    ),
    *("judge.judgement", "judge.evidence", "judge.rows", "judge.behaviour", "judge.findings"),
    *("judge.hearing", "judge.mistakes", "judge.transforms", "judge.cost", "judge.report"),
    *("judge.proceedings", "judge.isolation", "judge.proof", "judge"),
    *("splits.batch", "splits.cuts", "splits.borrowing", "splits.gradients", "splits.rounding"),
    *("splits.split", "splits.ranks", "splits.independence", "splits.omissions"),
    *("splits.mistakes", "splits.failed", "splits.unnamed", "splits.diagnosis"),
    *("splits.report", "splits.stage", "splits.ways", "splits.record", "splits.judgement"),
    *("splits.ours", "splits.theirs", "splits.own_dtype", "splits.proceedings"),
    *("splits.comparison", "splits"),
    *(f"fused.simd.{layer}" for layer in ("kinds", "emit", "places", "memory", "arithmetic")),
    *("fused.simd.elementary", "fused.simd", "fused.cpu_formulas", "fused.cpu_blocks"),
    *(
        "fused.chunks",
        "fused.compiled",
        "fused.cpu_job",
        "fused.cpu_kernels",
        "fused.inputs",
        "fused.cpu",
    ),
    *("fused.cuda_kernels", "fused.cuda", "fused.backends", "fused.step", "fused.autograd"),
    *("fused.epoch", "fused", "fifty_digits", "witnesses"),
    *("explanation.document", "explanation.notation", "explanation.step", "explanation.story"),
    *("explanation.text", "explanation.markdown", "explanation.examples", "explanation.why"),
    *("pictures", "explanation.page", "explanation.explanation", "explanation"),
    *("table.source", "table.csv_files", "table.files", "table.memory", "table.opening"),
    *("table.columns", "table.choice", "table.target", "table.split", "table.storage"),
    *("table.rows", "table.moments", "table.measuring", "table.table", "table.writing"),
    *("table.decode", "table.features", "table.cache", "table"),
    *("training.torch_defaults", "training.device", "training.durable", "training.checkpoints"),
    *("training.data", "training.gradients", "training.order", "training.steps"),
    *("training.exact_sum", "training.processes", "training.sharing"),
    *("training.run_folder", "training.descent", "training.config", "training.looks"),
    "training.score",
    *("training.comparison", "training.model", "training.trained", "training.model_file"),
    *("training.early_stopping", "training.signals", "training.prediction", "training.export"),
    *("training.resumption", "training.reading"),
    *("training.tags", "training.measurements", "training.event_file", "training.figures"),
    "training.monitor",
    *(
        "training.run_card",
        "training.observer",
        "training.course",
        "training.keeper",
        "training.result",
        "training.conclusion",
        "training.loop",
        "training.api",
        "__init__",
    ),
    *("cli.status", "cli.output", "cli.options", "cli.targets", "cli.sweep", "cli.terminal"),
    *("cli.train", "cli.predict", "cli.cache", "cli.compare", "cli.explain", "cli.app", "cli"),
    "__main__",
]
HEAVY = {
    *("matplotlib", "numba", "pyarrow", "rich", "safetensors", "scipy", "sklearn"),
    *("tensorboard", "triton", "typer", "mpmath", "pandas", "polars", "onnx", "onnxruntime"),
}


def room(module):
    """The entry of ORDER that a dotted name inside the package belongs to."""
    for name in ORDER:
        if module == name or module.startswith(name + "."):
            return name
    raise AssertionError(f"{module} has no place in ORDER")


def imported_names(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bp_torch":
            inside = (node.module or "").removeprefix("bp_torch").removeprefix(".")
            if inside in (
                "",
                "training",
                "fused",
                "judge",
                "explanation",
                "cli",
            ):  # from bp_torch import formulas
                yield from (f"{inside}.{alias.name}".lstrip(".") for alias in node.names)
            else:
                yield inside
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("bp_torch.")
                for alias in node.names
                if alias.name.startswith("bp_torch.")
            )


def files():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if name != "training.__init__":
            yield pytest.param(path, name.removesuffix(".__init__"), id=name)


def violations(name, imported):
    place = ORDER.index(room(name))
    return [other for other in imported if ORDER.index(room(other)) > place]


@pytest.mark.parametrize(("path", "name"), list(files()))
def test_imports_go_one_way(path, name):
    assert violations(name, imported_names(path)) == []


def test_an_import_the_wrong_way_is_caught():
    assert violations("precise", ["forms"]) == ["forms"]


def test_the_judge_imports_nothing_of_what_it_judges():
    for path in (PACKAGE / "judge").rglob("*.py"):
        assert all(room(name).startswith("judge") for name in imported_names(path))


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import torch, sys; old = set(sys.modules); "
        "from bp_torch import Neuron, Result, backprop, fused_cost, load, save, sigmoid, train; "
        "print(*set(sys.modules) - old)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert "bp_torch" in loaded
    assert loaded & HEAVY == set()
    assert "bp_torch.judge" not in run.stdout.split()  # nor is the judge called before it is needed


HEART = ("derivative", "costs", "neuron", "chain_rule")


def test_the_heart_is_read_in_one_sitting():
    lines = [(PACKAGE / f"{name}.py").read_text().splitlines() for name in HEART]
    assert sum(map(len, lines)) <= 300
    assert next(n for n, line in enumerate(lines[0], 1) if "def backward" in line) <= 60
    private = [line for file in lines for line in file if "torch._" in line or "._C" in line]
    assert private == []


def test_the_first_page_needs_torch_alone():
    assert list(imported_names(PACKAGE / "derivative.py")) == []


def test_public_names_are_all_there():
    import bp_torch

    assert all(hasattr(bp_torch, name) for name in bp_torch.__all__)
    assert not hasattr(bp_torch, "prove")
