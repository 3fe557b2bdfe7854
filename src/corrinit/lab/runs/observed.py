"""What is observed when a run ends, beside the weights: endpoints by name, and what they are of.

Each endpoint is a loss or an accuracy of some weights on some images. The weights are those after the last
update, or their exponential average over the last updates (`corrinit.lab.training.averaging`). The images are
those that the run is tested on, or the unused ones: labelled images of the training set that it neither
trained on nor was tested on. An endpoint is only observed, so it is no part of a run's identity.

`result.json` holds each under its name, null where the run diverged; a name that is missing was not recorded.
Beside them it has `averaging_window` (in updates), `unused_images` (how many were scored), `available_images`
(that of the training set which a subset was drawn from), `reserve`, and what the scores by epoch are of:
`test_images_by_epoch` and `test_every` (`corrinit.lab.experiment.observation`). `correct.npz` has a bit per
test image.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corrinit._atomic import replacing
from corrinit._reading import read_arrays
from corrinit.errors import RecordError, UnknownNameError
from corrinit.lab.experiment.config import RunConfig

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
