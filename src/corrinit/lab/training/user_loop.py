"""Runs of a training loop that is not ours: a model per method and seed, built, initialized, handed over."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from corrinit._factory import fingerprint
from corrinit._layers.contents import content_digest
from corrinit._planning import initialize
from corrinit.errors import ConflictError, TrainingFunctionError
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.identity import protocol_of
from corrinit.lab.experiment.setting import USER_LOOP, Setting
from corrinit.lab.runs import record as records
from corrinit.lab.runs.environment import describe
from corrinit.lab.runs.record import RunRecord
from corrinit.lab.training.isolation import Lineage, isolated, reseed
from corrinit.methods import needs_images

TrainFn: TypeAlias = Callable[[nn.Module, int], Any]
Metrics: TypeAlias = Mapping[str, tuple[float, ...]]
"""Values after each epoch by the name of the metric; the last is the final one."""

UNNAMED = "result"
"""What a number is called that comes without a name."""


@dataclass(frozen=True)
class UserLoop:
    """How the runs of a training loop of the user's own are made, into ordinary run records.

    Args:
        train_fn: function that trains a model, given the seed; returns a number, or numbers or curves by
            metric.
        build: function that makes a model; the same one each time under the same global random state.
        images: training images for methods that look at data.
        folder: folder where finished runs are kept and found again.
    """

    train_fn: TrainFn
    build: Callable[[], nn.Module]
    images: Tensor | None
    folder: Path | None
    lineage: Lineage = field(default_factory=Lineage, init=False)

    def setting(self, seed: int) -> Setting:
        """What all runs share, as far as it can be known: the model, and not the code of `train_fn`.

        Raises:
            ConfigError: if `build` makes no module.
        """
        with isolated(seed):
            return Setting(data=USER_LOOP, model="user_model", architecture=fingerprint(self._built()))

    def run(self, config: RunConfig) -> tuple[RunRecord, bool]:
        """One run, and whether it was kept from an earlier call.

        The model is built, and then trained, with the global random states of Python, numpy and torch set by
        the seed. Afterwards they and the global switches of torch are as they were.

        Raises:
            ConfigError: if `build` makes no module, or `train_fn` returns something else than numbers; if the
                model of an earlier run is trained on.
        """
        digest = self._digest(config.initialization)
        if self.folder is not None:
            kept = records.finished_run(self.folder, config)
            if kept is not None and kept.result.get("images") == digest:
                return kept, True
        with isolated(config.seed):
            model = self._built()
            self.lineage.add(model)
            self._initialize(model, config)
            reseed(config.seed)
            begun = time.perf_counter()
            metrics = read_metrics(self.train_fn(model, config.seed))
            seconds = time.perf_counter() - begun
        self.lineage.check_earlier()
        self.lineage.trained(model)
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        result = {"images": digest, "seconds": seconds, "finished": finished, **describe()}
        rows = _rows(metrics)
        if self.folder is None:
            return RunRecord(Path(config.run_id), config, rows, result, protocol_of(config)), False
        with records.claimed(self.folder, config, wait=True) as path:
            records.start(path, config)
            records.write_metrics(path, rows)
            records.finish(path, {}, result)
            return records.read_run(path), False

    def initialized(self, initialization: Initialization, seed: int) -> nn.Module:
        """The model of a run as `train_fn` gets it.

        Raises:
            ConfigError: if `build` makes no module.
        """
        with isolated(seed):
            model = self._built()
            self._initialize(model, RunConfig(initialization=initialization, seed=seed))
        return model

    def _built(self) -> nn.Module:
        model = self.build()
        if not isinstance(model, nn.Module):
            raise TrainingFunctionError(f"model made {type(model).__name__}; it returns a torch.nn.Module")
        return model

    def _initialize(self, model: nn.Module, config: RunConfig) -> None:
        initialize(model, seed=config.seed, images=self.images, **config.initialization.options)

    def _digest(self, initialization: Initialization) -> str | None:
        """Of the images, for methods that look at them."""
        if self.images is None or not any(needs_images(*part) for part in initialization.parts):
            return None
        return hashlib.sha256(self.images.cpu().float().numpy().tobytes()).hexdigest()


def _rows(metrics: Metrics) -> tuple[dict[str, float], ...]:
    """A row per epoch, in which shorter curves are aligned with the end of the longest."""
    epochs = max(map(len, metrics.values()))
    return tuple(
        {"epoch": epoch + 1}
        | {
            name: curve[epoch - epochs + len(curve)]
            for name, curve in metrics.items()
            if epoch >= epochs - len(curve)
        }
        for epoch in range(epochs)
    )


def require_different_weights(models: Iterable[tuple[str, Callable[[], nn.Module]]]) -> None:
    """Check that initializations of one model and one seed leave different weights.

    Args:
        models: by the name of the initialization, what makes the model.

    Raises:
        ConfigError: naming two that leave the same.
    """
    seen: dict[tuple[str, ...], str] = {}
    for name, make in models:
        state = make().state_dict()
        twin = seen.setdefault(tuple(map(content_digest, state.values())), name)
        if twin != name:
            raise ConflictError(
                f"initialization {name} left the weights as those of {twin}: 0 of {len(state)} tensors "
                "differ, so there is nothing to compare; leave one of them out, or see with corrinit plan "
                "why layers are kept"
            )


def read_metrics(returned: Any) -> dict[str, tuple[float, ...]]:
    """What `train_fn` returned, as curves by metric.

    >>> read_metrics({"accuracy": [0.5, 0.75], "loss": 1})
    {'accuracy': (0.5, 0.75), 'loss': (1.0,)}

    Raises:
        ConfigError: if it is no number, sequence of numbers, or mapping to either.
    """
    named = returned if isinstance(returned, Mapping) else {UNNAMED: returned}
    if not named:
        raise TrainingFunctionError("train_fn returned no metric; it returns at least one number")
    if "epoch" in named:
        raise TrainingFunctionError(
            "train_fn returned a metric 'epoch', by which records number them; rename it"
        )
    return {str(name): _curve(value, str(name)) for name, value in named.items()}


def choose_metric(metrics: Metrics, wanted: str | None) -> str:
    """The name under which the metric to compare is found among those of a run.

    Args:
        metrics: of one run.
        wanted: its name, which a number without a name takes; by default the only one, or `"accuracy"`.

    Raises:
        ConfigError: if it is not there, or not clear.
    """
    if list(metrics) == [UNNAMED] or (wanted is None and len(metrics) == 1):
        return next(iter(metrics))
    there = ", ".join(metrics)
    if wanted is None and "accuracy" not in metrics:
        raise TrainingFunctionError(f"train_fn returned the metrics {there}; choose one with metric=")
    if wanted is not None and wanted not in metrics:
        raise TrainingFunctionError(f"train_fn returned no metric {wanted!r}; there are {there}")
    return wanted or "accuracy"


def _curve(value: Any, name: str) -> tuple[float, ...]:
    plain = value.tolist() if hasattr(value, "tolist") else value
    try:
        curve = (float(plain),) if isinstance(plain, Real) else tuple(float(each) for each in plain)
    except (TypeError, ValueError) as error:
        raise TrainingFunctionError(
            f"train_fn returned {type(value).__name__} for {name}; it returns a number, or one per epoch"
        ) from error
    if not curve:
        raise TrainingFunctionError(f"train_fn returned no value for {name}; a curve has one for each epoch")
    return curve
