"""Endpoints: what runs are compared by, each with a definition, a unit and a direction.

`DECLARED` has what is observed when a run ends (`corrinit.lab.runs.observed`), and what follows from that and
from the metrics by epoch. Whatever compares runs names one of these, or declares one of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum
from functools import partial

import numpy as np

from corrinit.errors import UnknownNameError
from corrinit.lab.document.numbers import POINTS, Unit
from corrinit.lab.runs.observed import ENDPOINTS, PSNR
from corrinit.lab.runs.record import RunRecord, Status
from corrinit.lab.statistics.contrast import MARGIN, Sample
from corrinit.lab.statistics.targets import crossing


class Direction(Enum):
    """Which way is better."""

    HIGHER = "higher is better"
    LOWER = "lower is better"
    NEITHER = "neither is better"


def _unknown(record: RunRecord) -> None:
    return None


@dataclass(frozen=True)
class Endpoint:
    """Something that runs are compared by.

    Args:
        name: by which it is asked for.
        label: what sentences and tables call it.
        definition: in words.
        unit: of differences.
        direction: which way is better.
        read: its value for a finished run: NaN or infinite where the run diverged, None where the record does
            not tell.
        curve: the same by epoch, to tell the time to a target by; None where there is none.
        margin: size up to which differences count as none in practice.
        paired: whether runs of a seed have so much in common in it that they are compared within seeds
            (`corrinit.lab.statistics.planning.pairing_ratio` of pilot runs).
        beside: how it is read beside the runs of the baseline, for one that depends on them.
    """

    name: str
    label: str
    definition: str
    unit: Unit
    direction: Direction
    read: Callable[[RunRecord], float | None]
    curve: Callable[[RunRecord], Sequence[float] | None] = _unknown
    margin: float = MARGIN
    paired: bool = False
    beside: Callable[[Sequence[RunRecord]], Callable[[RunRecord], float | None]] | None = None

    def given(self, baseline: Sequence[RunRecord]) -> Endpoint:
        """The endpoint in a setting, whose baseline has these finished runs."""
        return self if self.beside is None else replace(self, read=self.beside(baseline))

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better, as of an accuracy."""
        return self.direction is Direction.HIGHER

    def resolution(self, samples: Iterable[Sample]) -> float:
        """The step of the grid on which values of some conditions lie."""
        return self.unit.resolution([v for each in samples for v in each.values.values()] or [0.0])

    @property
    def is_accuracy(self) -> bool:
        """Whether values are accuracies in [0, 1]."""
        return self.unit == POINTS and self.higher_is_better


EPOCHS = Unit(name="epochs")
NATS = Unit(name="nats")
DECIBELS = Unit(name="dB")

LAST_EPOCHS = 5
EARLY_EPOCHS = 3
EARLY = 0.1
PLATEAU_SHARE = 0.95


def endpoint(name: str) -> Endpoint:
    """A declared endpoint.

    Raises:
        ConfigError: if there is none of that name.

    >>> endpoint("averaged_test_accuracy").direction.value
    'higher is better'
    """
    if name not in DECLARED:
        near = get_close_matches(name, DECLARED, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(DECLARED)}"
        raise UnknownNameError(f"{name!r} is no endpoint; {hint}")
    return DECLARED[name]


def _recorded(name: str) -> Endpoint:
    """An endpoint that a record holds under its name."""
    weights, images = (name.startswith("averaged_"), "unused" in name)
    measure = name.rpartition("unused_" if images else "test_")[2]
    what, unit, direction = {
        "accuracy": ("accuracy", POINTS, Direction.HIGHER),
        "psnr": ("mean PSNR", DECIBELS, Direction.HIGHER),
        "loss": ("mean loss", NATS, Direction.LOWER),
        "scaled_loss": ("mean cross-entropy at the best temperature", NATS, Direction.LOWER),
    }[measure]
    label = what + (" of averaged weights" if weights else "") + (" on unused images" if images else "")
    of = "averaged weights" if weights else "the last weights"
    on = "unused training images" if images else "test images"
    by_epoch = _by_epoch(name) if name == "test_accuracy" else _unknown

    def read(record: RunRecord) -> float | None:
        return record.endpoint(name)

    return Endpoint(name, label, f"{what} of {of} on {on}", unit, direction, read, by_epoch)


def _by_epoch(metric: str) -> Callable[[RunRecord], Sequence[float] | None]:
    return lambda record: record.curve(metric).tolist()


def _unlooked(name: str) -> Callable[[RunRecord], float | None]:
    """The accuracy of some weights on the test images and the unused ones together."""

    def read(record: RunRecord) -> float | None:
        test, unused = record.endpoint(f"{name}test_accuracy"), record.endpoint(f"{name}unused_accuracy")
        correct = record.correct()
        if test is None or unused is None or not (np.isfinite(test) and correct):
            return None if test is None or unused is None else float("nan")
        count, more = len(next(iter(correct.values()))), record.result.unused_images or 0
        return (count * test + more * unused) / (count + more)

    return read


def _mean(metric: str, chosen: slice) -> Callable[[RunRecord], float | None]:
    """The mean of a metric over some epochs."""

    def read(record: RunRecord) -> float | None:
        if record.status is Status.DIVERGED:
            return math.nan
        try:
            mean = float(np.mean(record.curve(metric)[chosen]))
        except KeyError:
            return None
        return mean if math.isfinite(mean) else None  # it was not measured

    return read


