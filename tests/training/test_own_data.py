"""From a user's own table to a model that tells the truth."""

import gzip

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from event_files import read

import bp_torch as bp
from bp_torch.table.cache import table_of
from bp_torch.table.choice import Choice
from bp_torch.table.opening import open_source


def people(rows=1000, seed=0):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "time": 1.7e9 + 3 * rng.normal(size=rows),
            "age": rng.normal(40, 10, rows),
            "job": rng.choice(["clerk", "smith", "baker"], rows),
        }
    )
    z = (data.time - 1.7e9) / 3 + (data.age - 40) / 10 + (data.job == "smith")
    return data.assign(y=np.where(rng.random(rows) < 1 / (1 + np.exp(-2 * z)), "yes", "no"))


def train(data, tmp_path, **options):
    asked = {"target": "y", "epochs": 10, "runs": tmp_path / "runs", "log_every": 0}
    return bp.train(data, **asked | options)


def test_one_table_in_any_form_is_one_model_bit_for_bit(tmp_path):
    data = people()
    data.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    (tmp_path / "parts").mkdir()
    data[:400].to_parquet(tmp_path / "parts/0.parquet")
    data[400:].to_parquet(tmp_path / "parts/1.parquet")
    forms = [tmp_path / "t.csv.gz", tmp_path / "parts", data, pl.from_pandas(data)]
    first = train(tmp_path / "t.csv", tmp_path).model
    for form in forms:
        other = train(form, tmp_path).model
        assert other.about.content == first.about.content
        assert other.feature_names == first.feature_names
        for name, tensor in first.state_dict().items():
            assert torch.equal(other.state_dict()[name], tensor), name
    shuffled = train(data.sample(frac=1, random_state=0), tmp_path).model
    assert shuffled.about.content == first.about.content
    assert not torch.equal(shuffled.module.weight, first.module.weight)  # another order of steps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("offset", "scale"),
    [(1.7e9, 3.0), (1e6, 1e-3), (0.0, 1e-30), (1e9, 1e-3), (-1e15, 1.0), (0.0, 1e200)],
)
def test_a_loaded_model_gives_what_the_trained_one_gives(offset, scale, dtype, tmp_path):
    rng = np.random.default_rng(0)
    raw = offset + scale * rng.normal(size=(500, 3))
    y = (raw - offset) @ [1, -2, 0.5] > 0
    result = train(raw, tmp_path, target=y, dtype=dtype, epochs=30)
    assert result.test.accuracy > 0.9
    # The rows that were learnt from, as they were learnt from.
    source = pd.DataFrame(raw, columns=["x1", "x2", "x3"]).assign(y=y)
    table = table_of(open_source(source), Choice(target="y"), dtype=dtype)
    learnt = np.concatenate([table.train.x, table.test.x])
    loaded = bp.load(result.path)
    standardised = loaded.standardise(torch.from_numpy(raw)).numpy()
    order, other = np.lexsort(standardised.T), np.lexsort(learnt.T)
    np.testing.assert_array_equal(standardised[order], learnt[other])  # to the bit
    expected = result.model.module(torch.from_numpy(learnt[other])).detach().numpy()
    found = loaded(torch.from_numpy(raw)).detach().numpy()
    # A sum of three products may be taken in another order for another row.
    np.testing.assert_array_max_ulp(found[order], expected, 4)
    assert ((found > 0.5) == y).mean() > 0.9


def test_folding_into_the_weights_is_caught():
    """What was done before: w/s and b − Σwμ/s in float32, at 1.7e9 ± 3."""
    rng = np.random.default_rng(0)
    raw = torch.from_numpy(1.7e9 + 3 * rng.normal(size=(500, 1)))
    neuron = bp.Neuron(1)
    exact = neuron(((raw - 1.7e9) / 3).float())
    with torch.no_grad():
        weight = neuron.weight.double() / 3
        neuron.bias.copy_(neuron.bias.double() - weight @ torch.tensor([1.7e9]).double())
        neuron.weight.copy_(weight)
    assert (neuron(raw.float()) - exact).abs().max() > 0.1


