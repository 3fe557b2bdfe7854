"""Watching layers: it tells what is there, and the training goes on as if nobody looked."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from corrinit._estimation import estimate_layers
from corrinit.errors import CorrInitWarning, RecordError
from corrinit.lab.data.dataset import load
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.experiment.observation import Observation
from corrinit.lab.runs.layers import FILE, read_layers
from corrinit.lab.runs.record import CHECKPOINT
from corrinit.lab.training.initialized import initialized_model
from corrinit.lab.training.loop import Training
from corrinit.lab.training.run import run

CONFIG = RunConfig(
    train_subset=256,
    width=0.25,
    initialization=Initialization("kaiming_normal"),
    epochs=3,
    batch_size=64,
    dropout=0.2,
)
RESNET = replace(CONFIG, model="resnet10", width=0.125)
LAYERS = Observation(layers=True)


@pytest.fixture(scope="module")
def digits():
    return load("digits", train_subset=256)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A run whose layers are watched, and its weights."""
    return run(CONFIG, tmp_path_factory.mktemp("runs"), observation=LAYERS, keep_weights=True)


@pytest.mark.parametrize("config", [CONFIG, RESNET], ids=["plain", "residual"])
def test_looking_at_layers_changes_nothing_in_the_training(config, digits):
    looked, plain = (Training(config, digits, observation=each) for each in (LAYERS, Observation()))
    for training in (looked, plain):
        training.run_epoch()
        training.run_epoch()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(looked.model.state_dict()[name], value), name
    assert looked.metrics[-1]["sign_changes"] == plain.metrics[-1]["sign_changes"]


def test_the_last_look_is_at_the_trained_weights(watched):
    history, estimates = watched.layers(), estimate_layers(watched.path / "weights.safetensors", (3, 3))
    assert list(history.names) == [layer.name for layer in estimates.layers]
    for number, layer in enumerate(estimates.layers):
        found = history.layer(-1, number)
        np.testing.assert_allclose(found.matrix, layer.correlation.matrix, atol=1e-5)
        np.testing.assert_allclose(found.deviations, layer.correlation.deviations, atol=1e-5)
    assert history.pooled[-1].mean() == pytest.approx(estimates.pooled().mean, abs=1e-5)


def test_the_first_look_is_at_the_start(watched):
    history = watched.layers()
    assert len(history.start) == CONFIG.epochs + 1
    np.testing.assert_allclose(history.start[0], 1)
    assert np.isnan(history.learned[0]).all()
    assert np.isnan(history.gradient[0]).all()
    assert np.isfinite(history.gradient[1:]).all()


def test_the_share_of_the_start_is_what_a_projection_leaves(watched, digits):
    start = initialized_model(CONFIG, digits).state_dict()
    trained = estimate_weights(watched)
    for number, name in enumerate(watched.layers().names):
        now, first = trained[name].flatten().double(), start[name].flatten().double()
        cosine = torch.dot(now, first) / (now.norm() * first.norm())
        assert watched.layers().start[-1, number] == pytest.approx(cosine.item() ** 2, rel=1e-5)


def estimate_weights(record):
    from safetensors.torch import load_file

    return load_file(record.path / "weights.safetensors")


def test_sign_changes_on_the_probe_are_those_of_one_batch(watched):
    changes = watched.layers().probe_sign_changes
    assert np.isnan(changes[0])
    assert ((changes[1:] > 0) & (changes[1:] < watched.curve("sign_changes"))).all()


def test_a_block_that_adds_nothing_passes_its_input_on(digits):
    training = Training(replace(RESNET, dropout=0), digits, observation=LAYERS)
    block = training.watch.blocks["stages.0"]
    with torch.no_grad():
        block.residual[2][1].weight.zero_()
    training.watch.look({})
    history = training.watch.history()
    number = list(history.blocks).index("stages.0")
    assert history.block_correlation[0, number] < 0.99
    assert history.block_correlation[1, number] == pytest.approx(1, abs=1e-5)


def test_a_run_that_goes_on_has_looked_as_often_as_an_undisturbed_one(tmp_path, watched):
    def stop(metrics):
        if metrics["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, tmp_path, observation=LAYERS, checkpoint_every=1, on_epoch=stop)
    assert (tmp_path / CONFIG.run_id / CHECKPOINT).exists()
    gone_on = run(CONFIG, tmp_path, observation=LAYERS)
    assert (gone_on.path / FILE).read_bytes() == (watched.path / FILE).read_bytes()


def test_a_finished_run_is_made_again_only_if_its_layers_are_needed(tmp_path):
    config = replace(CONFIG, epochs=1)
    first = run(config, tmp_path)
    assert first.layers() is None
    assert run(config, tmp_path, observation=LAYERS).result.finished == first.result.finished
    assert run(config, tmp_path, observation=LAYERS, needs=("layers",)).layers() is not None


def test_a_checkpoint_without_looks_does_not_fit_a_run_that_has_them(tmp_path):
    def stop(metrics):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(replace(CONFIG, epochs=2), tmp_path, checkpoint_every=1, on_epoch=stop)
    with pytest.warns(CorrInitWarning, match="starts anew"):
        record = run(replace(CONFIG, epochs=2), tmp_path, observation=LAYERS)
    assert len(record.layers().start) == 3


def test_a_damaged_file_of_layers_is_refused(tmp_path, watched):
    data = bytearray((watched.path / FILE).read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / FILE).write_bytes(bytes(data))
    with pytest.raises(RecordError, match="damaged"):
        read_layers(tmp_path)


@pytest.mark.parametrize("change", [{"start": np.zeros(2)}, {"other": np.zeros(2)}])
def test_a_file_that_holds_something_else_is_refused(tmp_path, watched, change):
    history = watched.layers()
    arrays = {field.name: getattr(history, field.name) for field in fields(history)}
    with (tmp_path / FILE).open("wb") as file:
        np.savez(file, **arrays)
    assert read_layers(tmp_path) is not None
    with (tmp_path / FILE).open("wb") as file:
        np.savez(file, **(arrays | change))
    with pytest.raises(RecordError, match="does not hold the layers of a run"):
        read_layers(tmp_path)
