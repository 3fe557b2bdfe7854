"""Endpoints: what runs are compared by, each with a definition, a unit and a direction.

`ENDPOINTS` are observed when a run ends, and recorded by name. Each of them is a loss or an accuracy of some
weights on some images. The weights are those after the last update, or their exponential average over the
last updates (`corrinit.lab.training.averaging`). The images are those that the run is tested on, or the
unused ones: labelled images of the training set that it neither trained on nor was tested on. An endpoint is
only observed, so it is no part of a run's identity. `DECLARED` has them and what follows from them and from
the metrics by epoch; whatever compares runs names one of these.

`result.json` holds each under its name, null where the run diverged; a name that is missing was not recorded.
Beside them it has `averaging_window` (in updates), `unused_images` (how many were scored), `available_images`
(that of the training set which a subset was drawn from), `reserve`, and what the scores by epoch are of:
`test_images_by_epoch` and `test_every` (`corrinit.lab.experiment.observation`). `correct.npz` has a bit per
test image.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corrinit._atomic import replacing
from corrinit._reading import read_arrays
from corrinit.errors import NoRunsError, RecordError, UnknownNameError
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.statistics.targets import epochs_to

if TYPE_CHECKING:
    from corrinit.lab.runs.record import RunRecord

ENDPOINTS = (
    *("test_accuracy", "test_loss", "averaged_test_accuracy", "averaged_test_loss"),
    *("unused_accuracy", "unused_loss", "averaged_unused_accuracy", "averaged_unused_loss"),
    *("test_scaled_loss", "averaged_test_scaled_loss"),
)

PSNR = tuple(name.replace("accuracy", "psnr") for name in ENDPOINTS if name.endswith("accuracy"))
"""In place of the accuracies, of networks that denoise: mean PSNR over the images, in decibels."""

CORRECT = "correct"
"""Can be asked for like an endpoint: for each test image, was it right?"""

LAYERS = "layers"
"""Likewise: what its layers were like after every epoch (`corrinit.lab.runs.layers`)."""

LONGEST_WINDOW = 50.0
"""Updates over which weights are averaged, in a run that is long enough: a decay of 0.98 an update."""

SHORTEST_RUN = 7.0
"""Windows that a run has at least."""


def averaging_window(updates: int) -> float:
    """The window w of the average in updates: 50, but at most a seventh of the run, and at least 1.

    The decay is 1 − 1/w an update. The weights that the run started from keep a share of (1 − 1/w)^updates,
    below e^(−updates/w): with at least seven windows, that is less than 0.1 %.

    >>> [averaging_window(updates) for updates in (3, 70, 350, 7800)]
    [1.0, 10.0, 50.0, 50.0]
    """
    return max(1.0, min(LONGEST_WINDOW, updates / SHORTEST_RUN))


def endpoints_of(config: RunConfig) -> tuple[str, ...]:
    """The endpoints that a run has, its accuracy first: a network that denoises has a PSNR in its place."""
    if not config.noise:
        return ENDPOINTS
    return tuple(name.replace("accuracy", "psnr") for name in ENDPOINTS if "scaled" not in name)


def check_needs(needs: Collection[str]) -> None:
    """Refuse endpoints that do not exist.

    Raises:
        ConfigError: naming the first, and those that do.
    """
    for name in needs:
        if name not in (known := (*ENDPOINTS, *PSNR, CORRECT, LAYERS)):
            raise UnknownNameError(f"{name!r} is no endpoint; there are {', '.join(known)}")


def reserve_name(reserve: Collection[int]) -> str | None:
    """A name for a set of images, by their numbers; None for none.

    >>> reserve_name([3, 5]) == reserve_name((5, 3, 3)) != reserve_name([3])
    True
    """
    numbers = np.unique(np.asarray([*reserve], np.int64))
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:16] if numbers.size else None


FILE = "correct.npz"


def write_correct(path: Path, correct: Mapping[str, NDArray[np.bool_]]) -> None:
    """Keep in the folder of a run, for each kind of weights, which test images it was right about.

    Nothing is kept of a run that has none.
    """
    if not correct:
        return
    count = len(next(iter(correct.values())))
    buffer = io.BytesIO()
    packed: dict[str, Any] = {name: np.packbits(right) for name, right in correct.items()}
    np.savez_compressed(buffer, images=np.array(count), **packed)
    with replacing(path / FILE) as file:
        file.write(buffer.getvalue())


def read_correct(path: Path) -> dict[str, NDArray[np.bool_]] | None:
    """What `write_correct` kept, by kind of weights; None if nothing was.

    Raises:
        RecordError: if it cannot be read, or is damaged.
    """
    file = path / FILE
    if not file.exists():
        return None
    arrays = read_arrays(file)
    images = arrays.pop("images", np.empty(0))
    count = int(images) if images.shape == () and images.dtype == np.int64 else -1
    if any(bits.shape != (-(-count // 8),) or bits.dtype != np.uint8 for bits in arrays.values()):
        raise RecordError(f"{file} is damaged: it does not hold a bit for each test image")
    return {name: np.unpackbits(bits, count=count).astype(bool) for name, bits in arrays.items()}


class Direction(Enum):
    """Which way is better."""

    HIGHER = "higher is better"
    LOWER = "lower is better"
    NEITHER = "neither is better"


@dataclass(frozen=True)
class Endpoint:
    """Something that runs are compared by.

    Args:
        name: by which it is asked for.
        definition: in words.
        unit: of its values; accuracies are shares, and their differences are written as points.
        direction: which way is better.
        read: its value for a finished run: NaN where the run diverged or never got there, None where the
            record does not tell.
    """

    name: str
    definition: str
    unit: str
    direction: Direction
    read: Callable[[RunRecord], float | None]


LAST_EPOCHS = 5
EARLY_EPOCHS = 3
PLATEAU_SHARE = 0.95


def epochs_to_share(share: float, baseline: Iterable[RunRecord]) -> Endpoint:
    """Time to accuracy: the epochs until a run reaches a fixed share of the plateau of the baseline.

    The plateau is the mean accuracy of the last epochs over all runs of the baseline. A target that the
    baseline itself reaches last of all, such as its best epoch, would be reached by it always and by copies
    of it less often.

    Args:
        share: of the plateau.
        baseline: its finished runs in the setting.

    Raises:
        ConfigError: if there are none.
    """
    plateaus = [_mean_of_last_epochs(record) for record in baseline]
    finite = [each for each in plateaus if each is not None and np.isfinite(each)]
    if not finite:
        raise NoRunsError("the baseline has no finished runs, so there is no plateau to reach a share of")
    target = share * float(np.mean(finite))
    return Endpoint(
        "epochs_to_baseline",
        f"first epoch with {100 * share:g} % of the mean accuracy of the baseline in its last {LAST_EPOCHS}",
        "epochs",
        Direction.LOWER,
        lambda record: _epochs_to(record, target),
    )


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
        "accuracy": ("accuracy", "share", Direction.HIGHER),
        "psnr": ("mean PSNR", "decibels", Direction.HIGHER),
        "loss": ("mean loss", "nats", Direction.LOWER),
        "scaled_loss": (
            "mean cross-entropy at the best temperature",
            "nats",
            Direction.LOWER,
        ),
    }[measure]
    of = "averaged weights" if weights else "the last weights"
    on = "unused training images" if images else "test images"
    return Endpoint(name, f"{what} of {of} on {on}", unit, direction, lambda record: record.endpoint(name))


def _unlooked(name: str) -> Callable[[RunRecord], float | None]:
    """The accuracy of some weights on the test images and the unused ones together."""

    def read(record: RunRecord) -> float | None:
        test, unused = record.endpoint(f"{name}test_accuracy"), record.endpoint(f"{name}unused_accuracy")
        correct = record.correct()
        if test is None or unused is None or not (np.isfinite(test) and correct):
            return None if test is None or unused is None else float("nan")
        count, more = len(next(iter(correct.values()))), record.result["unused_images"]
        return (count * test + more * unused) / (count + more)

    return read


def _curve(record: RunRecord, metric: str, chosen: slice) -> float | None:
    if record.result.get("diverged"):
        return float("nan")
    try:
        return float(np.mean(record.curve(metric)[chosen]))
    except KeyError:
        return None


def _mean_of_last_epochs(record: RunRecord) -> float | None:
    return _curve(record, "test_accuracy", slice(-LAST_EPOCHS, None))


def _epochs_to(record: RunRecord, target: float) -> float | None:
    if record.result.get("diverged"):
        return float("nan")
    epoch = epochs_to(record.curve("test_accuracy").tolist(), target)
    return float("nan") if epoch is None else float(epoch)


def _epochs_to_own(record: RunRecord) -> float | None:
    plateau = _mean_of_last_epochs(record)
    return None if plateau is None else _epochs_to(record, PLATEAU_SHARE * plateau)


DECLARED: Mapping[str, Endpoint] = {
    each.name: each
    for each in (
        *map(_recorded, (*ENDPOINTS, *PSNR)),
        *(
            Endpoint(
                f"{prefix}unlooked_accuracy",
                f"accuracy of {weights} on test and unused training images together",
                "share",
                Direction.HIGHER,
                _unlooked(prefix),
            )
            for prefix, weights in (("", "the last weights"), ("averaged_", "averaged weights"))
        ),
        Endpoint(
            "mean_test_accuracy",
            f"test accuracy of the weights after each of the last {LAST_EPOCHS} epochs, mean",
            "share",
            Direction.HIGHER,
            _mean_of_last_epochs,
        ),
        Endpoint(
            "train_accuracy",
            "accuracy on the batches of the last epoch, each before its update",
            "share",
            Direction.HIGHER,
            lambda record: _curve(record, "train_accuracy", slice(-1, None)),
        ),
        Endpoint(
            "epochs_to_own_plateau",
            f"first epoch with {100 * PLATEAU_SHARE:g} % of the run's own mean test accuracy over the last "
            f"{LAST_EPOCHS} epochs",
            "epochs",
            Direction.LOWER,
            _epochs_to_own,
        ),
        Endpoint(
            "sign_changes",
            "share of gradients that change sign from one update to the next, mean over all epochs",
            "share",
            Direction.NEITHER,
            lambda record: _curve(record, "sign_changes", slice(None)),
        ),
        Endpoint(
            "early_gradient_mean_abs",
            f"mean absolute gradient in the first {EARLY_EPOCHS} epochs",
            "",
            Direction.NEITHER,
            lambda record: _curve(record, "gradient_mean_abs", slice(EARLY_EPOCHS)),
        ),
        Endpoint(
            "weight_correlation",
            "mean correlation of the taps of the weights after the last epoch",
            "",
            Direction.NEITHER,
            lambda record: _curve(record, "weight_correlation", slice(-1, None)),
        ),
    )
}
"""By name; `epochs_to_share` makes one more, which needs the baseline of a setting."""
