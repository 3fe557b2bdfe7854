"""The curves of a sweep for TensorBoard, written by its own library while the runs go on."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corrinit.errors import MissingLibraryError, WriteError
from corrinit.lab.experiment.arm import label
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.record import Metrics

GROUPS = {"train_": "train/", "test_": "test/"}
"""Beginnings of names, and the charts that TensorBoard puts them together in."""


class TensorBoard:
    """A folder of event files, one sub-folder for each run: `tensorboard --logdir DIRECTORY` shows them.

    It has the epochs that are trained now; those of finished runs are in the run records.

    Args:
        directory: where to write.

    Raises:
        MissingLibraryError: if TensorBoard is not installed.
    """

    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:  # torch's module asks for its own version of TensorBoard as well
            raise MissingLibraryError(
                "--tensorboard needs TensorBoard: pip install 'corrinit[tensorboard]'"
            ) from error
        self._open = SummaryWriter
        self.directory = directory
        self.writers: dict[str, Any] = {}

    def epoch(self, config: RunConfig, metrics: Metrics) -> None:
        """Write the metrics of an epoch; with the last one of a run, its file is closed."""
        writer = self.writers.get(config.run_id)
        try:
            if writer is None:
                writer = self._open(str(self.directory / run_folder(config)))
                self.writers[config.run_id] = writer
            for name, value in charts(metrics).items():
                writer.add_scalar(name, value, int(metrics["epoch"]))
            writer.flush()
        except OSError as error:
            raise WriteError(f"{self.directory} cannot be written: {error.strerror or error}") from error
        if metrics["epoch"] == config.epochs or not math.isfinite(metrics["train_loss"]):
            self.writers.pop(config.run_id).close()


def run_folder(config: RunConfig) -> str:
    """A name for the curves of a run that sorts by arm and is no other run's.

    >>> run_folder(RunConfig(seed=3)).rpartition("_")[0]
    'correlated_seed_3'
    """
    return re.sub(r"\W+", "_", f"{label(config.initialization)}_seed_{config.seed}_{config.run_id[:8]}")


def charts(metrics: Metrics) -> Mapping[str, float]:
    """The metrics of an epoch by the names of their charts.

    >>> charts({"epoch": 1, "train_loss": 2.3, "test_accuracy": 0.1, "seconds": 3.0})
    {'train/loss': 2.3, 'test/accuracy': 0.1, 'seconds': 3.0}
    """
    found = {}
    for name, value in metrics.items():
        if name == "epoch":
            continue
        for start, group in GROUPS.items():
            name = name.replace(start, group, 1) if name.startswith(start) else name
        found[name] = float(value)
    return found
