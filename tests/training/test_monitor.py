from contextlib import closing

import pytest
import torch
from event_files import read
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

import bp_torch as bp
from bp_torch.dtypes import DTYPES
from bp_torch.training import data, loop, monitor
from bp_torch.training.config import Config
from bp_torch.training.difference import Difference
from bp_torch.training.standardisation import Standardisation

SCALARS = {
    *("cost/train", "cost/test", "accuracy/train", "accuracy/test"),
    *("chain/dC_dy_hat", "chain/dy_hat_dz", "chain/dz_dw"),
    *("gradient/norm", "update/relative_size", "saturation/share"),
    *("compare/max_ulp", "compare/max_abs"),
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return loop.run(Config(runs=tmp_path_factory.mktemp("runs"), epochs=40))


@pytest.fixture(scope="module")
def events(result):
    return read(result.directory)


def test_the_tags_are_these_and_no_others(events):
    tags = events.Tags()
    assert set(tags["scalars"]) == SCALARS
    assert set(tags["histograms"]) == {"weights/layer_1", "sigmoid_prime/layer_1"}
    assert tags["images"] == tags["audio"] == []
    assert tags["tensors"] == ["custom_scalars__config__"]


def test_a_network_has_histograms_for_each_layer(tmp_path):
    result = loop.run(Config(runs=tmp_path, dataset="digits", layers=(5,), epochs=1))
    tags = read(result.directory).Tags()
    assert set(tags["scalars"]) == SCALARS
    assert set(tags["histograms"]) == {
        f"{kind}/layer_{number}" for kind in ("weights", "sigmoid_prime") for number in (1, 2)
    }


def test_the_last_values_are_the_results(result, events):
    for part, score in (("train", result.train), ("test", result.test)):
        assert events.Scalars(f"cost/{part}")[-1].value == pytest.approx(score.cost)
        assert events.Scalars(f"accuracy/{part}")[-1].value == pytest.approx(score.accuracy)
        assert events.Scalars(f"cost/{part}")[-1].step == result.steps


def test_the_hyperparameters_are_in_the_run_itself(result):
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(result.config.runs)).Reload()
    assert list(multiplexer.Runs()) == ["breast-cancer-1"]
    start = multiplexer.SummaryMetadata("breast-cancer-1", "_hparams_/session_start_info")
    content = plugin_data_pb2.HParamsPluginData.FromString(start.plugin_data.content)
    assert content.session_start_info.hparams["learning_rate"].number_value == 1.0
    assert content.session_start_info.hparams["cost"].string_value == "quadratic"
    experiment = multiplexer.SummaryMetadata("breast-cancer-1", "_hparams_/experiment")
    content = plugin_data_pb2.HParamsPluginData.FromString(experiment.plugin_data.content)
    assert {info.name.tag for info in content.experiment.metric_infos} == {
        *("cost/train", "cost/test", "accuracy/train", "accuracy/test")
    }


def test_the_run_is_marked_as_ended(result):
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(result.config.runs)).Reload()
    end = multiplexer.SummaryMetadata("breast-cancer-1", "_hparams_/session_end_info")
    content = plugin_data_pb2.HParamsPluginData.FromString(end.plugin_data.content)
    assert content.session_end_info.status == api_pb2.STATUS_SUCCESS


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"epochs": 40}, [0, 300, 600]),
        ({"epochs": 2, "batch_size": 1}, [0, 455, 910]),
        ({"epochs": 1, "log_every": 6}, [0, 6, 12, 15]),
    ],
    ids=["every 300", "once per epoch", "as told"],
)
def test_a_run_is_looked_at_every_so_often_and_at_its_end(tmp_path, options, steps):
    events = read(loop.run(Config(runs=tmp_path, **options)).directory)
    assert [scalar.step for scalar in events.Scalars("cost/train")] == steps


def test_histograms_are_drawn_at_every_fifth_look_and_at_the_end(tmp_path):
    events = read(loop.run(Config(runs=tmp_path, epochs=7, batch_size=0, log_every=1)).directory)
    assert [scalar.step for scalar in events.Scalars("cost/train")] == [*range(8)]
    assert [histogram.step for histogram in events.Histograms("weights/layer_1")] == [0, 5, 7]


def test_a_look_can_be_seen_while_the_run_goes_on(tmp_path):
    def look(progress):
        (directory,) = tmp_path.iterdir()
        seen.append(len(read(directory).Scalars("cost/train")))

    seen = []
    loop.run(Config(runs=tmp_path, epochs=3, batch_size=0, log_every=1), watch=look)
    assert seen == [1, 2, 3]


