"""The language stands by itself, and each of its layers on those before it."""

import ast
from pathlib import Path

import pytest

from bp_torch.fused import simd

LAYERS = ("kinds", "emit", "places", "memory", "arithmetic", "elementary")
FOLDER = Path(simd.__file__).parent


def imported(name):
    """Modules of bp_torch, by their dotted names."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    froms = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    plain = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    return [module for module in (*froms, *plain) if module.startswith("bp_torch")]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_those_before_it_and_nothing_else_of_ours(layer):
    before = LAYERS[: LAYERS.index(layer)]
    assert set(imported(layer)) <= {f"bp_torch.fused.simd.{name}" for name in before}


def test_the_layers_are_all_there_is():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*LAYERS, "__init__"}
    assert all(hasattr(simd, name) for name in simd.__all__)
