"""One run: from a configuration to a finished record, continued where it stood."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import safetensors.torch

from corrinit._atomic import replacing
from corrinit.errors import ConfigError, CorrInitWarning, RecordError, UnreadableError
from corrinit.lab.data.dataset import Dataset, hold_out, load, set_apart
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import EVERYTHING, Observation
from corrinit.lab.runs import record as records
from corrinit.lab.runs.layers import write_layers
from corrinit.lab.runs.observed import check_needs, write_correct
from corrinit.lab.runs.record import Metrics, RunRecord
from corrinit.lab.training.isolation import isolated
from corrinit.lab.training.loop import Training


def run(
    config: RunConfig,
    runs: Path,
    *,
    checkpoint_every: int = 5,
    keep_weights: bool = False,
    needs: Collection[str] = (),
    reserve: Collection[int] = (),
    observation: Observation = EVERYTHING,
    study: str | None = None,
    wait: bool = False,
    on_epoch: Callable[[Metrics], object] | None = None,
) -> RunRecord:
    """Make one run, or continue it where it stood, or return it if it is finished.

    A run whose loss becomes NaN or infinite ends with that epoch, and is recorded as diverged.

    Args:
        config: what to run.
        runs: the folder of all runs.
        checkpoint_every: epochs between checkpoints: what an interruption costs at most.
        keep_weights: keep the trained weights in the record, as `weights.safetensors`.
        needs: endpoints (`corrinit.lab.runs.observed`) that the record is to have: a finished one that lacks
            any is made again. A run that is made has them all.
        reserve: numbers of training images that a study sets apart: they do not count among the unused ones.
        observation: on how many images it is scored, and how often, if it is made.
        study: hash of the study that it is made for, which the record then tells.
        wait: if another process is working on the run, wait for it.
        on_epoch: called with the metrics of each epoch as it ends.

    Raises:
        ConfigError: if there is no such network, method, data set or endpoint, `checkpoint_every` is not
            positive, or the factory of the model does not build it anew.
        DataError: if the data cannot be read.
        RunBusyError: if another process is working on the run, and `wait` is not set.
        CorrInitError: if a file of the record can be neither written nor, though it is there, read.
    """
    if checkpoint_every < 1:
        raise ConfigError(f"checkpoint_every is {checkpoint_every}; it is a number of epochs, at least 1")
    check_needs(needs)
    finished = partial(
        records.finished_run, runs, config, with_weights=keep_weights, needs=needs, reserve=reserve
    )
    if (record := finished()) is not None:
        return record
    with isolated(config.seed):
        dataset = set_apart(_dataset(config), reserve)
        training = Training(config, dataset, observation=observation)
        with records.claimed(runs, config, wait=wait) as path:
            if (record := finished()) is not None:
                return record
            records.start(path, config)
            checkpoint = path / records.CHECKPOINT
            if os.path.lexists(checkpoint):
                try:
                    training.restore(checkpoint)
                except UnreadableError:  # it may be sound, so it is left for the next attempt
                    raise
                except RecordError as error:
                    warnings.warn(f"{error.message}; the run starts anew", CorrInitWarning, stacklevel=2)
                    training = Training(config, dataset, observation=observation)
            while training.epoch < config.epochs and not training.diverged:
                metrics = training.run_epoch()
                if training.epoch % checkpoint_every == 0:
                    records.write_metrics(path, training.metrics)
                    training.save(checkpoint)
                if on_epoch is not None:
                    on_epoch(metrics)
            if keep_weights:
                with replacing(path / records.WEIGHTS) as file:
                    file.write(safetensors.torch.save(training.weights()))
            endpoints, correct = training.endpoints()
            write_correct(path, correct)
            if training.watch is not None:
                write_layers(path, training.watch.history())
            records.write_metrics(path, training.metrics)
            made_for = {} if study is None else {"study": study}
            records.finish(path, training.updates_so_far(), training.result() | endpoints | made_for)
            return records.read_run(path)


def _dataset(config: RunConfig) -> Dataset:
    drawn_by = config.seed if config.resample else 0
    dataset = load(config.data, train_subset=config.train_subset, seed=drawn_by)
    return hold_out(dataset) if config.tested_on == "held_out" else dataset
