"""The house: imports go one way, the judge stands apart, and what is heavy loads when used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bp_torch"

# Each imports only from those before it; a name stands for a module or a whole package.
ORDER = [
    *("checks", "blocks", "formulas", "accurate", "functions", "modules", "backprop", "compare"),
    *(
        "fused.inputs",
        "fused.vectors",
        "fused.vector_memory",
        "fused.vector_math",
        "fused.lane_formulas",
    ),
    *("fused.cpu_blocks", "fused.cpu_kernels", "fused.step", "fused.operator"),
    *("fused.function", "fused.cpu", "fused.cuda_kernels", "fused.cuda", "fused", "witnesses"),
    *("train.data", "train.gradients", "train.config", "train.evaluate", "train.checkpoint"),
    *("train.descent", "train.monitor", "train.observer", "train.loop", "train.terminal"),
    *("__init__", "cli", "__main__"),
]
HEAVY = {
    *("matplotlib", "numba", "pyarrow", "rich", "safetensors", "scipy", "sklearn"),
    *("tensorboard", "triton", "typer", "mpmath"),
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
            if inside in ("", "train", "fused"):  # from bp_torch import formulas
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
        if name != "train.__init__":
            yield pytest.param(path, name.removesuffix(".__init__"), id=name)


def violations(name, imported):
    place = ORDER.index(room(name))
    return [other for other in imported if ORDER.index(room(other)) > place]


@pytest.mark.parametrize(("path", "name"), list(files()))
def test_imports_go_one_way(path, name):
    assert violations(name, imported_names(path)) == []


def test_an_import_the_wrong_way_is_caught():
    assert violations("formulas", ["functions"]) == ["functions"]


def test_the_judge_imports_nothing_of_what_it_judges():
    for path in (PACKAGE / "compare").glob("*.py"):
        assert {name for name in imported_names(path) if room(name) != "compare"} == set()


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import torch, sys; old = set(sys.modules); import bp_torch; print(*set(sys.modules) - old)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert "bp_torch" in loaded
    assert loaded & HEAVY == set()


def test_public_names_are_all_there():
    import bp_torch

    assert all(hasattr(bp_torch, name) for name in bp_torch.__all__)
