import itertools

import pytest
import torch
from devices import needs_cuda
from event_files import read
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bp_torch as bp
from bp_torch.derivative import SigmoidFunction
from bp_torch.dtypes import DTYPES
from bp_torch.training import data, loop
from bp_torch.training.config import Config
from bp_torch.training.descent import DivergedError
from bp_torch.training.gradients import GRADIENTS
from bp_torch.training.score import accuracy
from bp_torch.training.standardisation import Standardisation


def train(tmp_path, **options):
    return loop.run(Config(runs=tmp_path, **options))


def files(directory):
    return sorted(path.name.split(".")[0] for path in directory.iterdir())


def test_the_default_run_learns_as_well_as_logistic_regression(tmp_path):
    result = train(tmp_path)
    assert result.test.accuracy >= 0.97

    split = data.split(data.DATASETS["breast-cancer"].read())
    peer = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    peer.fit(split.x_train.numpy(), split.y_train.numpy())
    peers_right = (peer.predict(split.x_test.numpy()) == split.y_test.numpy()).sum()
    assert result.test.accuracy * result.test.samples >= peers_right - 1


def test_a_network_learns_the_digits(tmp_path):
    result = train(tmp_path, dataset="digits", layers=(30,), epochs=60)
    assert result.test.accuracy >= 0.95
    assert result.module == "a network of 64-30-10, 2260 parameters"


@pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])
def test_the_manual_gradient_is_autograds_to_the_bit_in_every_step_checked(tmp_path, cost):
    result = train(tmp_path, cost=cost, gradient="manual", epochs=20, check_every=1)
    assert result.comparison.steps == result.steps == 20 * 15
    assert result.comparison.right
    assert result.comparison.by_hand == result.comparison.autograd  # to the bit


def test_the_chain_rule_by_hand_reaches_the_same_weights(tmp_path):
    manual, chain = (
        bp.load(train(tmp_path, gradient=way, epochs=20, dtype="float64").model)
        for way in ("manual", "chain")
    )
    torch.testing.assert_close(manual.weight, chain.weight, rtol=1e-9, atol=0)


@pytest.mark.parametrize("gradient", ["manual", "autograd"])
def test_a_wrong_gradient_shows_in_the_comparison(tmp_path, monkeypatch, gradient):
    """Where autograd's own gradient is used, the one by hand is compared with it all the same."""

    def without_one_factor(ctx, upstream):
        return upstream * ctx.saved_tensors[0]

    monkeypatch.setattr(SigmoidFunction, "backward", staticmethod(without_one_factor))
    result = train(tmp_path, gradient=gradient, epochs=1)
    assert result.comparison.wrong == result.comparison.steps
    assert result.comparison.by_hand > 1e4


def test_fused_is_the_default_for_one_neuron_and_learns_the_same(tmp_path):
    default = train(tmp_path, dtype="float64", epochs=20, check_every=1)
    manual = train(tmp_path, dtype="float64", epochs=20, gradient="manual")
    assert (default.config.gradient, manual.config.gradient) == ("fused", "manual")
    assert default.comparison.steps == default.steps
    assert default.comparison.right
    assert default.comparison.by_hand != default.comparison.autograd  # it walks another path
    assert default.test == manual.test
    weights = [bp.load(result.model).weight for result in (default, manual)]
    torch.testing.assert_close(*weights, rtol=1e-9, atol=0)


def test_a_network_has_manual_for_its_default_and_refuses_fused(tmp_path):
    assert train(tmp_path, layers=(3,), epochs=1).config.gradient == "manual"
    with pytest.raises(ValueError, match="gradient fused is for one neuron"):
        train(tmp_path, layers=(3,), epochs=1, gradient="fused", name="refused")
    assert [run.name for run in tmp_path.iterdir()] == ["breast-cancer-1"]