def test_the_factors_of_the_chain_rule_share_one_chart(result):
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(result.config.runs)).Reload()
    (tensor,) = multiplexer.Tensors("breast-cancer-1", "custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    (category,) = layout.category
    (chart,) = category.chart
    assert list(chart.multiline.tag) == ["chain/dC_dy_hat", "chain/dy_hat_dz", "chain/dz_dw"]
    assert set(chart.multiline.tag) <= SCALARS


def test_the_values_are_what_their_names_say(tmp_path):
    """The first record of a run, worked out again with autograd."""
    result = loop.run(Config(runs=tmp_path, epochs=1, batch_size=0, dtype="float64"))
    events = read(result.directory)
    first = {tag: events.Scalars(tag)[0] for tag in SCALARS}
    assert {scalar.step for scalar in first.values()} == {0}

    raw = data.split(data.DATASETS["breast-cancer"].read())
    x, y = Standardisation.of(raw.x_train)(raw.x_train), raw.y_train
    neuron = bp.Neuron(30, generator=torch.Generator().manual_seed(0)).double()
    z = neuron.pre_activation(x)
    y_hat = torch.sigmoid(z)
    cost = bp.quadratic_cost(y_hat, y)
    (dC_dy_hat,) = torch.autograd.grad(cost, y_hat, retain_graph=True)
    (dy_hat_dz,) = torch.autograd.grad(y_hat, z, torch.ones_like(y_hat), retain_graph=True)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(cost, [*neuron.parameters()])])
    weights = torch.cat([p.flatten() for p in neuron.parameters()])
    expected = {
        "cost/train": cost,
        "accuracy/train": ((y_hat > 0.5) == (y > 0.5)).double().mean(),
        "chain/dC_dy_hat": dC_dy_hat.square().mean().sqrt(),
        "chain/dy_hat_dz": dy_hat_dz.square().mean().sqrt(),
        "chain/dz_dw": x.square().mean().sqrt(),
        "gradient/norm": gradient.norm(),
        "update/relative_size": gradient.norm() / weights.norm(),
        "saturation/share": (dy_hat_dz < 0.01).double().mean(),
    }
    for tag, value in expected.items():
        assert first[tag].value == pytest.approx(value.item(), rel=1e-6), tag


def test_a_comparison_between_two_records_is_not_lost(tmp_path, monkeypatch):
    """The largest difference since the last record is written, whichever step it came from."""
    from bp_torch.training import observer

    differences = iter(range(1000))
    monkeypatch.setattr(
        observer,
        "difference_of",
        lambda *_: Difference(max_ulp=100.0 - next(differences), max_abs=0.0, steps=1),
    )
    result = loop.run(Config(runs=tmp_path, epochs=1, check_every=1, log_every=4))
    written = [scalar.value for scalar in read(result.directory).Scalars("compare/max_ulp")]
    assert written == [100, 99, 95, 91, 87]
    assert result.difference.max_ulp == 100


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_any_size_have_a_histogram(tmp_path, dtype):
    """Their width may be more than float32 holds."""
    size = min(torch.finfo(DTYPES[dtype]).max, 1e100)
    neuron = bp.Neuron(2, dtype=DTYPES[dtype])
    with torch.no_grad():
        neuron.weight.copy_(torch.tensor([-size, size], dtype=torch.float64))
    chain = bp.backprop(neuron, torch.zeros(1, 2).to(neuron.weight), torch.zeros(1).to(neuron.bias))
    with closing(monitor.Monitor(tmp_path, {}, ())) as seen:
        seen.look(0, {}, neuron, chain)
    (event,) = read(tmp_path).Histograms("weights/layer_1")
    assert (event.histogram_value.min, event.histogram_value.max) == (-size, size)


def test_saturation_counts_the_units_that_hardly_learn():
    neuron = bp.Neuron(1, dtype=torch.float64)
    with torch.no_grad():
        neuron.weight.fill_(1.0)
        neuron.bias.zero_()
    x = torch.tensor([[0.0], [4.0], [5.0], [-5.0]], dtype=torch.float64)  # σ′(4) = 0.018
    chain = bp.backprop(neuron, x, torch.zeros(4, dtype=torch.float64))
    assert monitor.chain_scalars(chain)["saturation/share"] == 0.5
