import itertools
import signal

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from devices import needs_cuda
from event_files import read
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bp_torch as bp
from bp_torch.derivative import SigmoidFunction
from bp_torch.dtypes import DTYPES
from bp_torch.training import conclusion, data, loop, reading
from bp_torch.training.config import Config
from bp_torch.training.descent import DivergedError
from bp_torch.training.event_file import EventFile
from bp_torch.training.gradients import GRADIENTS
from bp_torch.training.signals import Interrupted


def train(tmp_path, **options):
    return loop.run(Config(runs=tmp_path, **options))


def files(directory):
    return sorted({path.name.split(".")[0].split("-")[0] for path in directory.iterdir()})


def test_the_default_run_learns_as_well_as_logistic_regression(tmp_path):
    result = train(tmp_path)
    assert result.test.accuracy >= 0.97

    table = reading.read(Config())
    peer = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    peer.fit(table.train.x, table.train.y)
    peers_right = (peer.predict(table.test.x) == table.test.y).sum()
    assert result.test.accuracy * result.test.samples >= peers_right - 1


def test_a_network_learns_the_digits(tmp_path):
    result = train(tmp_path, dataset="digits", layers=(30,), epochs=60)
    assert result.test.accuracy >= 0.95
    assert result.description == "a network of 64-30-10, 2260 parameters"


@pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])
def test_the_manual_gradient_is_autograds_to_the_bit_in_every_step_checked(tmp_path, cost):
    result = train(tmp_path, cost=cost, gradient="manual", epochs=20, check_every=1)
    assert result.comparison.steps == result.steps == 20 * 15
    assert result.comparison.right
    assert result.comparison.by_hand == result.comparison.autograd  # to the bit


def test_the_chain_rule_by_hand_reaches_the_same_weights(tmp_path):
    manual, chain = (
        bp.load(train(tmp_path, gradient=way, epochs=20, dtype="float64").path)
        for way in ("manual", "chain")
    )
    torch.testing.assert_close(manual.module.weight, chain.module.weight, rtol=1e-9, atol=0)


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
    assert default.test.cost == pytest.approx(manual.test.cost, rel=1e-12)
    weights = [bp.load(result.path).module.weight for result in (default, manual)]
    torch.testing.assert_close(*weights, rtol=1e-9, atol=0)


def test_a_network_has_manual_for_its_default_and_refuses_fused(tmp_path):
    assert train(tmp_path, layers=(3,), epochs=1).config.gradient == "manual"
    with pytest.raises(ValueError, match="gradient fused is for one neuron"):
        train(tmp_path, layers=(3,), epochs=1, gradient="fused", name="refused")
    assert [run.name for run in tmp_path.iterdir()] == ["breast-cancer-1"]


def test_a_wrong_fused_gradient_shows_in_the_comparison(tmp_path, monkeypatch):
    from bp_torch.training import gradients

    def without_half(x, y, weight, bias, cost, **options):
        value, by_weight, by_bias = right(x, y, weight, bias, cost, **options)
        return value, 2 * by_weight, by_bias

    right = gradients.cost_and_gradients
    monkeypatch.setattr(gradients, "cost_and_gradients", without_half)
    comparison = train(tmp_path, epochs=1).comparison
    assert comparison.wrong == comparison.steps


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_trains(tmp_path, dtype):
    result = train(tmp_path, dtype=dtype, epochs=30)
    assert result.test.accuracy > 0.95
    assert bp.load(result.path).module.weight.dtype == (
        torch.float64 if dtype == "float64" else torch.float32
    )


@pytest.mark.parametrize("batch_size", [0, 7, 10_000])
def test_every_batch_size_trains(tmp_path, batch_size):
    assert train(tmp_path, batch_size=batch_size, epochs=30).test.accuracy > 0.9