def test_a_wrong_fused_gradient_shows_in_the_comparison(tmp_path, monkeypatch):
    from bp_torch.training import gradients

    def without_half(x, y, weight, bias, cost):
        value, by_weight, by_bias = right(x, y, weight, bias, cost)
        return value, 2 * by_weight, by_bias

    right = gradients.cost_and_gradients
    monkeypatch.setattr(gradients, "cost_and_gradients", without_half)
    comparison = train(tmp_path, epochs=1).comparison
    assert comparison.wrong == comparison.steps


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_trains(tmp_path, dtype):
    result = train(tmp_path, dtype=dtype, epochs=30)
    assert result.test.accuracy > 0.95
    assert bp.load(result.model).weight.dtype == (
        torch.float64 if dtype == "float64" else torch.float32
    )


@pytest.mark.parametrize("batch_size", [0, 7, 10_000])
def test_every_batch_size_trains(tmp_path, batch_size):
    assert train(tmp_path, batch_size=batch_size, epochs=30).test.accuracy > 0.9


def test_a_hidden_layer_in_front_of_one_output(tmp_path):
    result = train(tmp_path, layers=(5, 3), epochs=60)
    assert result.module == "a network of 30-5-3-1, 177 parameters"
    assert result.test.accuracy > 0.95


@pytest.mark.parametrize("name", data.DATASETS)
def test_the_saved_model_takes_raw_features(tmp_path, name):
    result = train(tmp_path, dataset=name, epochs=20)
    split = data.split(data.DATASETS[name].read())
    y_hat = bp.load(result.model)(split.x_test.float())
    assert accuracy(y_hat, split.y_test) == pytest.approx(result.test.accuracy, abs=1e-9)


def test_the_same_seed_gives_the_same_run_and_another_one_another(tmp_path):
    one, same, other = (bp.load(train(tmp_path, epochs=2, seed=s).model) for s in (1, 1, 2))
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)


def test_looking_does_not_change_what_is_learnt(tmp_path):
    seen = train(tmp_path, epochs=3, log_every=1, check_every=1)
    blind = train(tmp_path, epochs=3, log_every=0, check_every=0)
    assert torch.equal(bp.load(seen.model).weight, bp.load(blind.model).weight)
    assert blind.comparison.steps == 0
    assert files(blind.directory) == ["model"]


def test_runs_without_a_name_are_numbered(tmp_path):
    names = [train(tmp_path, epochs=1).directory.name for _ in range(2)]
    assert names == ["breast-cancer-1", "breast-cancer-2"]


def test_a_run_is_never_overwritten(tmp_path):
    result = train(tmp_path, epochs=1, name="mine")
    before = result.model.read_bytes()
    with pytest.raises(FileExistsError, match=r"'mine' exists .* choose another name"):
        train(tmp_path, epochs=2, name="mine")
    assert result.model.read_bytes() == before


def test_ctrl_c_saves_what_was_learnt(tmp_path):
    def press_at_100(progress):
        if progress.step == 100:
            raise KeyboardInterrupt

    result = loop.run(Config(runs=tmp_path), watch=press_at_100)
    assert result.interrupted
    assert result.steps == 100
    assert files(result.directory) == ["events", "model"]
    assert bp.load(result.model).weight.isfinite().all()
    assert result.test.accuracy > 0.9


def test_a_run_that_diverges_saves_no_model(tmp_path, monkeypatch):
    def half_infinite(standardise, raw, module):
        split = prepare(standardise, raw, module)
        split.x_train[100:] *= 1e38
        return split

    prepare = Standardisation.prepare
    monkeypatch.setattr(Standardisation, "prepare", half_infinite)
    with pytest.raises(DivergedError, match=r"stopped being finite at step \d+ and nothing was"):
        train(tmp_path, learning_rate=1e30, log_every=0)
    assert list(tmp_path.iterdir()) == []  # there is nothing to look at


def test_weights_that_overflow_in_the_last_step_are_not_saved(tmp_path, monkeypatch):
    """The cost, taken before the step, is still finite."""

    def overflowing(module, x, y, cost):
        value, gradients = gradients_by_hand(module, x, y, cost)
        return value, {name: gradient / 0.0 for name, gradient in gradients.items()}

    gradients_by_hand = GRADIENTS["fused"]
    monkeypatch.setitem(GRADIENTS, "fused", overflowing)
    with pytest.raises(DivergedError, match="the parameter weight stopped being finite at step 1"):
        train(tmp_path, batch_size=0, epochs=1)
    assert files(tmp_path / "breast-cancer-1") == ["events"]


