"""The training of one network, epoch by epoch.

By default SGD with momentum and a constant learning rate, cross-entropy, no augmentation (Section 6.1 of the
paper). All images live on the device as bytes and are standardized batch by batch. Their order, and how they
are changed at random, depend on the seed and the epoch alone: runs of one seed are paired, and a run
continued from its checkpoint ends with the weights of an undisturbed one, bit for bit, on the same machine
with the same number of threads. The images left over after the last full batch of an epoch sit it out. Beside
the last weights, their exponential average is kept, and both are scored at the end; neither that nor how
often a run is scored (`corrinit.lab.experiment.observation`) changes anything in the training.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from corrinit._monitor import GradientHistory, GradientMonitor, weight_correlation
from corrinit._seeding import layer_generator
from corrinit.errors import CorrInitWarning, WeightsError
from corrinit.lab.data.dataset import Dataset, Unused
from corrinit.lab.data.source import stratified_sample
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.observation import EVERYTHING, Observation
from corrinit.lab.experiment.schedule import rate_factor
from corrinit.lab.runs import environment
from corrinit.lab.runs.fields import Metrics
from corrinit.lab.runs.observed import endpoints_of, reserve_name
from corrinit.lab.training.augmentation import CropFlip
from corrinit.lab.training.averaging import WeightAverage, averaging_window
from corrinit.lab.training.checkpoint import read_checkpoint, require_fit, write_checkpoint
from corrinit.lab.training.initialized import channel_moments, initialized_model
from corrinit.lab.training.isolation import seeded
from corrinit.lab.training.layers import LayerWatch, gradient_norms
from corrinit.lab.training.tasks import Classification, Denoising, Task
from corrinit.lab.training.temperature import scaled_loss

EVALUATION_BATCH = 1000
ADAMW_BETA_2 = 0.999
ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Score:
    """How a model does on some images.

    Args:
        loss: mean over the images.
        images: what each is judged by, such as whether the model is right about it, shape (N,).
        scaled_loss: the mean cross-entropy at the best temperature; None of networks that name no class, and
            of images whose scores were not kept.
    """

    loss: float
    images: Tensor
    scaled_loss: float | None = None

    @property
    def mean(self) -> float:
        """The accuracy, or the mean PSNR in decibels."""
        return self.images.double().sum().item() / len(self.images)


class Training:
    """A model on its way through the epochs of a configuration, on the GPU if there is one.

    Args:
        config: what to run.
        dataset: its data.
        monitored: watch the gradients, and the correlation of the weights.
        observation: on how many images it is scored, and how often.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        *,
        monitored: bool = True,
        observation: Observation = EVERYTHING,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.observation = observation
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.images = torch.tensor(dataset.train_images, device=self.device)
        self.labels = torch.tensor(dataset.train_labels, device=self.device)
        self.test_images = torch.tensor(dataset.test_images, device=self.device)
        self.test_labels = torch.tensor(dataset.test_labels, device=self.device)
        self.mean, self.std = channel_moments(self.images)
        self.model = initialized_model(config, dataset).to(self.device)
        self.model.to(memory_format=self.layout)  # pyright: ignore[reportCallIssue]
        self.task: Task = (
            Denoising(self.mean, self.std, config.noise)
            if config.noise
            else Classification(self.mean, self.std)
        )
        self.optimizer = self._optimizer()
        self.monitor = GradientMonitor(self.model, self.optimizer) if monitored else None
        self.watch = self._watch() if observation.layers else None
        self.window = averaging_window(config.epochs * self.updates_per_epoch)
        self.looked_at = _some(dataset.test_labels, observation.test_images)
        self.average = WeightAverage(self.model, self.window)
        self.metrics: list[Metrics] = []
        self.updates: list[dict[str, Tensor]] = []
        judged = torch.float32 if config.noise else torch.bool
        self.correct = torch.zeros(len(self.test_labels[self.looked_at]), dtype=judged)

    @property
    def epoch(self) -> int:
        """Number of epochs done."""
        return len(self.metrics)

    @property
    def updates_per_epoch(self) -> int:
        """Number of full batches."""
        return len(self.images) // min(self.config.batch_size, len(self.images))

    @property
    def diverged(self) -> bool:
        """Whether the loss has become NaN or infinite."""
        return bool(self.metrics) and not math.isfinite(self.metrics[-1]["train_loss"])

    def run_epoch(self) -> Metrics:
        """Train on all images once, then test; returns the metrics of the epoch.

        Loss and accuracy in training are means over the updates, each before its step. `seconds` are those
        of training alone. An epoch that the observation leaves out is not tested, unless training diverged:
        then it is the last one.
        """
        test = {}
        with self._repeatable(f"epoch {self.epoch}, in the model"):
            started = time.perf_counter()
            metrics = {"epoch": self.epoch + 1, **self.train_once()}
            seconds = time.perf_counter() - started
            looked = self.observation.scores(self.epoch + 1, self.config.epochs)
            if looked or not math.isfinite(metrics["train_loss"]):
                score = self.evaluate(self.looked_at)
                self.correct = score.images.cpu()
                test = {f"test_{name}": value for name, value in self._measures(score).items()}
        metrics |= {**test, "seconds": seconds}
        self.metrics.append(metrics)
        return metrics

    def train_once(self) -> dict[str, float]:
        """One pass over the training images; nothing waits for the device before its end."""
        self.model.train()
        losses, judged = [], []
        updates = self.config.epochs * self.updates_per_epoch
        for update, (inputs, targets) in enumerate(self.batches(), self.epoch * self.updates_per_epoch):
            factor = rate_factor(self.config.schedule, update, updates, warmup=self.config.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr * factor
            step = self.step if self.watch is None or losses else self.watch.probed(self.step)
            outputs, loss = step(inputs, targets)
            losses.append(loss.detach())
            judged.append(self.task.judge(outputs.detach(), targets).float().mean())
        metrics = {
            "train_loss": torch.stack(losses).mean().item(),
            f"train_{self.task.measure}": torch.stack(judged).mean().item(),
        }
        seen = None if self.monitor is None else self.monitor.read()
        if self.watch is not None:
            self.watch.look({} if seen is None else gradient_norms(seen))
        return metrics if seen is None else metrics | self._gradients(seen)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of the coming epoch: standardized images (B, C, H, W), and targets, as labels (B,)."""
        count = len(self.images)
        size = min(self.config.batch_size, count)
        order = torch.randperm(count, generator=self._drawn("order"))
        augment = None
        if self.config.augmentation == "crop_flip":
            augment = CropFlip(count, self._drawn("augmentation"), self.device)
        noise = self._drawn("noise")
        for chosen in order[: count - count % size].to(self.device).split(size):
            images = self.images.index_select(0, chosen)
            if augment is not None:
                images = augment(images, chosen)
            inputs, targets = self.task.pose(images, self.labels[chosen], noise)
            yield inputs.contiguous(memory_format=self.layout), targets

    def step(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """One update; returns the outputs, such as scores (B, classes), and the loss before it."""
        with self._precision():
            outputs = self.model(inputs)
            loss = self.task.loss(outputs, targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.average.update()
        return outputs, loss

    def evaluate(self, chosen: slice | NDArray[np.intp] = ALL) -> Score:
        """The score on the test images, or on those chosen by number."""
        images, labels = self.test_images[chosen], self.test_labels[chosen]
        batches = zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True)
        return self._score(batches, scaled=self.config.noise == 0)

    def evaluate_unused(self) -> Score | None:
        """The score on the unused images, as many as the observation is of; None if there are none."""
        if not (unused := self._unused()):
            return None
        return self._score(
            (torch.tensor(images, device=self.device), torch.tensor(labels, device=self.device))
            for images, labels in unused.batches(EVALUATION_BATCH)
        )

    def endpoints(self) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """What is observed at the end, by name, and the test images that were right, by weights.

        The unused images are gone through twice, once for each kind of weights. Scoring an image costs a
        quarter to a third of training on one (`benchmarks/bench_training.py`): 45,000 unused ones beside
        5,000 cost about five epochs, a data set without a subset next to nothing. A run that diverged has no
        weights worth it: its endpoints are NaN, but for the accuracy of its last epoch.
        """
        if self.diverged:
            return dict.fromkeys(endpoints_of(self.config)[1:], math.nan), {}
        with self._repeatable("endpoints"):
            scores = {"unused": self.evaluate_unused()}
            if len(self.correct) < len(self.test_labels):  # the last epoch was tested on a part of them
                scores["test"] = last = self.evaluate()
                self.correct = last.images.cpu()
            with self.average.applied():
                averaged = self.evaluate()
                scores |= {"averaged_test": averaged, "averaged_unused": self.evaluate_unused()}
        names = endpoints_of(self.config)[1:]
        found = {name: value for name, value in self.metrics[-1].items() if name in names}
        for images, score in scores.items():
            if score is not None:
                found |= {f"{images}_{name}": value for name, value in self._measures(score).items()}
        if self.correct.dtype != torch.bool:
            return found, {}
        return found, {"last": self.correct.numpy(), "averaged": averaged.images.cpu().numpy()}

    def _measures(self, score: Score) -> dict[str, float]:
        measures = {"loss": score.loss, self.task.measure: score.mean}
        return measures if score.scaled_loss is None else measures | {"scaled_loss": score.scaled_loss}

    @torch.no_grad()
    def _score(self, batches: Iterable[tuple[Tensor, Tensor]], *, scaled: bool = False) -> Score:
        """The score on batches; with `scaled`, all scores are kept until the end, for the temperature."""
        self.model.eval()
        losses, judged, kept = [], [], []
        noise = torch.Generator().manual_seed(0)  # the same in every epoch and run
        for images, labels in batches:
            inputs, targets = self.task.pose(images, labels, noise)
            with self._precision():
                outputs = self.model(inputs.contiguous(memory_format=self.layout))
            losses.append(self.task.loss(outputs.float(), targets, "sum"))
            judged.append(self.task.judge(outputs, targets))
            if scaled:
                kept.append((outputs.float(), targets))
        each = torch.cat(judged)
        best = scaled_loss(*map(torch.cat, zip(*kept, strict=True))) if kept else None
        return Score(torch.stack(losses).sum().item() / len(each), each, best)

    def save(self, path: Path) -> None:
        """Write a checkpoint, replacing the one before."""
        write_checkpoint(path, self._state())

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint, of which nothing is taken before all of it is seen to fit.

        Raises:
            RecordError: if it is damaged, of an earlier version or of another run.
        """
        state = read_checkpoint(path, self.device)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        metrics = require_fit(state, self._state(), parameters=parameters, config=self.config, path=path)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        if self.monitor is not None:
            self.monitor.load_state_dict(state["monitor"])
        self.metrics, self.updates = metrics, state["updates"]
        self.correct = state["correct"].cpu()
        if self.watch is not None:
            self.watch.looks = state["layers"]

    def _state(self) -> dict[str, Any]:
        return {
            "run": self.config.run_id,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "monitor": self.monitor.state_dict() if self.monitor is not None else None,
            "metrics": self.metrics,
            "updates": self.updates,
            "correct": self.correct,
            **({} if self.watch is None else {"layers": self.watch.looks}),
        }

    def weights(self) -> dict[str, Tensor]:
        """The state of the model, contiguous, on the CPU."""
        return {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}

    def updates_so_far(self) -> dict[str, np.ndarray]:
        """What the monitor saw, in total per update."""
        names = self.updates[0] if self.updates else {}
        return {name: torch.cat([epoch[name] for epoch in self.updates]).numpy() for name in names}

    def result(self) -> dict[str, Any]:
        """What came out, and what it was made with."""
        seconds = sum(epoch["seconds"] for epoch in self.metrics)
        size = min(self.config.batch_size, len(self.images))
        images = self.epoch * self.updates_per_epoch * size
        cuda = self.device.type == "cuda"
        unused, measure = self._unused(), f"test_{self.task.measure}"
        return {
            measure: self.metrics[-1][measure],
            "test_images_by_epoch": len(self.test_labels[self.looked_at]),
            "test_every": self.observation.test_every,
            "averaging_window": self.window,
            "unused_images": 0 if unused is None else len(unused),
            "available_images": self.dataset.available,
            "reserve": None if unused is None else reserve_name(unused.reserved),
            "diverged": self.diverged,
            "epochs": self.epoch,
            "seconds": seconds,
            "images_per_second": images / seconds,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "data": self.dataset.provenance,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": torch.cuda.get_device_name() if cuda else "CPU",
            "threads": torch.get_num_threads(),
            **environment.describe(),
        }

    def _gradients(self, seen: GradientHistory) -> dict[str, float]:
        totals = {
            "sign_changes": seen.total_sign_changes,
            "gradient_mean_abs": seen.total_mean_abs,
            "gradient_l2": seen.total_l2,
        }
        self.updates.append({name: torch.from_numpy(values).float() for name, values in totals.items()})
        means = {name: _mean(values) for name, values in totals.items()}
        try:
            with warnings.catch_warnings():  # of taps that hardly vary: the mean is what is recorded
                warnings.simplefilter("ignore", CorrInitWarning)
                return {**means, "weight_correlation": weight_correlation(self.model)}
        except WeightsError:  # weights of a diverging run, or of layers too narrow to tell
            return {**means, "weight_correlation": math.nan}

    def _watch(self) -> LayerWatch:
        """Of the layers, with the first images of the training set as the batch that stays the same."""
        size = min(self.config.batch_size, len(self.images))
        noise = layer_generator(self.config.seed, "probe")
        inputs, targets = self.task.pose(self.images[:size], self.labels[:size], noise)
        probe = inputs.contiguous(memory_format=self.layout), targets
        return LayerWatch(self.model, probe, self.task.loss)

    def _optimizer(self) -> torch.optim.Optimizer:
        config, parameters = self.config, self.model.parameters()
        if config.optimizer == "adamw":
            betas = config.momentum, ADAMW_BETA_2
            return torch.optim.AdamW(parameters, config.lr, betas, weight_decay=config.weight_decay)
        return torch.optim.SGD(parameters, config.lr, momentum=config.momentum, weight_decay=config.l2)

    def _drawn(self, purpose: str) -> torch.Generator:
        """What draws for a purpose in the coming epoch: by the seed, the epoch and the purpose alone."""
        name = f"epoch {self.epoch}" if purpose == "order" else f"epoch {self.epoch}, {purpose}"
        return layer_generator(self.config.seed, name)

    def _unused(self) -> Unused | None:
        """The unused images that are looked at."""
        if (unused := self.dataset.unused) is None or self.observation.unused_images is None:
            return unused
        some = _some(unused.labels[unused.chosen], self.observation.unused_images)
        return replace(unused, chosen=unused.chosen[some])

    @contextmanager
    def _repeatable(self, purpose: str) -> Iterator[None]:
        """What the model itself draws, as dropout does, depends on the seed of the run and this alone."""
        drawn = seeded(layer_generator(self.config.seed, purpose).initial_seed())
        with torch.backends.cudnn.flags(enabled=True, deterministic=True), drawn:
            yield

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")


def _some(labels: NDArray[np.int64], count: int | None) -> slice | NDArray[np.intp]:
    """Which images are looked at: that many, in the proportions of the classes, the same in every run."""
    if count is None or count >= len(labels):
        return ALL
    return stratified_sample(labels, max(count, len(np.unique(labels))), seed=0)


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan
