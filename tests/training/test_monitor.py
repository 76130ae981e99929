import io
import itertools
from contextlib import closing
from pathlib import Path

import pytest
import torch
from event_files import read
from PIL import Image
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

import bp_torch as bp
from bp_torch.dtypes import DTYPES
from bp_torch.mistakes import MISTAKES
from bp_torch.training import loop, measurements, monitor, reading
from bp_torch.training.comparison import Comparison
from bp_torch.training.config import Config
from bp_torch.training.descent import DivergedError
from bp_torch.training.gradients import GRADIENTS
from bp_torch.training.order import Order
from bp_torch.training.tags import TAGS, general

ROOT = Path(__file__).parents[2]

SCALARS = {
    *("cost/train", "cost/test", "accuracy/train", "accuracy/test"),
    *("chain/1_dC_dy_hat", "chain/2_dy_hat_dz", "chain/3_dz_dw", "chain/4_delta"),
    *("shares/1_dC_dy_hat", "shares/2_dy_hat_dz", "shares/4_delta"),
    *("gradient/norm", "update/relative_size", "saturation/wrong", "saturation/right"),
    *("compare/by_hand", "compare/autograd"),
}
IN_A_NETWORK = {"shares/3_dz_dw", "saturation/hidden"}
PICTURES = {"pictures/sigma_prime", "pictures/cost_surface", "pictures/delta"}
OF_A_NEURON = {"pictures/weights", "pictures/calibration"}
TEXTS = {"run/1_first_step", "run/2_tags", "run/3_command"}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return loop.run(Config(runs=tmp_path_factory.mktemp("runs"), epochs=40))


@pytest.fixture(scope="module")
def events(result):
    return read(result.directory)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return read(loop.run(Config(runs=runs, dataset="digits", layers=(5,), epochs=1)).directory)


def multiplexed(runs):
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(runs)).Reload()
    return multiplexer


def hparams(runs, run, record):
    content = multiplexed(runs).SummaryMetadata(run, f"_hparams_/{record}").plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def test_the_tags_are_these_and_no_others(events):
    assert events.scalars == SCALARS
    assert events.histograms == {"weights/layer_1", "sigmoid_prime/layer_1"}
    assert events.images == PICTURES | OF_A_NEURON
    assert events.texts == TEXTS
    assert events.curves == {"classes/precision_recall"}


def test_a_network_has_those_of_its_layers_and_no_curve_for_ten_classes(network):
    assert network.scalars == SCALARS | IN_A_NETWORK
    assert network.histograms == {
        f"{kind}/layer_{number}" for kind in ("weights", "sigmoid_prime") for number in (1, 2)
    }
    assert network.curves == set()


def test_every_tag_says_what_it_means_in_tensorboard_and_in_the_readme(events, network):
    readme = (ROOT / "runs/README.md").read_text()
    for found in (events, network):
        for tag in found.tags:
            assert found.description(tag) == TAGS[general(tag)]
    assert {general(tag) for tag in events.tags | network.tags} == TAGS.keys()  # and none besides
    for tag, meaning in TAGS.items():
        assert f"| `{tag}` | {meaning} |" in readme, tag


def test_the_last_values_are_the_results(result, events):
    for part, score in (("train", result.train), ("test", result.test)):
        assert events.last(f"cost/{part}") == (result.steps, pytest.approx(score.cost))
        assert events.last(f"accuracy/{part}") == (result.steps, pytest.approx(score.accuracy))


def test_the_hyperparameters_are_in_the_run_itself(result):
    runs = result.config.runs
    assert list(multiplexed(runs).Runs()) == ["breast-cancer-1"]
    start = hparams(runs, "breast-cancer-1", "session_start_info").session_start_info
    assert start.hparams["learning_rate"].number_value == 1.0
    assert start.hparams["cost"].string_value == "quadratic"
    assert start.hparams["mistake"].string_value == "none"
    experiment = hparams(runs, "breast-cancer-1", "experiment").experiment
    assert {info.name.tag for info in experiment.metric_infos} == {
        *("cost/train", "cost/test", "accuracy/train", "accuracy/test")
    }
    # TensorBoard ticks five, those first that are said to differ.
    assert {info.name for info in experiment.hparam_infos if info.differs} == {
        *("learning_rate", "seed", "layers", "mistake", "cost")
    }


