"""What cannot be split is told in one line: what was expected, what came, what to do."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import bp_torch as bp

MODULE, X, Y = nn.Linear(3, 1), torch.randn(6, 3), torch.randn(6, 1)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"module": nn.Linear}, TypeError, "module must be an nn.Module, got the class Linear"),
        ({"module": F.relu}, TypeError, "module must be an nn.Module, got function"),
        ({"module": nn.DataParallel(MODULE)}, TypeError, "pass the module inside"),
        ({"module": nn.LazyLinear(1)}, ValueError, "weight holds no numbers yet; run the module"),
        ({"module": nn.Linear(3, 1, device="meta")}, ValueError, "weight holds no numbers yet"),
        ({"module": nn.Tanh()}, ValueError, "no parameter of the module requires a gradient"),
        (
            {"module": nn.Linear(3, 1, dtype=torch.complex64)},
            TypeError,
            "complex parameters are not supported, got weight",
        ),
        ({"x": np.zeros((6, 3))}, TypeError, "x must be a tensor, .* torch.as_tensor makes one"),
        ({"x": {"a": 1}}, TypeError, r"got int as x\['a'\]"),
        ({"x": ()}, ValueError, "x must hold at least one tensor"),
        (
            {"x": X[:5]},
            ValueError,
            r"one row per sample, got x, .* \(5, 3\), and y of shape \(6, 1",
        ),
        ({"x": X.to(torch.complex64)}, TypeError, "complex samples are not supported, got x"),
        ({"x": X.to_sparse()}, TypeError, "x must be a dense tensor that holds numbers"),
        ({"y": [0] * 6}, TypeError, "y must be a tensor, one row per sample, got list"),
        ({"y": torch.tensor(1.0)}, ValueError, "one row per sample, got y"),
        ({"x": X[:1], "y": Y[:1]}, ValueError, "at least 2 samples are needed to split a batch"),
        (
            {"cost": "hinge"},
            ValueError,
            "cost must be one of quadratic, cross-entropy; got 'hinge'",
        ),
        ({"cost": nn.MSELoss}, TypeError, "cost must be a function of"),
        (
            {"cost": lambda o, y: (o - y) ** 2},
            ValueError,
            r"with one number, the mean over the samples; got shape \(6, 1\)",
        ),
        ({"cost": lambda o, y: 1.0}, ValueError, "got float"),
        ({"cost": lambda o, y: (o.detach() - y).mean()}, ValueError, "depends on no parameter"),
        ({"accumulate": 3}, TypeError, "accumulate must be a function, got int"),
        ({"on_rank": "ddp"}, TypeError, "on_rank must be a function, got str"),
        ({"sampler": [0, 1]}, TypeError, "sampler must be a function, got list"),
        ({"sampler": lambda n, r, k: [n]}, ValueError, "indices from 0 to n − 1, got 6 of 6"),
        ({"ranks": (2, 0)}, ValueError, "ranks must be a whole number of at least 1"),
        ({"ranks": 9}, ValueError, "ranks must be at most 6, for 6 samples; got 9"),
        ({"timeout": 0}, ValueError, "timeout must be a positive number"),
        ({"seed": -1}, ValueError, "seed must be a whole number of at least 0"),
        ({"x": X[:5], "y": Y[:5], "uneven": False}, ValueError, "5 do not; pass 4"),
        (
            {"on_rank": print, "ranks": 4, "uneven": False},
            ValueError,
            "on_rank needs ranks that 6 samples can be split over evenly; got ranks=4",
        ),
    ],
)
def test_what_cannot_be_split_is_told_in_one_line(changed, error, message):
    given = {"module": MODULE, "x": X, "y": Y, "cost": F.mse_loss, **changed}
    first = [given.pop(name) for name in ("module", "x", "y", "cost")]
    with pytest.raises(error, match=message) as caught:
        bp.compare_splits(*first, **given)
    assert "\n" not in str(caught.value)


def test_what_the_module_raises_comes_with_a_note():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        bp.compare_splits(nn.Linear(4, 1), X, Y, F.mse_loss)
    assert "raised by the module or the cost on the whole batch" in caught.value.__notes__


def test_two_samples_are_enough():
    assert bp.compare_splits(MODULE, X[:2], Y[:2], F.mse_loss).ok
