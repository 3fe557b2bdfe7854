"""The training of one network, epoch by epoch.

SGD with momentum and a constant learning rate, cross-entropy, no augmentation (Section 6.1 of the paper). All
images live on the device as bytes and are standardized batch by batch. Their order depends on the seed and
the epoch alone: runs of one seed are paired, and a run continued from its checkpoint ends with the weights of
an undisturbed one, bit for bit, on the same machine with the same number of threads. The images left over
after the last full batch of an epoch sit it out. Beside the last weights, their exponential average is kept,
and both are scored at the end; that changes nothing in the training.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from corrinit.errors import CorrInitWarning, WeightsError
from corrinit.lab import environment
from corrinit.lab.averaging import WeightAverage
from corrinit.lab.checkpoint import read_checkpoint, require_fit, write_checkpoint
from corrinit.lab.config import RunConfig
from corrinit.lab.data import Dataset
from corrinit.lab.endpoints import ENDPOINTS, averaging_window, reserve_name
from corrinit.lab.initialized import channel_moments, initialized_model
from corrinit.lab.isolation import seeded
from corrinit.lab.record_fields import Metrics
from corrinit.monitor import GradientMonitor, weight_correlation
from corrinit.seeding import layer_generator

EVALUATION_BATCH = 1000


@dataclass(frozen=True, eq=False)
class Score:
    """How a model does on some images.

    Args:
        loss: mean cross-entropy.
        correct: for each image, was it right? bool, shape (N,).
    """

    loss: float
    correct: Tensor

    @property
    def accuracy(self) -> float:
        """Share of the images that it is right about."""
        return self.correct.sum().item() / len(self.correct)


class Training:
    """A model on its way through the epochs of a configuration, on the GPU if there is one.

    Args:
        config: what to run.
        dataset: its data.
        monitored: watch the gradients, and the correlation of the weights.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, *, monitored: bool = True) -> None:
        self.config = config
        self.dataset = dataset
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.images = torch.tensor(dataset.train_images, device=self.device)
        self.labels = torch.tensor(dataset.train_labels, device=self.device)
        self.test_images = torch.tensor(dataset.test_images, device=self.device)
        self.test_labels = torch.tensor(dataset.test_labels, device=self.device)
        self.mean, self.std = channel_moments(self.images)
        self.model = initialized_model(config, dataset).to(self.device)
        self.model.to(memory_format=self.layout)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), config.lr, momentum=config.momentum, weight_decay=config.l2
        )
        self.monitor = GradientMonitor(self.model, self.optimizer) if monitored else None
        self.window = averaging_window(config.epochs * self.updates_per_epoch)
        self.average = WeightAverage(self.model, self.window)
        self.metrics: list[Metrics] = []
        self.updates: list[dict[str, Tensor]] = []
        self.correct = torch.zeros(len(self.test_labels), dtype=torch.bool)

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
        of training alone.
        """
        with self._repeatable(f"epoch {self.epoch}, in the model"):
            started = time.perf_counter()
            metrics = {"epoch": self.epoch + 1, **self.train_once()}
            seconds = time.perf_counter() - started
            score = self.evaluate()
        self.correct = score.correct.cpu()
        metrics |= {"test_loss": score.loss, "test_accuracy": score.accuracy, "seconds": seconds}
        self.metrics.append(metrics)
        return metrics

    def train_once(self) -> dict[str, float]:
        """One pass over the training images; nothing waits for the device before its end."""
        self.model.train()
        losses, hits = [], []
        for images, labels in self.batches():
            scores, loss = self.step(images, labels)
            losses.append(loss.detach())
            hits.append((scores.detach().argmax(1) == labels).float().mean())
        metrics = {
            "train_loss": torch.stack(losses).mean().item(),
            "train_accuracy": torch.stack(hits).mean().item(),
        }
        return metrics if self.monitor is None else metrics | self._read_monitor(self.monitor)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of the coming epoch: standardized images (B, C, H, W) and labels (B,)."""
        count = len(self.images)
        size = min(self.config.batch_size, count)
        order = torch.randperm(count, generator=layer_generator(self.config.seed, f"epoch {self.epoch}"))
        for chosen in order[: count - count % size].to(self.device).split(size):
            yield self._standardized(self.images.index_select(0, chosen)), self.labels[chosen]

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One update; returns the scores (B, classes) and the loss before it."""
        with self._precision():
            scores = self.model(images)
            loss = cross_entropy(scores, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.average.update()
        return scores, loss

    def evaluate(self) -> Score:
        """The score on all test images."""
        images, labels = self.test_images.split(EVALUATION_BATCH), self.test_labels.split(EVALUATION_BATCH)
        return self._score(zip(images, labels, strict=True))

    def evaluate_unused(self) -> Score | None:
        """The score on the unused images; None if there are none."""
        if not (unused := self.dataset.unused):
            return None
        return self._score(
            (torch.tensor(images, device=self.device), torch.tensor(labels, device=self.device))
            for images, labels in unused.batches(EVALUATION_BATCH)
        )

    def endpoints(self) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """What is observed at the end: `ENDPOINTS` by name, and the test images that were right, by weights.

        The unused images are gone through twice, once for each kind of weights. Scoring an image costs a
        quarter to a third of training on one (`benchmarks/bench_training.py`): 45,000 unused ones beside
        5,000 cost about five epochs, a data set without a subset next to nothing. A run that diverged has no
        weights worth it: its endpoints are NaN, but for the accuracy of its last epoch.
        """
        if self.diverged:
            return dict.fromkeys(ENDPOINTS[1:], math.nan), {}
        with self._repeatable("endpoints"):
            scores = {"unused": self.evaluate_unused()}
            with self.average.applied():
                averaged = self.evaluate()
                scores |= {"averaged_test": averaged, "averaged_unused": self.evaluate_unused()}
        found = {"test_loss": self.metrics[-1]["test_loss"]}
        for name, score in scores.items():
            if score is not None:
                found |= {f"{name}_accuracy": score.accuracy, f"{name}_loss": score.loss}
        return found, {"last": self.correct.numpy(), "averaged": averaged.correct.cpu().numpy()}

    @torch.no_grad()
    def _score(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Score:
        self.model.eval()
        losses, hits = [], []
        for images, labels in batches:
            with self._precision():
                scores = self.model(self._standardized(images))
            losses.append(cross_entropy(scores.float(), labels, reduction="sum"))
            hits.append(scores.argmax(1) == labels)
        correct = torch.cat(hits)
        return Score(torch.stack(losses).sum().item() / len(correct), correct)

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
        metrics = require_fit(
            state, self._state(), parameters=parameters, epochs=self.config.epochs, path=path
        )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        if self.monitor is not None:
            self.monitor.load_state_dict(state["monitor"])
        self.metrics, self.updates = metrics, state["updates"]
        self.correct = state["correct"].cpu()

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
        unused = self.dataset.unused
        return {
            "test_accuracy": self.metrics[-1]["test_accuracy"],
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
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "device": torch.cuda.get_device_name() if cuda else "CPU",
            "threads": torch.get_num_threads(),
            **environment.describe(),
        }

    def _read_monitor(self, monitor: GradientMonitor) -> dict[str, float]:
        seen = monitor.read()
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

    def _standardized(self, images: Tensor) -> Tensor:
        return images.float().sub_(self.mean).div_(self.std).contiguous(memory_format=self.layout)

    @contextmanager
    def _repeatable(self, purpose: str) -> Iterator[None]:
        """What the model itself draws, as dropout does, depends on the seed of the run and this alone."""
        drawn = seeded(layer_generator(self.config.seed, purpose).initial_seed())
        with torch.backends.cudnn.flags(enabled=True, deterministic=True), drawn:
            yield

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")


def _mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan
