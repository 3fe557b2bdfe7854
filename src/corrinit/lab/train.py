"""One training run: from a configuration to a finished record.

SGD with momentum and a constant learning rate, cross-entropy, no augmentation (Section 6.1 of the paper). All
images live on the device as bytes and are standardized batch by batch. Their order depends on the seed and
the epoch alone: runs of one seed are paired, and a run continued from its checkpoint ends with the weights of
an undisturbed one. The images left over after the last full batch of an epoch sit it out.
"""

from __future__ import annotations

import io
import math
import pickle
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from corrinit import methods
from corrinit.atomic import replacing
from corrinit.correlation_io import load_correlation
from corrinit.lab import environment, records
from corrinit.lab.config import RunConfig, to_dict
from corrinit.lab.data import Dataset, load
from corrinit.lab.models import build
from corrinit.lab.records import Metrics, RecordError, RunRecord
from corrinit.monitor import GradientMonitor, weight_correlation
from corrinit.seeding import layer_generator

_EVALUATION_BATCH = 1000


def train(
    config: RunConfig,
    runs: Path,
    *,
    checkpoint_every: int = 1,
    on_epoch: Callable[[Metrics], object] | None = None,
) -> RunRecord:
    """Make one run, or continue it where it stood, or return it if it is finished.

    Args:
        config: what to run.
        runs: the folder of all runs.
        checkpoint_every: epochs between checkpoints.
        on_epoch: called with the metrics of each epoch as it ends.

    Raises:
        RunBusyError: if another process is working on the run.
    """
    with records.claimed(runs, config) as path:
        if (finished := records.finished_run(runs, config)) is not None:
            return finished
        records.write_json(path / "config.json", to_dict(config))
        training = Training(config, load(config.data, train_subset=config.train_subset))
        checkpoint = path / "checkpoint.pt"
        if checkpoint.exists():
            training.restore(checkpoint)
        while training.epoch < config.epochs and not training.diverged:
            metrics = training.run_epoch()
            if training.epoch % checkpoint_every == 0:
                training.save(checkpoint)
            records.write_metrics(path, training.metrics)
            if on_epoch is not None:
                on_epoch(metrics)
        records.write_updates(
            path, {name: torch.cat(parts).numpy() for name, parts in training.updates.items()}
        )
        records.write_json(path / "result.json", training.result())
        checkpoint.unlink(missing_ok=True)
        return records.read_run(path)