def test_a_hidden_layer_in_front_of_one_output(tmp_path):
    result = train(tmp_path, layers=(5, 3), epochs=60)
    assert result.description == "a network of 30-5-3-1, 177 parameters"
    assert result.test.accuracy > 0.95


@pytest.mark.parametrize("name", data.DATASETS)
def test_the_saved_model_takes_raw_features(tmp_path, name):
    result = train(tmp_path, dataset=name, epochs=20)
    model, raw = bp.load(result.path), data.DATASETS[name].read()
    x = np.stack([raw[column].to_numpy() for column in model.feature_names], 1)
    y_hat = model(torch.from_numpy(x)).detach()
    truth = raw["class"].combine_chunks().indices.to_numpy()
    found = y_hat.argmax(1).numpy() if y_hat.ndim == 2 else (y_hat > 0.5).numpy()
    parts = (result.train, result.test)
    right = sum(round(part.accuracy * part.samples) for part in parts)
    assert (found == truth).sum() == right


def test_the_same_seed_gives_the_same_run_and_another_one_another(tmp_path):
    one, same, other = (bp.load(train(tmp_path, epochs=2, seed=s).path).module for s in (1, 1, 2))
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)


def test_looking_does_not_change_what_is_learnt(tmp_path):
    seen = train(tmp_path, epochs=3, log_every=1, check_every=1)
    blind = train(tmp_path, epochs=3, log_every=0, check_every=0)
    assert torch.equal(bp.load(seen.path).module.weight, bp.load(blind.path).module.weight)
    assert blind.comparison.steps == 0
    assert files(blind.directory) == ["checkpoint", "model"]


def test_runs_without_a_name_are_numbered(tmp_path):
    names = [train(tmp_path, epochs=1).directory.name for _ in range(2)]
    assert names == ["breast-cancer-1", "breast-cancer-2"]


def test_a_run_is_never_overwritten(tmp_path):
    result = train(tmp_path, epochs=1, name="mine")
    before = result.path.read_bytes()
    with pytest.raises(FileExistsError, match=r"'mine' exists .* choose another name"):
        train(tmp_path, epochs=2, name="mine")
    assert result.path.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_what_was_learnt(tmp_path, number):
    def press_at_100(progress):
        if progress.step >= 100:
            signal.raise_signal(number)
            signal.raise_signal(number)

    before = signal.getsignal(number)
    result = loop.run(Config(runs=tmp_path, gradient="manual"), watch=press_at_100)
    assert result.interrupted
    assert result.signal == number
    assert result.steps == 100
    assert files(result.directory) == ["checkpoint", "events", "model"]
    assert bp.load(result.path).module.weight.isfinite().all()
    assert result.test.accuracy > 0.9
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_does_not_disturb_the_saving(tmp_path, monkeypatch, number):
    def pressed(*arguments, **options):
        if next(saved) == 1:
            signal.raise_signal(number)
        return save(*arguments, **options)

    save, saved = safetensors.torch.save, itertools.count()
    monkeypatch.setattr("safetensors.torch.save", pressed)
    result = train(tmp_path, epochs=2)
    assert result.steps == 30
    assert result.signal == number  # which is said, though it came too late to change anything
    assert bp.load(result.path).module.weight.isfinite().all()


def test_an_interrupt_that_another_raises_saves_as_well(tmp_path):
    def press_at_100(progress):
        if progress.step >= 100:
            raise KeyboardInterrupt

    result = loop.run(Config(runs=tmp_path), watch=press_at_100)
    assert result.signal == signal.SIGINT
    assert bp.load(result.path).module.weight.isfinite().all()


