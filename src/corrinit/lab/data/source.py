"""What every source of data yields: decoded, checked splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corrinit.errors import ImageShapeError, LabelError
from corrinit.lab.data.decode import Progress

SPLIT_SEED = 0
"""Seed of the 80/20 splits made here: a constant, so that every run is tested on the same images."""


@dataclass(frozen=True, eq=False)
class Splits:
    """A decoded data set, and in `origin` a few words on how it was stored.

    Args:
        classes: class names; label i is `classes[i]`.
        origin: storage, encoding, and how it was split if it was split here.
        train_images: uint8, shape (N, C, H, W).
        train_labels: int64, shape (N,).
        test_images: uint8, shape (N', C, H, W).
        test_labels: int64, shape (N',).

    Raises:
        DataError: if the splits differ in image size, a label has no class, the training images are all of
            one class, or there are no test images.
    """

    classes: tuple[str, ...]
    origin: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise ImageShapeError(
                f"training images have shape {self.train_images.shape[1:]} (channels, height, width), test "
                f"images {self.test_images.shape[1:]}; bring them to one size and colour mode",
                shape=self.test_images.shape[1:],
            )
        for split, labels in (("training", self.train_labels), ("test", self.test_labels)):
            wrong = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
            if wrong.size:
                raise LabelError(
                    f"{split} image {wrong[0]} has label {labels[wrong[0]]}; the {len(self.classes)} classes "
                    f"are numbered 0 to {len(self.classes) - 1}: correct the labels or the class names"
                )
        if not len(self.test_labels):
            raise LabelError("no image is left to test on; a class needs two images, one of them for testing")
        if len(np.unique(self.train_labels)) < 2:
            raise LabelError("the training images are all of one class; a classifier needs two or more")


@dataclass(frozen=True)
class Source:
    """A data set that can be decoded.

    Args:
        name: short name.
        files: what it is read from; none for data that is embedded in a package.
        read: decodes it.
    """

    name: str
    files: tuple[Path, ...]
    read: Callable[[Progress | None], Splits]


def stratified_sample(labels: NDArray[np.int64], size: int, seed: int) -> NDArray[np.intp]:
    """Indices, ascending, of `size` random labels that hold the classes in the proportions of all labels.

    Each class gets the integer part of its share, but one at least where `size` allows it, and the classes
    with the largest remainders one more.

    >>> stratified_sample(np.array([0, 0, 0, 0, 1, 1]), 3, seed=0).tolist()
    [0, 2, 5]
    """
    classes, counts = np.unique(labels, return_counts=True)
    shares = size * counts / len(labels)
    quotas = shares.astype(np.intp)
    if size >= len(classes):
        quotas = np.maximum(quotas, 1)
    while (left := size - quotas.sum()) < 0:  # what rare classes were given, frequent ones give up
        quotas[np.argmax(np.where(quotas > 1, quotas - shares, -np.inf))] -= 1
    largest_remainders = np.argsort(quotas - shares, kind="stable")
    quotas[largest_remainders[:left]] += 1
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in zip(classes, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def split_fifth(
    classes: tuple[str, ...], origin: str, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> Splits:
    """Split a data set that has no split of its own: a fifth of every class becomes the test set.

    The only image of a class is kept for training.
    """
    divisible = np.flatnonzero(np.bincount(labels, minlength=len(classes))[labels] > 1)
    test = divisible[stratified_sample(labels[divisible], round(len(divisible) / 5), SPLIT_SEED)]
    train = np.setdiff1d(np.arange(len(labels)), test)
    origin = f"{origin}, split 80/20 by class (fixed seed {SPLIT_SEED})"
    return Splits(classes, origin, images[train], labels[train], images[test], labels[test])
