"""What the figures draw, by what stands in them; that nothing is cut off or meets."""

import itertools

import pytest
import torch

import bp_torch as bp
from bp_torch import pictures
from bp_torch.explanation import example


def texts(figure):
    return [text for axes in figure.axes for text in axes.texts if text.get_text().strip()]


def words(figure):
    return " ".join(text.get_text() for text in texts(figure))


def boxes(figure):
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    every = [
        *texts(figure),
        *(a.title for a in figure.axes),
        *(label for a in figure.axes for label in (a.xaxis.label, a.yaxis.label)),
    ]
    shown = [text for text in every if text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in shown]


def assert_legible(figure):
    """No text is cut off at the edge, and no two meet."""
    found = boxes(figure)
    width, height = figure.canvas.get_width_height()
    for text, box in found:
        assert 0 <= box.x0 <= box.x1 <= width, text
        assert 0 <= box.y0 <= box.y1 <= height, text
    for (one, a), (other, b) in itertools.combinations(found, 2):
        apart = a.x1 < b.x0 + 1 or b.x1 < a.x0 + 1 or a.y1 < b.y0 + 2 or b.y1 < a.y0 + 2
        assert apart, (one, other)


CIRCUITS = {
    "mazur": lambda: example("mazur").step,
    "cs231n": lambda: example("cs231n").step,
    "nielsen": lambda: example("nielsen").step,
    "4 samples": lambda: example("seed").step,
}


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_circuit_shows_the_step(name):
    step = CIRCUITS[name]()
    figure = pictures.circuit_figure(step.module, step.chain)
    assert_legible(figure)
    shown = words(figure)
    for values in (step.chain.y_hat[0], step.chain.dC_dy_hat[0], step.chain.cost):
        for value in values.reshape(-1).tolist():
            assert pictures.number(value, 4) in shown
    assert ("of the first sample" in shown) == (step.samples > 1)


@pytest.mark.parametrize("sizes", [[3, 2, 2, 1], [1, 1], [2, 3], [6, 1]], ids=str)
def test_circuits_of_other_shapes_are_legible(sizes):
    module = bp.Network(sizes)
    chain = bp.backprop(module, torch.randn(1, sizes[0]), torch.rand(1, sizes[-1]))
    assert_legible(pictures.circuit_figure(module, chain))


def test_the_circuit_shows_another_gradient_where_the_chain_is_another():
    step = example("cs231n").step
    right = words(pictures.circuit_figure(step.module, step.chain))
    other = bp.backprop(step.module, step.x, 1 - step.y)
    assert words(pictures.circuit_figure(step.module, other)) != right


@pytest.mark.parametrize("sizes", [[3, 3], [7, 1], [1, 1, 1, 1, 1]], ids=str)
def test_a_network_too_large_for_a_circuit_is_one_clear_line(sizes):
    module = bp.Network(sizes)
    chain = bp.backprop(module, torch.zeros(1, sizes[0]), torch.zeros(1, sizes[-1]))
    with pytest.raises(ValueError, match=r"got \d-.*; explain a smaller network"):
        pictures.circuit_figure(module, chain)


@pytest.mark.parametrize(
    ("z", "share"),
    [
        (torch.zeros(1), "0% of the samples"),
        (torch.randn(1000), "0% of the samples"),
        (torch.full((40,), 9.0), "100% of the samples"),
        (torch.tensor([0.0, 30.0]), "50% of the samples"),
        (torch.tensor([0.0, torch.inf, torch.nan]), "0% of the samples"),
        (torch.tensor([0.5], dtype=torch.bfloat16), "0% of the samples"),
        (torch.empty(0), "0% of the samples"),
    ],
)
def test_what_sigma_prime_does(z, share):
    figure = pictures.sigma_prime_figure(z)
    assert_legible(figure)
    assert share in words(figure)
    assert "¼, the most there is" in words(figure)


