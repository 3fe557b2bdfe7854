"""How long runs take on this machine: from those recorded on it, else from an update that is timed.

A run is its updates and the images that it scores. All runs of a network, whatever their arm and seed, have
updates of one length; scoring an image takes about 0.3 of the time that training on it takes
(`benchmarks/bench_training.py`). What no run is recorded of takes as long for a multiplication as what there
is; only where there is nothing, or a network is the user's, an update is timed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import TypeAlias

import torch
from torch import Tensor, nn

from corrinit._factory import is_factory
from corrinit.lab.data.dataset import Dataset, load
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.experiment.observation import EVERYTHING, Observation
from corrinit.lab.networks.catalog import build
from corrinit.lab.runs import environment
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.training.isolation import isolated, seeded
from corrinit.lab.training.loop import Training

SCORING = 0.3
"""Time to score an image, over the time to train on it."""

Work: TypeAlias = RunConfig
"""A configuration stripped to what decides how long an update takes."""


def durations(
    configs: Iterable[RunConfig],
    records: Iterable[RunRecord] = (),
    *,
    observation: Observation = EVERYTHING,
    threads: int = 1,
) -> dict[RunConfig, float]:
    """Seconds that each run takes by itself.

    Args:
        configs: the runs.
        records: finished ones, of which those count that this processor made with as many threads.
        observation: on how many images runs are scored, and how often.
        threads: of each run.

    Raises:
        DataError: if the data of a run cannot be read.
    """

    @cache
    def loaded(data: str, train_subset: int | None) -> Dataset:
        return load(data, train_subset=train_subset)

    seen: dict[Work, list[float]] = {}
    for record in records:
        if record.result.images_per_second and _made_here(record, threads):
            dataset = loaded(record.config.data, record.config.train_subset)
            batch = min(record.config.batch_size, len(dataset.train_images))
            seconds = batch / record.result.images_per_second
            seen.setdefault(_work(record.config, dataset), []).append(seconds)
    updates = {work: statistics.median(each) for work, each in seen.items()}
    found: dict[RunConfig, float] = {}
    rates = [s / _multiplications(work) for work, s in updates.items() if not is_factory(work.model)]
    for config in configs:
        dataset = loaded(config.data, config.train_subset)
        if (work := _work(config, dataset)) not in updates:
            if rates and not is_factory(work.model):
                updates[work] = statistics.median(rates) * _multiplications(work)
            else:
                updates[work] = _timed(work, dataset, threads)
        batch = min(config.batch_size, len(dataset.train_images))
        trained = config.epochs * (len(dataset.train_images) // batch)
        scored = SCORING * images_scored(config, dataset, observation) / batch
        found[config] = updates[work] * (trained + scored)
    return found


def images_scored(config: RunConfig, dataset: Dataset, observation: Observation = EVERYTHING) -> int:
    """How many images a run scores, those that it scores repeatedly as often as it does.

    >>> images_scored(RunConfig(epochs=10), load("digits"))  # 360 after each epoch, and of averaged weights
    3949
    """
    test, unused = len(dataset.test_images), len(dataset.unused or ())
    epochs = sum(observation.scores(epoch, config.epochs) for epoch in range(1, config.epochs + 1))
    by_epoch = epochs * min(observation.test_images or test, test)
    last = test if observation.test_images is not None else 0
    return by_epoch + last + test + 2 * min(observation.unused_images or unused, unused)


def _work(config: RunConfig, dataset: Dataset) -> Work:
    """Data count by the shape of their images alone."""
    shape = "×".join(str(length) for length in dataset.train_images.shape[1:])
    return replace(
        config,
        data=shape,
        train_subset=None,
        resample=False,
        initialization=Initialization("kaiming_normal", "he"),
        epochs=1,
        lr=RunConfig.lr,
        l2=0.0,
        seed=0,
    )


def _multiplications(work: Work) -> float:
    """Multiplications by weights in an update of a network of ours, up to a factor that all have."""
    channels, height, width = map(int, work.data.split("×"))
    with seeded(0):
        model = build(
            work.model,
            classes=10,
            in_channels=channels,
            image_size=(height, width),
            width=work.width,
            batch_norm=False,  # it multiplies by no weights
            denoises=work.noise > 0,
        )
        images = torch.zeros(1, channels, height, width)
    found = 0

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal found
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        found += output.numel() * module.weight.numel() // len(module.weight)

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        model(images)
    return found * work.batch_size


def _made_here(record: RunRecord, threads: int) -> bool:
    """Whether a run was made by this processor, with as many threads."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    here = (environment.describe()["hardware"], threads, device)
    return here == (record.result.hardware, record.result.threads, record.result.device)


def _timed(work: Work, dataset: Dataset, threads: int) -> float:
    """Seconds of an update: the median of those made in a second, at least three, after one not timed."""
    with isolated(work.seed):
        torch.set_num_threads(threads)
        training = Training(work, dataset)
        images, targets = next(training.batches())
        training.model.train()
        seconds: list[float] = []
        while len(seconds) < 4 or sum(seconds) < 1:
            started = time.perf_counter()
            _, loss = training.step(images, targets)
            loss.item()  # waits for the device
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds[1:])


def total(seconds: Mapping[RunConfig, float], *, jobs: int = 1) -> float:
    """Seconds that runs take together, so many at a time."""
    return sum(seconds.values()) / jobs