def test_the_table_of_results_is_that_of_the_saved_model(tmp_path):
    data, other = people(), people(300, seed=1)
    result = train(data, tmp_path, test=other, dtype="bfloat16", cost="cross-entropy")
    model = bp.load(result.path)
    x = pd.concat(
        [other.time, other.age] + [other.job == job for job in ("baker", "clerk", "smith")], axis=1
    )
    y_hat = model(torch.tensor(x.astype(float).to_numpy())).detach().double()
    y = torch.tensor((other.y == "yes").to_numpy()).double()
    assert result.test.cost == pytest.approx(bp.cross_entropy_cost(y_hat, y).item(), rel=1e-5)
    assert result.test.accuracy == ((y_hat > 0.5) == (y > 0.5)).double().mean().item()
    assert model.about.metrics["held_out"]["cost"] == result.test.cost


def test_larger_data_are_learnt_from_in_blocks_on_disk(tmp_path, monkeypatch):
    data = people(5000)
    data.to_parquet(tmp_path / "t.parquet")
    options = {"epochs": 5, "cost": "cross-entropy", "learning_rate": 0.2}
    small = train(tmp_path / "t.parquet", tmp_path, **options)
    monkeypatch.setattr("bp_torch.table.decode.IN_MEMORY", 0)
    monkeypatch.setattr("bp_torch.training.order.NUMBERS_PER_BLOCK", 640 * 5)
    large = [
        train(tmp_path / "t.parquet", tmp_path, cache=tmp_path / "cache", **options)
        for _ in range(2)
    ]
    assert len(list((tmp_path / "cache").iterdir())) == 1
    for name, tensor in large[0].model.state_dict().items():
        assert torch.equal(large[1].model.state_dict()[name], tensor)
    assert large[0].test.cost == pytest.approx(small.test.cost, rel=0.02)
    assert not torch.equal(large[0].model.module.weight, small.model.module.weight)


def test_balanced_classes_move_the_line_towards_the_larger_one(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.random(2000) < 0.05
    data = pd.DataFrame({"x": rng.normal(size=2000) + y, "y": y})
    options = {"cost": "cross-entropy", "epochs": 20, "learning_rate": 0.1}
    plain, fair = (train(data, tmp_path, class_weight=w, **options) for w in (None, "balanced"))
    found = [result.test_metrics.confusion[1][1] for result in (plain, fair)]
    assert found[1] > found[0]
    # The line is where both classes are as likely, ½ standing for 1 of 20: log 19 apart.
    shift = fair.model.module.bias - plain.model.module.bias
    assert shift.item() == pytest.approx(np.log(19), abs=0.5)


def test_a_weight_counts_as_so_many_rows(tmp_path):
    data = people(400).assign(w=1.0)
    weights = np.where(data.age > 40, 2.0, 1.0)
    options = {"batch_size": 0, "epochs": 2000, "cost": "cross-entropy", "dtype": "float64"}
    options |= {"sample_weight": "w", "test": people(50, seed=1).assign(w=1.0), "drop": ("job",)}
    weighted = train(data.assign(w=weights), tmp_path, **options)
    repeated = train(pd.concat([data, data[weights == 2]]), tmp_path, **options)
    # Means and deviations differ, so the weights are compared for the features as they are.
    one, other = (
        result.model.module.weight.detach() / result.model.deviation
        for result in (weighted, repeated)
    )
    torch.testing.assert_close(one, other, atol=0, rtol=1e-6)


def test_early_stopping_keeps_the_best(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 40))
    data = pd.DataFrame(x).rename(columns=str).assign(y=x[:, 0] + rng.normal(size=60) > 0)
    options = {"cost": "cross-entropy", "epochs": 200, "learning_rate": 1.0, "test_size": 0.5}
    long = train(data, tmp_path, **options)
    short = train(data, tmp_path, **options, early_stopping=5)
    assert short.stopped
    assert not long.stopped
    assert short.steps < long.steps
    assert short.test.cost < long.test.cost


@pytest.mark.parametrize("gradient", ["auto", "manual", "autograd", "chain"])
def test_every_gradient_comes_to_the_same_weights(gradient, tmp_path):
    options = {"dtype": "float64", "cost": "cross-entropy", "epochs": 5}
    fused = train(people(), tmp_path, **options)
    other = train(people(), tmp_path, gradient=gradient, **options)
    torch.testing.assert_close(
        other.model.module.weight, fused.model.module.weight, rtol=1e-9, atol=1e-12
    )