def test_samples_lie_on_the_curve_and_tangents_touch_it():
    z = torch.tensor([-2.0, 0.0, 1.0]).double()
    upper, lower = pictures.sigma_prime_figure(z).axes
    points = torch.tensor(upper.collections[-1].get_offsets().tolist()).double()
    assert torch.allclose(points[:, 1], torch.sigmoid(points[:, 0]))
    for line in upper.lines[1:]:
        (x0, x1), (y0, y1) = line.get_xdata(), line.get_ydata()
        at = torch.tensor((x0 + x1) / 2, requires_grad=True, dtype=torch.float64)
        (slope,) = torch.autograd.grad(torch.sigmoid(at), at)
        assert (y1 - y0) / (x1 - x0) == pytest.approx(slope.item())
        assert (y0 + y1) / 2 == pytest.approx(torch.sigmoid(at).item())
    points = torch.tensor(lower.collections[-1].get_offsets().tolist()).double()
    assert points[1, 1] == 0.25


def test_the_costs_surface_is_lowest_where_the_cost_is():
    neuron = bp.Neuron(2, dtype=torch.float64)
    with torch.no_grad():
        neuron.bias.zero_()
    x = torch.randn(200, 2, dtype=torch.float64)
    y = torch.sigmoid(x @ torch.tensor([1.0, -0.5]).double())  # the least is there, and is 0
    path = [(0.0, 0.0), (0.5, -0.2), (1.0, -0.5)]
    figure = pictures.cost_surface_figure(neuron, x, y, cost="quadratic", path=path)
    assert_legible(figure)
    across, up = (pictures._range(torch.tensor(path).double()[:, side]) for side in (0, 1))
    surface = pictures._surface(neuron, x, y, "quadratic", (0, 1), across, up)
    row, column = divmod(int(surface.argmin()), len(across))
    assert across[column].item() == pytest.approx(1.0, abs=0.1)
    assert up[row].item() == pytest.approx(-0.5, abs=0.1)
    (line,) = figure.axes[0].lines
    assert list(zip(*line.get_data(), strict=True)) == path


def test_weight_and_bias_span_a_surface_where_there_is_one_weight():
    neuron = bp.Neuron(1)
    figure = pictures.cost_surface_figure(
        neuron, torch.randn(9, 1), torch.zeros(9), cost="cross-entropy", path=[(2.0, 2.0)]
    )
    assert_legible(figure)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("w₁", "b")


@pytest.mark.parametrize(
    ("steps", "deltas"),
    [
        ([0, 1, 2, 4, 300], [[10.0**-i, 3.0**-i] for i in range(5)]),
        ([0], [[0.0]]),
        ([0, 1], [[0.1, float("nan")], [0.0, 0.2]]),
        (list(range(500)), [[0.1]] * 500),
    ],
    ids=["two layers", "nothing", "nan", "500 looks"],
)
def test_delta_by_layer(steps, deltas):
    figure = pictures.delta_figure(steps, deltas)
    assert_legible(figure)
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [f"layer {k + 1}" for k in range(len(deltas[0]))]
    assert axes.images[0].get_array().shape == (len(deltas[0]), len(steps))


def test_a_figure_is_saved_by_its_ending_and_is_the_same_each_time(tmp_path):
    def figure():
        return pictures.sigma_prime_figure(torch.arange(5.0))

    for ending in ("svg", "png"):
        one, other = tmp_path / f"one.{ending}", tmp_path / f"other.{ending}"
        pictures.save(figure(), one)
        pictures.save(figure(), other)
        assert one.read_bytes() == other.read_bytes()
    with pytest.raises(ValueError, match=r"must end with \.svg or \.png, got '.*one\.gif'"):
        pictures.save(figure(), tmp_path / "one.gif")
    assert pictures.png(figure())[:8] == b"\x89PNG\r\n\x1a\n"


def test_matplotlibs_own_settings_are_left_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    step = example("mazur").step
    pictures.png(pictures.circuit_figure(step.module, step.chain))
    assert dict(matplotlib.rcParams) == before
