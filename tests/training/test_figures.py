"""Figures of what was learnt: they show the numbers that they are given."""

import pytest
import torch
from test_pictures import assert_legible

from bp_torch.training.figures import calibration_figure, weights_figure


@pytest.mark.parametrize("shape", [(3,), (30,), (100,), (2, 30)])
def test_the_largest_weights_stand_on_top_with_their_names(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    names = [f"feature_{place}" for place in range(shape[-1])]
    figure = weights_figure(names, weight)
    assert_legible(figure)
    axes = figure.axes[0]
    first = weight.reshape(-1, shape[-1])[0]
    order = first.abs().argsort(descending=True)[:20]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[::-1] == [names[place] for place in order]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths[::-1] == pytest.approx(first[order].tolist())


@pytest.mark.parametrize("name", ["a" * 200, "$x_1^2$", "größe\tσ′", "\\frac"])
def test_a_name_may_be_unusual(name):
    assert_legible(weights_figure([name, "b"], torch.tensor([1.0, 2.0])))


def test_calibration_is_the_share_in_each_bin():
    generator = torch.Generator().manual_seed(0)
    said = torch.rand(50_000, generator=generator)
    y = (torch.rand(50_000, generator=generator) < said**2).float()
    figure = calibration_figure(y, said)
    assert_legible(figure)
    x, share = figure.axes[0].lines[1].get_data()
    torch.testing.assert_close(
        torch.as_tensor(x), torch.arange(0.05, 1, 0.1).double(), atol=0.01, rtol=0
    )
    # The mean of p² over a bin; some 5,000 samples in each know it to 0.7%.
    torch.testing.assert_close(
        torch.as_tensor(share), torch.as_tensor(x) ** 2 + 0.01 / 12, atol=0.03, rtol=0
    )


@pytest.mark.parametrize("said", [[0.0, 1.0], [0.5, 0.5], [torch.nan, 0.5], [torch.nan, torch.nan]])
def test_calibration_of_few_samples(said):
    figure = calibration_figure(torch.tensor([0.0, 1.0]), torch.tensor(said))
    figure.draw_without_rendering()