class Training:
    """A model on its way through the epochs of a configuration.

    Args:
        config: what to run.
        dataset: its data.
        monitored: watch the gradients and the correlation of the weights.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, *, monitored: bool = True) -> None:
        self.config = config
        self.dataset = dataset
        self.monitored = monitored
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.images, self.labels = self._on_device(dataset.train_images, dataset.train_labels)
        self.mean, self.std = channel_moments(self.images)
        self.model = initialized_model(config, dataset).to(self.device, memory_format=self.layout)  # pyright: ignore
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), config.lr, momentum=config.momentum, weight_decay=config.l2
        )
        self.monitor = GradientMonitor(self.model, self.optimizer)
        if not monitored:
            self.monitor.remove()
        self.metrics: list[Metrics] = []
        self.updates: dict[str, list[Tensor]] = {
            "sign_changes": [],
            "gradient_mean_abs": [],
            "gradient_l2": [],
        }

    @property
    def epoch(self) -> int:
        """Number of epochs done."""
        return len(self.metrics)

    @property
    def diverged(self) -> bool:
        """Whether the loss has become NaN or infinite."""
        return bool(self.metrics) and not math.isfinite(self.metrics[-1]["train_loss"])

    def run_epoch(self) -> Metrics:
        """Train on all images once, then test; returns the metrics of the epoch."""
        started = time.perf_counter()
        losses, correct, seen = [], [], 0
        self.model.train()
        for images, labels in self.batches():
            scores, loss = self.step(images, labels)
            losses.append(loss.detach())
            correct.append((scores.argmax(1) == labels).sum())
            seen += len(labels)
        metrics: dict[str, float] = {
            "epoch": self.epoch + 1,
            "train_loss": torch.stack(losses).mean().item(),
            "train_accuracy": torch.stack(correct).sum().item() / seen,
        }
        trained = time.perf_counter()
        metrics["images_per_second"] = seen / (trained - started)
        metrics |= self.evaluate()
        if self.monitored:
            metrics |= self._read_monitor(finite=math.isfinite(metrics["train_loss"]))
        metrics["seconds"] = time.perf_counter() - started
        self.metrics.append(metrics)
        return metrics

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of the coming epoch: images (B, C, H, W) in float32, and labels (B,)."""
        count = len(self.images)
        size = min(self.config.batch_size, count)
        order = torch.randperm(count, generator=layer_generator(self.config.seed, f"epoch {self.epoch}"))
        for chosen in order.to(self.device).split(size):
            if len(chosen) == size:
                yield self._standardized(self.images[chosen]), self.labels[chosen]

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One update; returns the scores (B, classes) and the loss before it."""
        with self._precision():
            scores = self.model(images)
            loss = cross_entropy(scores, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return scores, loss

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Loss and accuracy on all test images."""
        images, labels = self._on_device(self.dataset.test_images, self.dataset.test_labels)
        self.model.eval()
        loss, correct = 0.0, 0
        for chosen in torch.arange(len(labels), device=self.device).split(_EVALUATION_BATCH):
            with self._precision():
                scores = self.model(self._standardized(images[chosen]))
                loss += cross_entropy(scores, labels[chosen], reduction="sum").item()
            correct += int((scores.argmax(1) == labels[chosen]).sum())
        return {"test_loss": loss / len(labels), "test_accuracy": correct / len(labels)}

    def save(self, path: Path) -> None:
        """Write a checkpoint, replacing the one before."""
        buffer = io.BytesIO()
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "signs": self.monitor.state(),
            "metrics": self.metrics,
            "updates": self.updates,
        }
        torch.save(state, buffer)
        with replacing(path) as file:
            file.write(buffer.getbuffer())

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            RecordError: if it cannot be read.
        """
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise RecordError(f"{path} cannot be read: {error}; delete it to start the run anew") from error
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.monitor.restore(state["signs"])
        self.metrics, self.updates = state["metrics"], state["updates"]

    def result(self) -> dict[str, Any]:
        """What came out, and what it was made with."""
        cuda = self.device.type == "cuda"
        return {
            "test_accuracy": self.metrics[-1]["test_accuracy"],
            "diverged": self.diverged,
            "epochs": self.epoch,
            "seconds": sum(row["seconds"] for row in self.metrics),
            "images_per_second": float(np.median([row["images_per_second"] for row in self.metrics])),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "data": self.dataset.provenance,
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if cuda else "CPU",
            **environment.describe(),
        }

    def _read_monitor(self, *, finite: bool) -> dict[str, float]:
        seen = self.monitor.read()
        totals = {
            "sign_changes": seen.total_sign_changes,
            "gradient_mean_abs": seen.total_mean_abs,
            "gradient_l2": seen.total_l2,
        }
        for name, values in totals.items():
            self.updates[name].append(torch.from_numpy(values).float())
        means = {name: float(np.mean(values[~np.isnan(values)])) for name, values in totals.items()}
        return {**means, "weight_correlation": weight_correlation(self.model) if finite else math.nan}

    def _on_device(self, images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.tensor(images, device=self.device), torch.tensor(labels, device=self.device)

    def _standardized(self, images: Tensor) -> Tensor:
        return ((images.float() - self.mean) / self.std).contiguous(memory_format=self.layout)

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16", cache_enabled=True
        )


def initialized_model(config: RunConfig, dataset: Dataset) -> nn.Module:
    """The model of a run with the weights it starts from."""
    _, channels, height, width = dataset.train_images.shape
    model = build(
        config.model,
        classes=len(dataset.classes),
        in_channels=channels,
        image_size=(height, width),
        width=config.width,
        batch_norm=config.batch_norm,
    )
    chosen = config.initialization
    correlation = None if chosen.correlation == "default" else load_correlation(Path(chosen.correlation))
    methods.initialize(
        model,
        chosen.method,
        seed=config.seed,
        correlation=correlation,
        strength=chosen.strength,
        scale=chosen.scale,
    )
    return model


def channel_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of uint8 images (N, C, H, W), both of shape (C, 1, 1)."""
    levels = torch.arange(256, dtype=torch.float64, device=images.device)
    counts = torch.stack([torch.bincount(c.reshape(-1), minlength=256) for c in images.unbind(1)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(1)
    std = variance.sqrt().where(variance > 0, torch.ones_like(variance))
    return mean.float().view(-1, 1, 1), std.float().view(-1, 1, 1)