def test_a_run_that_ended_is_marked_a_success_and_one_that_diverged_a_failure(
    result, tmp_path, monkeypatch
):
    def diverging(*arguments):
        cost, gradients = by_hand(*arguments)
        return cost * (torch.nan if next(steps) == 7 else 1), gradients

    by_hand, steps = GRADIENTS["fused"], itertools.count()
    monkeypatch.setitem(GRADIENTS, "fused", diverging)
    end = hparams(result.config.runs, "breast-cancer-1", "session_end_info").session_end_info
    assert end.status == api_pb2.STATUS_SUCCESS
    with pytest.raises(DivergedError):
        loop.run(Config(runs=tmp_path, name="diverged"))
    end = hparams(tmp_path, "diverged", "session_end_info").session_end_info
    assert end.status == api_pb2.STATUS_FAILURE


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"epochs": 40}, [0, 1, 4, 16, 64, 256, 300, 600]),
        ({"epochs": 2, "batch_size": 1}, [0, 1, 4, 16, 64, 256, 456, 912]),
        ({"epochs": 1, "log_every": 6}, [0, 6, 12, 15]),
    ],
    ids=["every 300", "once per epoch", "as told"],
)
def test_a_run_is_looked_at_more_often_at_its_beginning(tmp_path, options, steps):
    events = read(loop.run(Config(runs=tmp_path, **options)).directory)
    assert events.steps("cost/train") == steps


def test_histograms_are_drawn_at_every_fifth_look_and_at_the_end(tmp_path):
    events = read(loop.run(Config(runs=tmp_path, epochs=7, batch_size=0, log_every=1)).directory)
    assert events.steps("cost/train") == [*range(8)]
    assert [histogram.step for histogram in events.histogram("weights/layer_1")] == [0, 5, 7]


def test_a_look_can_be_seen_while_the_run_goes_on(tmp_path):
    def look(progress):
        (directory,) = tmp_path.iterdir()
        seen.append(len(read(directory).scalar("cost/train")))

    seen = []
    loop.run(Config(runs=tmp_path, epochs=3, batch_size=0, log_every=1), watch=look)
    assert seen == [1, 1, 2, 2, 3, 3]  # each look, and at the end of its epoch


def test_the_factors_of_the_chain_rule_share_one_chart(result):
    (tensor,) = multiplexed(result.config.runs).Tensors(
        "breast-cancer-1", "custom_scalars__config__"
    )
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    (category,) = layout.category
    charts = {chart.title.split(",")[0]: list(chart.multiline.tag) for chart in category.chart}
    assert charts["each factor and their product δ"] == [
        *("shares/1_dC_dy_hat", "shares/2_dy_hat_dz", "shares/3_dz_dw", "shares/4_delta")
    ]
    assert {tag for tags in charts.values() for tag in tags} <= SCALARS | IN_A_NETWORK


def test_no_curve_of_that_chart_is_constant(events, network):
    for found, tags in ((events, SCALARS), (network, SCALARS | IN_A_NETWORK)):
        for tag in (tag for tag in tags if tag.startswith("shares/")):
            values = [value for _, value in found.scalar(tag)]
            assert values[0] == 0
            assert len(set(values)) > len(values) / 2, tag


def test_the_values_are_what_their_names_say(tmp_path):
    """The first record of a run, worked out again with autograd."""
    result = loop.run(Config(runs=tmp_path, epochs=1, batch_size=0, dtype="float64"))
    events = read(result.directory)
    first = {tag: events.scalar(tag)[0] for tag in SCALARS}
    assert {step for step, _ in first.values()} == {0}

    table = reading.read(Config(dtype="float64"))
    x, y = torch.from_numpy(table.train.x), torch.from_numpy(table.train.y)
    neuron = bp.Neuron(30, generator=torch.Generator().manual_seed(0)).double()
    z = neuron.pre_activation(x)
    y_hat = torch.sigmoid(z)
    cost = bp.quadratic_cost(y_hat, y)
    (dC_dy_hat,) = torch.autograd.grad(cost, y_hat, retain_graph=True)
    (dy_hat_dz,) = torch.autograd.grad(y_hat, z, torch.ones_like(y_hat), retain_graph=True)
    (delta,) = torch.autograd.grad(cost, z, retain_graph=True)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(cost, [*neuron.parameters()])])
    weights = torch.cat([p.flatten() for p in neuron.parameters()])
    flat, wrong = dy_hat_dz < 0.01, (y_hat > 0.5) != (y > 0.5)
    expected = {
        "cost/train": cost,
        "accuracy/train": ((y_hat > 0.5) == (y > 0.5)).double().mean(),
        "chain/1_dC_dy_hat": dC_dy_hat.square().mean().sqrt(),
        "chain/2_dy_hat_dz": dy_hat_dz.square().mean().sqrt(),
        "chain/3_dz_dw": x.square().mean().sqrt(),
        "chain/4_delta": delta.square().mean().sqrt(),
        "gradient/norm": gradient.norm(),
        "update/relative_size": gradient.norm() / weights.norm(),
        "saturation/wrong": (flat & wrong).double().mean(),
        "saturation/right": (flat & ~wrong).double().mean(),
    }
    for tag, value in expected.items():
        assert first[tag][1] == pytest.approx(value.item(), rel=1e-6), tag