_mean_of_last_epochs = _mean("test_accuracy", slice(-LAST_EPOCHS, None))


def _epochs_to(record: RunRecord, target: float) -> float:
    """Epochs until the test accuracy is at a target, one more than all if it never is."""
    if record.status is Status.DIVERGED:
        return math.nan
    curve = record.curve("test_accuracy")
    reached = crossing(curve, target)
    return len(curve) + 1.0 if reached is None else reached


def _epochs_to_plateau(baseline: Sequence[RunRecord]) -> Callable[[RunRecord], float | None]:
    """Epochs to a share of the plateau of the baseline, the mean over all its runs.

    A target that the baseline reaches last of all, such as its best epoch, would be reached by it always, and
    by copies of it less often.
    """
    plateaus = [each for run in baseline if (each := _mean_of_last_epochs(run)) is not None]
    finite = [each for each in plateaus if math.isfinite(each)]
    return partial(_epochs_to, target=PLATEAU_SHARE * float(np.mean(finite))) if finite else _unknown


def _epochs_to_own(record: RunRecord) -> float | None:
    plateau = _mean_of_last_epochs(record)
    return None if plateau is None else _epochs_to(record, PLATEAU_SHARE * plateau)


def _early_sign_changes(record: RunRecord) -> float | None:
    return _mean("sign_changes", slice(max(1, round(EARLY * record.config.epochs))))(record)


DECLARED: Mapping[str, Endpoint] = {
    each.name: each
    for each in (
        *map(_recorded, (*ENDPOINTS, *PSNR)),
        *(
            Endpoint(
                f"{prefix}unlooked_accuracy",
                f"accuracy{of_weights} on all unused labelled images",
                f"accuracy of {weights} on test and unused training images together",
                POINTS,
                Direction.HIGHER,
                _unlooked(prefix),
            )
            for prefix, weights, of_weights in (
                ("", "the last weights", ""),
                ("averaged_", "averaged weights", " of averaged weights"),
            )
        ),
        Endpoint(
            "mean_test_accuracy",
            f"mean accuracy of the last {LAST_EPOCHS} epochs",
            f"test accuracy of the weights after each of the last {LAST_EPOCHS} epochs, mean",
            POINTS,
            Direction.HIGHER,
            _mean_of_last_epochs,
        ),
        Endpoint(
            "train_accuracy",
            "training accuracy",
            "accuracy on the batches of the last epoch, each before its update",
            POINTS,
            Direction.HIGHER,
            _mean("train_accuracy", slice(-1, None)),
        ),
        Endpoint(
            "train_accuracy_over_training",
            "training accuracy averaged over all epochs",
            "accuracy on the batches of an epoch, each before its update, mean over the epochs",
            POINTS,
            Direction.HIGHER,
            _mean("train_accuracy", slice(None)),
            paired=True,
        ),
        Endpoint(
            "epochs_to_plateau",
            f"epochs to {100 * PLATEAU_SHARE:g} % of the baseline's plateau",
            f"epochs until {100 * PLATEAU_SHARE:g} % of the mean test accuracy of the baseline over its last "
            f"{LAST_EPOCHS} epochs",
            EPOCHS,
            Direction.LOWER,
            _unknown,
            margin=0.0,
            paired=True,
            beside=_epochs_to_plateau,
        ),
        Endpoint(
            "epochs_to_own_plateau",
            f"epochs to {100 * PLATEAU_SHARE:g} % of the run's own plateau",
            f"epochs until {100 * PLATEAU_SHARE:g} % of the run's own mean test accuracy over the last "
            f"{LAST_EPOCHS} epochs",
            EPOCHS,
            Direction.LOWER,
            _epochs_to_own,
            margin=0.0,
            paired=True,
        ),
        Endpoint(
            "accuracy_over_training",
            "test accuracy averaged over all epochs",
            "test accuracy averaged over the epochs: the area under its curve, over the number of epochs",
            POINTS,
            Direction.HIGHER,
            _mean("test_accuracy", slice(None)),
            paired=True,
        ),
        Endpoint(
            "early_sign_changes",
            "sign changes in the first tenth of the epochs",
            "share of gradients that change sign from one update to the next, mean over the first tenth of "
            "the epochs, at least one",
            POINTS,
            Direction.NEITHER,
            _early_sign_changes,
            paired=True,
        ),
        Endpoint(
            "sign_changes",
            "sign changes over all epochs",
            "share of gradients that change sign from one update to the next, mean over all epochs",
            POINTS,
            Direction.NEITHER,
            _mean("sign_changes", slice(None)),
            paired=True,
        ),
        Endpoint(
            "early_gradient_mean_abs",
            f"mean absolute gradient in the first {EARLY_EPOCHS} epochs",
            f"mean absolute gradient in the first {EARLY_EPOCHS} epochs",
            Unit(1000.0, "thousandths"),
            Direction.NEITHER,
            _mean("gradient_mean_abs", slice(EARLY_EPOCHS)),
            margin=0.0,
            paired=True,
        ),
        Endpoint(
            "weight_correlation",
            "correlation of the weights",
            "mean correlation of the taps of the weights after the last epoch",
            Unit(100.0, "hundredths", limit=1.0),
            Direction.NEITHER,
            _mean("weight_correlation", slice(-1, None)),
        ),
    )
}
"""By name."""

TEST_ACCURACY = DECLARED["test_accuracy"]
"""The paper's endpoint: test accuracy after the last epoch."""
