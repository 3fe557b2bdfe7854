"""What came out of a run, as a value: its endpoints, and the facts about how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from corrinit.errors import RecordError
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.runs.fields import Kind, check
from corrinit.lab.runs.observed import ENDPOINTS, PSNR, endpoints_of


@dataclass(frozen=True)
class RunResult:
    """What `result.json` tells. Facts that a version of the time did not record are None.

    Args:
        endpoints: by name (`corrinit.lab.runs.observed`), as measured; NaN where there was nothing finite.
        diverged: whether the loss became NaN or infinite, and the run ended with that.
        seconds: of training alone.
        images_per_second: in training.
        epochs: that were trained.
        parameters: of the network.
        averaging_window: updates over which weights were averaged.
        test_images_by_epoch: images that were scored after an epoch.
        test_every: epochs between two scores.
        unused_images: how many labelled images that the run was not trained on were scored.
        available_images: of the training set which the run's subset was drawn from.
        reserve: name of the set of images that a study had set apart; None for none.
        study: hash of the study that the run was made for (`corrinit.lab.comparison.study`); None for none.
        images: digest of the images that a method looked at, in a training loop of the user's own.
        data: source and digest.
        version: of corrinit.
        commit: of its source tree.
        python: version.
        torch: version.
        hardware: processor and system.
        device: that trained.
        threads: of torch.
        finished: date and time, ISO 8601.
        others: fields that this version does not know.
    """

    endpoints: Mapping[str, float] = field(default_factory=dict)
    diverged: bool = False
    seconds: float | None = None
    images_per_second: float | None = None
    epochs: int | None = None
    parameters: int | None = None
    averaging_window: float | None = None
    test_images_by_epoch: int | None = None
    test_every: int | None = None
    unused_images: int | None = None
    available_images: int | None = None
    reserve: str | None = None
    study: str | None = None
    images: str | None = None
    data: str | None = None
    version: str | None = None
    commit: str | None = None
    python: str | None = None
    torch: str | None = None
    hardware: str | None = None
    device: str | None = None
    threads: int | None = None
    finished: str | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, recorded: Mapping[str, Any]) -> RunResult:
        """The result that holds such fields, as `result.json` names them.

        >>> RunResult.of({"test_accuracy": 0.5, "test_loss": None, "seconds": 2.0}).endpoints
        {'test_accuracy': 0.5, 'test_loss': nan}
        """
        known = {name: recorded[name] for name in FACTS if recorded.get(name) is not None}
        endpoints = {
            name: math.nan if recorded[name] is None else float(recorded[name])
            for name in (*ENDPOINTS, *PSNR)
            if name in recorded
        }
        others = {name: value for name, value in recorded.items() if name not in (*FACTS, *endpoints)}
        return cls(endpoints=endpoints, others=others, **known)

    def row(self) -> dict[str, Any]:
        """All that was recorded in one level, by the names of `result.json`."""
        facts = {name: value for name in FACTS if (value := getattr(self, name)) is not None}
        return {**self.endpoints, **facts, **self.others}


FACTS: dict[str, Kind] = {
    **dict.fromkeys(("seconds", "images_per_second", "averaging_window"), "amount"),
    **dict.fromkeys(("epochs", "parameters", "threads", "test_images_by_epoch", "test_every"), "count"),
    **dict.fromkeys(("unused_images", "available_images"), "count"),
    **dict.fromkeys(("reserve", "study", "images", "data", "version", "commit"), "text"),
    **dict.fromkeys(("python", "torch", "hardware", "device", "finished"), "text"),
    "diverged": "truth value",
}
"""What each field of a result other than its endpoints may hold."""

assert FACTS.keys() == {each.name for each in fields(RunResult)} - {"endpoints", "others"}


def checked_result(recorded: Mapping[str, Any], config: RunConfig, file: Path) -> RunResult:
    """A result as it was recorded, each value checked; fields that are not known hold single values.

    Raises:
        RecordError: naming the file and the field.
    """
    if not config.is_user_loop and (main := endpoints_of(config)[0]) not in recorded:
        raise RecordError(f"{file} is damaged: it has no {main}")
    for name, value in recorded.items():
        check(value, _kind(name), f"{file} is damaged: {name}")
    return RunResult.of(recorded)


def _kind(name: str) -> Kind:
    if name in (*ENDPOINTS, *PSNR):
        return "share" if name.endswith("accuracy") else "number"
    return FACTS.get(name, "single value")