def test_a_comparison_between_two_records_is_not_lost(tmp_path, monkeypatch):
    """The largest error since the last record is written, whichever step it came from."""
    from bp_torch.training import observer

    errors = iter(range(1000))
    monkeypatch.setattr(
        observer,
        "compare_gradients",
        lambda *_: Comparison(by_hand=100.0 - next(errors), autograd=0.0, steps=1),
    )
    result = loop.run(Config(runs=tmp_path, epochs=1, check_every=1, log_every=4))
    written = [value for _, value in read(result.directory).scalar("compare/by_hand")]
    assert written == [100, 99, 95, 91, 87]
    assert result.comparison.by_hand == 100


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_any_size_have_a_histogram(tmp_path, dtype):
    """Their width may be more than float32 holds."""
    size = min(torch.finfo(DTYPES[dtype]).max, 1e100)
    neuron = bp.Neuron(2, dtype=DTYPES[dtype])
    with torch.no_grad():
        neuron.weight.copy_(torch.tensor([-size, size], dtype=torch.float64))
    chain = bp.backprop(neuron, torch.zeros(1, 2).to(neuron.weight), torch.zeros(1).to(neuron.bias))

    class Closing(monitor.Monitor):
        def close(self):
            super().close(failed=False)

    with closing(Closing(tmp_path, {}, (), ("a", "b"))) as seen:
        seen.look(0, {}, neuron, chain)
    (event,) = read(tmp_path).histogram("weights/layer_1")
    assert (event.histogram_value.min, event.histogram_value.max) == (-size, size)


def test_saturated_and_wrong_is_told_from_saturated_and_right():
    neuron = bp.Neuron(1, dtype=torch.float64)
    with torch.no_grad():
        neuron.weight.fill_(1.0)
        neuron.bias.zero_()
    x = torch.tensor([[0.0], [4.0], [5.0], [-5.0]], dtype=torch.float64)  # σ′(4) = 0.018
    y = torch.tensor([0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    shares = measurements.saturation(bp.backprop(neuron, x, y), y)
    assert shares == {"saturation/wrong": 0.25, "saturation/right": 0.25}
    shares = measurements.saturation(bp.backprop(neuron, x, 1 - y), 1 - y)
    assert shares == {"saturation/wrong": 0.25, "saturation/right": 0.25}


# Pictures and texts.


@pytest.mark.parametrize("which", ["events", "network"])
def test_pictures_show_something(request, which):
    found = request.getfixturevalue(which)
    for tag in PICTURES:
        image = found.image(tag)
        picture = Image.open(io.BytesIO(image.encoded_image_string))
        assert picture.size == (image.width, image.height)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 100
        assert image.step == found.last("cost/train")[0]


def test_the_first_step_is_in_numbers(events):
    text = events.text("run/1_first_step")
    assert "| ŷ = σ(z) | the output |" in text
    table = reading.read(Config())
    x, y = torch.from_numpy(table.train.x), torch.from_numpy(table.train.y)
    generator = torch.Generator().manual_seed(0)
    neuron = bp.Neuron(30, generator=generator)
    chosen = Order(len(x), 30, 32, 0, (32,)).block(0, 0, range(1)).rows(0, 1)
    batch, targets = x[chosen], y[chosen]
    chain = bp.backprop(neuron, batch, targets)
    for value in (chain.z[0], chain.y_hat[0], chain.dy_hat_dz[0], chain.delta[0], chain.cost):
        assert f"{value.item():.5f}"[:-1].lstrip("-") in text  # float32's digits
    assert f"{chain.y_hat[1].item():.5f}"[:-1] not in text  # another sample's are not


def test_the_command_gives_the_run_again(tmp_path):
    config = Config(runs=tmp_path, epochs=1, learning_rate=0.5, mistake="wrong-sign", init_bias=2)
    events = read(loop.run(config).directory)
    text = events.text("run/3_command")
    for word in ("--epochs 1", "--learning-rate 0.5", "--mistake wrong-sign", "--init-bias 2.0"):
        assert word in text
    assert "--runs" not in text
    assert f"torch {torch.__version__}" in text
    first = events.text("run/1_first_step")
    assert "This run makes a mistake on purpose" in first
    assert MISTAKES["wrong-sign"].sentence in first


def test_the_curve_of_precision_over_recall_is_that_of_the_samples_held_out(result, events):
    curve = events.curve("classes/precision_recall")
    positives, negatives = curve[0] + curve[3], curve[1] + curve[2]  # TP + FN, FP + TN
    assert set(positives + negatives) == {result.test.samples}
    right = curve[0][63] + curve[2][63]  # at the threshold ½
    assert right / result.test.samples == pytest.approx(result.test.accuracy, abs=0.02)