@pytest.mark.parametrize("step", [1, 2, 7])
def test_weights_that_overflow_are_seen_before_they_are_looked_at(tmp_path, monkeypatch, step):
    """σ(∞) = 1, so that the cost may stay finite where a weight is not."""

    def overflowing(module, x, y, cost):
        value, gradients = by_hand(module, x, y, cost)
        if next(numbers) == step:
            module.bias.data.fill_(torch.inf)
        return torch.zeros_like(value), gradients

    by_hand, numbers = GRADIENTS["fused"], itertools.count()
    monkeypatch.setitem(GRADIENTS, "fused", overflowing)
    with pytest.raises(DivergedError, match=f"the parameter bias .* at step {step}"):
        train(tmp_path, log_every=1)


@pytest.fixture
def nan_at_step(monkeypatch):
    """Make the cost NaN there."""

    def patch(step):
        def diverging(*arguments):
            cost, gradients = by_hand(*arguments)
            return cost * (torch.nan if next(steps) == step else 1), gradients

        steps = itertools.count()
        monkeypatch.setitem(GRADIENTS, "fused", diverging)

    by_hand = GRADIENTS["fused"]
    yield patch
    monkeypatch.undo()


def test_a_run_that_diverged_leaves_its_chart_until_the_next_of_its_name(tmp_path, nan_at_step):
    nan_at_step(7)
    with pytest.raises(DivergedError):
        train(tmp_path, name="mine")
    assert files(tmp_path / "mine") == ["events"]
    nan_at_step(None)
    result = train(tmp_path, name="mine", epochs=1)
    assert files(result.directory) == ["events", "model"]
    assert set(read(result.directory).steps("cost/train")) == {0, 1, 4, result.steps}


def test_a_run_that_diverges_before_it_was_looked_at_leaves_nothing(tmp_path, nan_at_step):
    nan_at_step(0)
    with pytest.raises(DivergedError, match="at step 0"):
        train(tmp_path, name="mine")
    assert list(tmp_path.iterdir()) == []


def test_a_number_is_not_given_twice_while_its_chart_is_there(tmp_path, nan_at_step):
    nan_at_step(7)
    with pytest.raises(DivergedError):
        train(tmp_path)
    nan_at_step(None)
    assert train(tmp_path, epochs=1).directory.name == "breast-cancer-2"


@pytest.mark.parametrize(
    "error", [RuntimeError("no such kernel"), MemoryError(), OSError(28, "full")], ids=repr
)
def test_a_run_that_ends_with_an_error_leaves_its_name_free(tmp_path, monkeypatch, error):
    def failing(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(loop, "save", failing)
        with pytest.raises(type(error)):
            train(tmp_path, name="mine", epochs=1)
    assert files(tmp_path / "mine") == ["events"]
    result = train(tmp_path, name="mine", epochs=1)
    assert files(result.directory) == ["events", "model"]


def test_data_that_cannot_be_learnt_from_leave_nothing(tmp_path, monkeypatch):
    def with_a_hole():
        dataset = source.read()
        dataset.features[3, 2] = torch.nan
        return data.Dataset(**vars(dataset))

    source = data.DATASETS["breast-cancer"]
    monkeypatch.setitem(data.DATASETS, "breast-cancer", data.Source("with a hole", with_a_hole))
    with pytest.raises(ValueError, match=r"features must be finite, got nan at index \(3, 2\)"):
        train(tmp_path / "runs", name="mine")
    assert list(tmp_path.iterdir()) == []


@needs_cuda
def test_a_gpu_learns_what_the_cpu_learns(tmp_path):
    cpu, gpu = (
        bp.load(train(tmp_path, device=device, dtype="float64", epochs=5).model)
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(gpu.weight, cpu.weight, rtol=1e-9, atol=1e-12)