def test_a_signal_before_anything_was_learnt_leaves_nothing(tmp_path, monkeypatch):
    def press(*arguments, **options):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(reading, "table_of", press)
    with pytest.raises(Interrupted, match="SIGTERM came before anything was learnt"):
        train(tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        result = loop.run(
            Config(runs=tmp_path, epochs=2), watch=lambda _: signal.raise_signal(signal.SIGHUP)
        )
        assert result.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("gradient", ["auto", "manual"])
def test_a_run_that_diverges_saves_no_model(tmp_path, monkeypatch, gradient):
    def half_infinite(table, module):
        found = prepare(table, module)
        found.train.x[100:] *= 1e38
        return found

    prepare = data.Data.of
    monkeypatch.setattr(data.Data, "of", half_infinite)
    with pytest.raises(DivergedError, match=r"stopped being finite at step \d+ and nothing was"):
        train(tmp_path, learning_rate=1e30, log_every=0, gradient=gradient)
    assert list(tmp_path.iterdir()) == []  # there is nothing to look at


def test_weights_that_overflow_in_the_last_step_are_not_saved(tmp_path, monkeypatch):
    """The cost, taken before the step, is still finite."""

    def overflowing(module, x, y, cost):
        value, gradients = gradients_by_hand(module, x, y, cost)
        return value, {name: gradient / 0.0 for name, gradient in gradients.items()}

    gradients_by_hand = GRADIENTS["manual"]
    monkeypatch.setitem(GRADIENTS, "manual", overflowing)
    with pytest.raises(DivergedError, match="the parameter weight stopped being finite at step 1"):
        train(tmp_path, batch_size=0, epochs=1, gradient="manual")
    assert files(tmp_path / "breast-cancer-1") == ["events"]


@pytest.mark.parametrize("step", [1, 2, 7])
def test_weights_that_overflow_are_seen_before_they_are_looked_at(tmp_path, monkeypatch, step):
    """σ(∞) = 1, so that the cost may stay finite where a weight is not."""

    def overflowing(module, x, y, cost):
        value, gradients = by_hand(module, x, y, cost)
        if next(numbers) == step:
            module.bias.data.fill_(torch.inf)
        return torch.zeros_like(value), gradients

    by_hand, numbers = GRADIENTS["manual"], itertools.count()
    monkeypatch.setitem(GRADIENTS, "manual", overflowing)
    with pytest.raises(DivergedError, match=f"the parameter bias .* at step {step}"):
        train(tmp_path, log_every=1, gradient="manual")


@pytest.fixture
def nan_at_step(monkeypatch):
    """Make the cost NaN there."""

    def patch(step):
        def diverging(*arguments):
            cost, gradients = by_hand(*arguments)
            return cost * (torch.nan if next(steps) == step else 1), gradients

        steps = itertools.count()
        monkeypatch.setitem(GRADIENTS, "manual", diverging)

    by_hand = GRADIENTS["manual"]
    yield patch
    monkeypatch.undo()


def test_a_run_that_diverged_leaves_its_chart_until_the_next_of_its_name(tmp_path, nan_at_step):
    nan_at_step(7)
    with pytest.raises(DivergedError):
        train(tmp_path, name="mine", gradient="manual")
    assert files(tmp_path / "mine") == ["events"]
    nan_at_step(None)
    result = train(tmp_path, name="mine", epochs=1)
    assert files(result.directory) == ["checkpoint", "events", "model"]
    assert set(read(result.directory).steps("cost/train")) == {0, 1, 4, result.steps}


def test_a_run_that_diverges_before_it_was_looked_at_leaves_nothing(tmp_path, nan_at_step):
    nan_at_step(0)
    with pytest.raises(DivergedError, match="at step 0"):
        train(tmp_path, name="mine", gradient="manual")
    assert list(tmp_path.iterdir()) == []


def test_a_number_is_not_given_twice_while_its_chart_is_there(tmp_path, nan_at_step):
    nan_at_step(7)
    with pytest.raises(DivergedError):
        train(tmp_path, gradient="manual")
    nan_at_step(None)
    assert train(tmp_path, epochs=1).directory.name == "breast-cancer-2"


@pytest.mark.parametrize("error", [RuntimeError("no such kernel"), MemoryError()], ids=repr)
def test_a_run_that_ends_with_an_error_loses_nothing(tmp_path, monkeypatch, error):
    def failing(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(conclusion, "save", failing)
        with pytest.raises(type(error)):
            train(tmp_path, name="mine", epochs=1)
    assert files(tmp_path / "mine") == ["checkpoint", "events"]
    with pytest.raises(FileExistsError, match=r"go on with it \(--resume mine\), choose another"):
        train(tmp_path, name="mine", epochs=1)
    result = bp.train(resume="mine", runs=tmp_path)
    assert result.steps == 15
    assert files(result.directory) == ["checkpoint", "events", "model"]


def test_a_model_that_its_folder_has_no_room_for_is_saved_elsewhere(tmp_path, monkeypatch):
    def full(model, path):
        if path.parent == tmp_path / "mine":
            raise OSError(28, "No space left on device", str(path))
        save(model, path)

    save = conclusion.save
    monkeypatch.setattr(conclusion, "save", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = train(tmp_path, name="mine", epochs=1)
    assert result.path.parent == tmp_path
    assert bp.load(result.path).module.weight.isfinite().all()
    assert result.notes[0].startswith("the model could not be saved there: [Errno 28] No space")
    assert result.notes[1] == f"it is saved in {result.path} instead"


def test_a_model_that_nothing_has_room_for_is_in_the_result(tmp_path, monkeypatch):
    def full(model, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(conclusion, "save", full)
    result = train(tmp_path, epochs=1)
    assert result.path is None
    assert result.model(torch.zeros(1, 30)).isfinite().all()


@pytest.mark.parametrize("records", [5, 12])
def test_a_log_that_fills_the_disk_stops_the_run_and_takes_nothing_with_it(
    tmp_path, monkeypatch, records
):
    def full(file, event):
        if next(written) >= records:
            raise OSError(28, "No space left on device")
        write(file, event)

    written, write = itertools.count(), EventFile._write
    with monkeypatch.context() as patched:
        patched.setattr(EventFile, "_write", full)
        result = train(tmp_path, epochs=20, check_every=0, log_every=2, checkpoint_every=6)
    assert bp.load(result.path).module.weight.isfinite().all()
    assert result.steps < 20 * 15
    why, way_on = result.trouble
    assert why.startswith("the log for TensorBoard ends early: [Errno 28] No space left")
    if result.checkpoint is None:
        assert "before its first checkpoint, and is to be begun again" in way_on
    else:
        assert way_on == f"the run has stopped, and can go on from {result.checkpoint}"
        whole = train(tmp_path, epochs=20, check_every=0, log_every=2, name="whole")
        again = bp.train(resume=result.directory.name, runs=tmp_path)
        assert torch.equal(again.model.module.weight, whole.model.module.weight)
        tag = "cost/train"
        assert read(again.directory).scalar(tag) == read(whole.directory).scalar(tag)


@pytest.mark.parametrize("records", [0, 1])
def test_a_disk_that_is_full_from_the_start_is_named_and_the_name_stays_free(
    tmp_path, monkeypatch, records
):
    def full(file, record):
        if next(written) >= records:
            raise OSError(28, "No space left on device")

    written = itertools.count()
    with monkeypatch.context() as patched:
        patched.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*tfevents"):
            train(tmp_path, name="mine")
    assert train(tmp_path, name="mine", epochs=1).path.exists()


def test_data_that_cannot_be_learnt_from_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="the column 'a' has no value in row 2"):
        bp.train(pd.DataFrame({"a": [1, np.nan], "y": [0, 1]}), target="y", runs=tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


@needs_cuda
def test_a_gpu_learns_what_the_cpu_learns(tmp_path):
    cpu, gpu = (
        bp.load(train(tmp_path, device=device, dtype="float64", epochs=5).path).module
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(gpu.weight, cpu.weight, rtol=1e-9, atol=1e-12)
