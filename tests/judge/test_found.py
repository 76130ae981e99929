"""What is wrong in torch itself (.github/FOUND.md): a test here that fails says that torch has
mended it, and the page can be shortened."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

import bp_torch as bp
from bp_torch.judge.rows import Outcome

generator = torch.Generator().manual_seed(0)
X = torch.randn(4, 3, generator=generator, dtype=torch.float64)
W = torch.randn(3, generator=generator, dtype=torch.float64)
OTHERS = torch.randn(5, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("reference", [True, False], ids=["reference", "alone"])
@pytest.mark.parametrize(
    ("fn", "inputs", "transform"),
    [
        (lambda x, w: F.layer_norm(x, (3,), w), (X, W), "hessian"),
        (torch.cdist, (X, OTHERS), "jacrev"),
    ],
    ids=["layer_norm", "cdist"],
)
def test_a_transform_of_torch_is_wrong_and_nobody_else_is_convicted(
    fn, inputs, transform, reference
):
    report = bp.compare(fn, fn if reference else None, inputs=inputs, compile=False)
    (row,) = [row for row in report.transforms if row.name == transform]
    assert row.outcome is Outcome.TORCH, "torch has mended it"
    assert report.verdict == "right"
    assert any(f"under {transform} torch itself is wrong" in text for text in report.warnings)


@pytest.mark.parametrize(
    ("fn", "inputs", "domain"),
    [
        (F.hardsigmoid, X, None),
        (torch.digamma, X.exp(), (0, None)),
        (torch.special.i0e, torch.linspace(7.6, 7.9, 40), None),
        (torch.special.i1e, torch.linspace(7.6, 7.9, 40), None),
        (torch.asinh, torch.linspace(100, 400, 16, dtype=torch.float16), None),
        (torch.acosh, torch.linspace(100, 400, 16, dtype=torch.float16), None),
    ],
    ids=["hardsigmoid", "digamma", "i0e", "i1e", "asinh", "acosh"],
)
def test_a_derivative_of_torch_is_wrong(fn, inputs, domain):
    report = bp.compare(fn, inputs=inputs, domain=domain, transforms=False)
    assert report.verdict == "wrong", "torch has mended it"
