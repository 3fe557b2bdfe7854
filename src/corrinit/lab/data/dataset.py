"""Data sets of images, ready for training: `load("digits")`, `load("parquet:DIR")`, ...

Images are bytes of shape (N, C, H, W); they are decoded once, into a memory-mapped cache. What a data set is
and how it was encoded travels with it as text, into every record that rests on it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from corrinit.errors import ConfigError, UnknownNameError
from corrinit.lab.data import cifar, digits, folder, parquet
from corrinit.lab.data.cache import cached
from corrinit.lab.data.decode import Progress
from corrinit.lab.data.source import Source, Splits, stratified_sample


@dataclass(frozen=True, eq=False)
class Unused:
    """Labelled images of the training set that are neither trained on nor tested on.

    Args:
        images: all of the training set, uint8, shape (N, C, H, W); may be a read-only memory map.
        labels: int64, shape (N,).
        chosen: which of them are unused, ascending.
        reserved: which others have been set apart, ascending.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    chosen: NDArray[np.intp]
    reserved: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.chosen)

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """The images with their labels, read when they are wanted."""
        for start in range(0, len(self), size):
            part = self.chosen[start : start + size]
            yield self.images[part], self.labels[part]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels, split for training and testing.

    Args:
        name: short name, such as `cifar10`.
        provenance: one line: source, encoding, split, sizes.
        classes: class names; label i is `classes[i]`.
        train_images: uint8, shape (N, C, H, W); may be a read-only memory map.
        train_labels: int64, shape (N,).
        test_images: uint8, shape (N', C, H, W).
        test_labels: int64, shape (N',).
        unused: what a subset of the training images leaves; None if all of them are used.
        kept_out: how many training images, the last ones, are missing as a reserve (`RESERVES`).
    """

    name: str
    provenance: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    unused: Unused | None = None
    kept_out: int = 0

    @property
    def available(self) -> int:
        """The number of training images before a subset of them was chosen, without those kept out."""
        return len(self.train_images) if self.unused is None else len(self.unused.images)


@dataclass(frozen=True)
class Reserve:
    """The last training images of a data set, set apart for a confirmation: one test that is made once.

    No run trains on them, is tested on them, or counts them as unused, so that whatever is chosen by looking
    at runs is chosen without them.

    Args:
        name: of the data set.
        labels: SHA-256 of the labels of all training images, as int64 in little-endian bytes: they tell the
            data set, and the order of its images, wherever it lies and whatever its folder is called.
        images: how many are set apart.
    """

    name: str
    labels: str
    images: int


RESERVES: tuple[Reserve, ...] = (
    Reserve(
        "Tiny-ImageNet-100 (32×32)",
        "df197f39a0de09c2774e0d37d9e1f56e93a57bba32a7443552c2fa58adebcbd5",
        10_000,
    ),
)
"""What is known of data sets that some or other confirmation needs; their images are in random order."""


def load(
    spec: str,
    *,
    train_subset: int | None = None,
    seed: int = 0,
    reserve: Literal["keep out", "include"] = "keep out",
    progress: Progress | None = None,
) -> Dataset:
    """Load a data set, decoding it on first use.

    Specs: `digits` (8×8 digits that come with scikit-learn), `cifar10` and `cifar100` (downloaded once),
    `parquet:DIR` (Hugging Face layout: train-*.parquet and test-*.parquet with an image and a label column),
    `folder:DIR` (one sub-folder of images per class, in train/ and test/ or split 80/20 here). The directory
    named by the environment variable `CORRINIT_DATA` is looked in first for DIR and for downloads.

    The split into training and test images never depends on `seed`: every run is tested on the same images.

    Args:
        spec: which data set.
        train_subset: keep that many training images, in the proportions of the classes.
        seed: chooses the subset: 0, or that of the run where each is to have its own.
        reserve: what becomes of the images that `RESERVES` sets apart; only a confirmation includes them.
        progress: called with the numbers of images decoded so far and in total, for each split.

    Raises:
        ConfigError: if the spec or the subset cannot be.
        DataError: if the data cannot be found or read.

    >>> load("digits").train_images.shape
    (1438, 1, 8, 8)
    """
    name, splits = decoded(spec, progress)
    images, labels = splits.train_images, splits.train_labels
    kept_out = reserved(labels) if reserve == "keep out" else 0
    images, labels = images[: len(images) - kept_out], labels[: len(labels) - kept_out]
    shape = "×".join(str(n) for n in images.shape[1:])
    provenance = (
        f"{name}: {splits.origin}; {len(images):,} training and {len(splits.test_images):,} test "
        f"images of {shape}, {len(splits.classes)} classes"
    )
    if kept_out:
        provenance += f"; {kept_out:,} more training images kept out, as the reserve of a confirmation"
    unused = None
    if train_subset is not None:
        kept = _subset(labels, train_subset, seed)
        unused = Unused(images, labels, np.setdiff1d(np.arange(len(labels)), kept))
        images, labels = images[kept], labels[kept]
        provenance += f"; trained on a stratified random subset of {train_subset:,} images"
    return Dataset(
        name,
        provenance,
        splits.classes,
        images,
        labels,
        splits.test_images,
        splits.test_labels,
        unused,
        kept_out,
    )


def decoded(spec: str, progress: Progress | None = None) -> tuple[str, Splits]:
    """The name of a data set, and its images before any are chosen: what `provide` takes.

    Raises:
        ConfigError: if the spec cannot be.
        DataError: if the data cannot be found or read.
    """
    if spec in _PROVIDED:
        return _PROVIDED[spec]
    source = _source(spec)
    return source.name, cached(source, progress) if source.files else source.read(progress)


def provide(spec: str, name: str, splits: Splits) -> None:
    """Have `load` take a data set from here: for a machine that has not got its files."""
    _PROVIDED[spec] = name, splits


_PROVIDED: dict[str, tuple[str, Splits]] = {}


def reserved(labels: NDArray[np.int64]) -> int:
    """How many of the last training images are set apart, in the data set that has these labels."""
    digest = hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
    return next((known.images for known in RESERVES if known.labels == digest), 0)


def hold_out(dataset: Dataset) -> Dataset:
    """The training images alone, a fifth of each class taken from training and put in the place of the test.

    Settings are chosen on it, so that the test images decide nothing. The split of given images is always the
    same; where a run's seed draws its training images, it is that draw which is split. Seeds that are
    compared may then train on images held out here, as one does on all once a setting is chosen, or count
    them among their unused ones, of which the choice has seen a small part.
    """
    labels = dataset.train_labels
    kept = stratified_sample(labels, round(0.8 * len(labels)), seed=0)
    held = np.setdiff1d(np.arange(len(labels)), kept)
    return replace(
        dataset,
        provenance=f"{dataset.provenance}; of these, {len(held):,} held out from training and tested on",
        train_images=dataset.train_images[kept],
        train_labels=labels[kept],
        test_images=dataset.train_images[held],
        test_labels=labels[held],
    )


def set_apart(dataset: Dataset, reserve: Collection[int]) -> Dataset:
    """A data set whose unused images lack a reserve, which is to be looked at by nothing but one final test.

    Args:
        dataset: as `load` gave it.
        reserve: numbers of images among all training images; those kept out anyway may be among them.

    Raises:
        ConfigError: for a number that no image has.
    """
    if not reserve:
        return dataset
    count = dataset.available + dataset.kept_out
    if not 0 <= min(reserve) <= max(reserve) < count:
        raise ConfigError(
            f"the reserve has images {min(reserve)} to {max(reserve)}; the {count:,} training "
            "images are numbered from 0"
        )
    if dataset.unused is None:
        return dataset
    numbers = sorted(set(reserve))
    left = np.setdiff1d(dataset.unused.chosen, numbers)
    return replace(dataset, unused=replace(dataset.unused, chosen=left, reserved=tuple(numbers)))


def _subset(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.intp]:
    classes = len(np.unique(labels))
    if not classes <= size <= len(labels):
        raise ConfigError(
            f"train_subset is {size}; it lies between {classes}, one image per class, and all {len(labels)}"
        )
    return stratified_sample(labels, size, seed)


def _source(spec: str) -> Source:
    kind, _, place = spec.partition(":")
    if spec in _NAMED:
        return _NAMED[spec](_data_directory())
    if kind in _PLACED and place:
        return _PLACED[kind](_find(place))
    known = ", ".join([*_NAMED, *(f"{kind}:DIR" for kind in _PLACED)])
    raise UnknownNameError(f"data is {spec!r}; it is one of {known}")


_NAMED: dict[str, Callable[[Path | None], Source]] = {
    "digits": lambda _: digits.source(),
    "cifar10": lambda directory: cifar.source("cifar10", directory),
    "cifar100": lambda directory: cifar.source("cifar100", directory),
}
_PLACED: dict[str, Callable[[Path], Source]] = {
    "parquet": parquet.source,
    "folder": folder.source,
}


def _data_directory() -> Path | None:
    directory = os.environ.get("CORRINIT_DATA")
    return Path(directory).expanduser() if directory else None


def _find(place: str) -> Path:
    """The directory of that name in CORRINIT_DATA, else the one that the path itself names."""
    path = Path(place).expanduser()
    directory = _data_directory()
    return directory / path if directory is not None and (directory / path).is_dir() else path
