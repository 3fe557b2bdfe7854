"""Runs of a training loop that is not ours: a model per method and seed, built, initialized, handed over."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor, nn

from corrinit._atomic import replacing
from corrinit._factory import fingerprint
from corrinit._layers.contents import content_digest
from corrinit._planning import initialize
from corrinit._reading import RecordError, parse_object, read_text
from corrinit.errors import ConfigError, CorrInitWarning
from corrinit.lab.experiment.arm import Initialization
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.experiment.identity import frozen_arm, protocol_of
from corrinit.lab.training.isolation import Lineage, isolated, reseed
from corrinit.methods import needs_images

TrainFn: TypeAlias = Callable[[nn.Module, int], Any]
Metrics: TypeAlias = Mapping[str, tuple[float, ...]]
"""Values after each epoch by the name of the metric; the last is the final one."""

UNNAMED = "result"
"""What a number is called that comes without a name."""


@dataclass(frozen=True)
class OwnLoop:
    """How the runs of a comparison are made.

    Args:
        train_fn: trains a model, given the seed; returns a number, or numbers or curves by metric.
        build: makes a model; the same one each time under the same global random state.
        images: for methods that look at data.
        folder: where finished runs are kept and found again.
    """

    train_fn: TrainFn
    build: Callable[[], nn.Module]
    images: Tensor | None
    folder: Path | None
    lineage: Lineage = field(default_factory=Lineage, init=False)

    def run(self, initialization: Initialization, seed: int) -> tuple[Metrics, bool]:
        """The metrics of one run, and whether they were kept from an earlier call.

        The model is built, and then trained, with the global random states of Python, numpy and torch set by
        the seed. Afterwards they and the global switches of torch are as they were.

        Raises:
            ConfigError: if `build` makes no module, or `train_fn` returns something else than numbers; if the
                model of an earlier run is trained on.
        """
        with isolated(seed):
            model = self._built()
            file = self._file(model, initialization, seed)
            if file is not None and (kept := _read(file)) is not None:
                return kept, True
            self.lineage.add(model)
            self._initialize(model, initialization, seed)
            reseed(seed)
            metrics = read_metrics(self.train_fn(model, seed))
        self.lineage.check_earlier()
        self.lineage.trained(model)
        if file is not None:
            _write(file, initialization, seed, metrics)
        return metrics, False

    def initialized(self, initialization: Initialization, seed: int) -> nn.Module:
        """The model of a run as `train_fn` gets it.

        Raises:
            ConfigError: if `build` makes no module.
        """
        with isolated(seed):
            model = self._built()
            self._initialize(model, initialization, seed)
        return model

    def architecture(self, seed: int) -> str:
        """The `corrinit._factory.fingerprint` of the model."""
        with isolated(seed):
            return fingerprint(self._built())

    def _built(self) -> nn.Module:
        model = self.build()
        if not isinstance(model, nn.Module):
            raise ConfigError(f"model made {type(model).__name__}; it returns a torch.nn.Module")
        return model

    def _initialize(self, model: nn.Module, initialization: Initialization, seed: int) -> None:
        initialize(model, seed=seed, images=self.images, **initialization.options)

    def _file(self, model: nn.Module, initialization: Initialization, seed: int) -> Path | None:
        """Named by what decides the result, as far as it can be known: the code of `train_fn` cannot."""
        if self.folder is None:
            return None
        identity: list[object] = [frozen_arm(initialization), seed, fingerprint(model)]
        # What changed since the first protocol may have changed how weights are drawn.
        if (protocol := protocol_of(RunConfig(initialization=initialization))) > 1:
            identity.append(protocol)
        if self.images is not None and needs_images(initialization.method, initialization.scale):
            identity.append(hashlib.sha256(self.images.cpu().float().numpy().tobytes()).hexdigest())
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        return self.folder / f"{digest}.json"


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
            raise ConfigError(
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
        raise ConfigError("train_fn returned no metric; it returns at least one number")
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
        raise ConfigError(f"train_fn returned the metrics {there}; choose one with metric=")
    if wanted is not None and wanted not in metrics:
        raise ConfigError(f"train_fn returned no metric {wanted!r}; there are {there}")
    return wanted or "accuracy"


def _curve(value: Any, name: str) -> tuple[float, ...]:
    plain = value.tolist() if hasattr(value, "tolist") else value
    try:
        curve = (float(plain),) if isinstance(plain, Real) else tuple(float(each) for each in plain)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"train_fn returned {type(value).__name__} for {name}; it returns a number, or one per epoch"
        ) from error
    if not curve:
        raise ConfigError(f"train_fn returned no value for {name}; a curve has one for each epoch")
    return curve


def _read(file: Path) -> Metrics | None:
    """Metrics that were kept; a damaged file is warned of and counts as missing."""
    if not os.path.lexists(file):
        return None
    try:
        metrics = parse_object(read_text(file), file).get("metrics")
        if not isinstance(metrics, dict) or not all(map(_is_curve, metrics.values())) or not metrics:
            raise RecordError(f"{file} is damaged: it does not hold a number for each epoch")
    except RecordError as error:
        warnings.warn(f"{error}; the run is made again", CorrInitWarning, stacklevel=2)
        return None
    return {
        name: tuple(math.nan if value is None else float(value) for value in curve)
        for name, curve in metrics.items()
    }


def _is_curve(values: object) -> bool:
    """Whether values are what `_write` keeps: floats, and null for what is not finite."""
    return (
        isinstance(values, list)
        and values != []
        and all(value is None or (type(value) is float and math.isfinite(value)) for value in values)
    )


def _write(file: Path, initialization: Initialization, seed: int, metrics: Metrics) -> None:
    curves = {
        name: [value if math.isfinite(value) else None for value in curve] for name, curve in metrics.items()
    }
    record = {"initialization": initialization.spec, "seed": seed, "metrics": curves}
    with replacing(file) as opened:
        opened.write((json.dumps(record, indent=2) + "\n").encode())