def test_a_hundred_columns_of_texts_are_read_in_pieces(tmp_path):
    rng = np.random.default_rng(0)
    columns = {f"c{k}": rng.integers(0, 200, 3000).astype(str) for k in range(20)}
    data = pd.DataFrame(columns).map(lambda text: "v" + text)
    result = train(data.assign(y=rng.integers(0, 2, 3000)), tmp_path, epochs=1)
    assert 3500 < len(result.model.feature_names) <= 4000
    assert result.model(torch.zeros(2, len(result.model.feature_names))).isfinite().all()


def test_a_network_learns_a_table_of_three_classes(tmp_path):
    data = people()
    result = train(data, tmp_path, target="job", layers=(5,), epochs=2, missing="drop")
    assert result.model.classes == ("baker", "clerk", "smith")
    assert len(result.test_metrics.confusion) == 3
    with pytest.raises(ValueError, match="weights are for one neuron, and this is a network"):
        train(data, tmp_path, target="job", class_weight="balanced")


def test_shares_are_learnt_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 2))
    share = 1 / (1 + np.exp(-x @ [1.0, -1.0]))
    result = train(x, tmp_path, target=share, epochs=100, cost="cross-entropy")
    assert result.model.classes == ()
    assert result.test_metrics.auc is None
    y_hat = result.model(torch.from_numpy(x)).detach().numpy()
    assert abs(y_hat - share).max() < 0.05


def test_fewer_rows_than_a_batch_are_one_batch(tmp_path):
    result = train(people(20), tmp_path, batch_size=1000, epochs=3)
    assert result.steps == 3
    assert result.train.samples + result.test.samples == 20


@pytest.mark.parametrize("rule", [{"momentum": 0.9}, {"l2": 0.01}, {"l1": 0.01}], ids=str)
def test_a_rule_comes_to_the_same_weights_seen_or_not(rule, tmp_path):
    options = {"dtype": "float64", "cost": "cross-entropy", "epochs": 5, "learning_rate": 0.1}
    unseen = train(people(), tmp_path, check_every=0, **options, **rule)
    seen = train(people(), tmp_path, check_every=1, **options, **rule)
    by_hand = train(people(), tmp_path, gradient="chain", **options, **rule)
    for other in (seen, by_hand):
        torch.testing.assert_close(
            other.model.module.weight, unseen.model.module.weight, rtol=1e-9, atol=1e-12
        )


def test_a_column_of_targets_is_one_target_a_row(tmp_path):
    x, y = torch.randn(60, 2), torch.arange(60) % 2
    flat, column = (train(x, tmp_path, target=t, epochs=1) for t in (y, y[:, None]))
    assert torch.equal(flat.model.module.weight, column.model.module.weight)


def test_an_option_that_there_is_not_is_named():
    with pytest.raises(TypeError, match="train has no option 'epoch'; did you mean 'epochs'"):
        bp.train(people(), target="y", epoch=3)


def test_a_home_is_found(tmp_path, monkeypatch):
    people(50).to_csv(tmp_path / "t.csv", index=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert train("~/t.csv", tmp_path, epochs=1).train.samples == 40


@pytest.mark.parametrize("weights", [{"class_weight": "balanced"}, {"sample_weight": "w"}], ids=str)
def test_a_weighted_gradient_is_not_held_against_one_without_weights(weights, tmp_path):
    """Which would call it wrong."""
    data = people().assign(w=lambda table: 1.0 + (table.age > 40))
    plain = train(data, tmp_path, drop="w", epochs=3)
    result = train(data, tmp_path, epochs=3, log_every=None, **weights)
    assert plain.comparison.steps == 3
    assert result.comparison.steps == 0
    assert result.comparison.right
    assert not result.comparison.wrong


def test_what_is_looked_at_counts_samples_by_their_weight(tmp_path):
    data = people().assign(w=lambda table: np.where(table.age > 40, 5.0, 0.1))
    result = train(data, tmp_path, sample_weight="w", epochs=3, log_every=None)
    events = read(result.directory)
    for part, score in (("train", result.train), ("test", result.test)):
        assert events.last(f"cost/{part}") == (result.steps, pytest.approx(score.cost))
        assert events.last(f"accuracy/{part}") == (result.steps, pytest.approx(score.accuracy))
