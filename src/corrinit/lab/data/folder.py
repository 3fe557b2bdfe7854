"""Folders of image files, one sub-folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from corrinit.errors import DamagedDataError, DataError, LabelError, MissingDataError
from corrinit.lab.data.decode import Encoded, Progress, decode
from corrinit.lab.data.source import Source, Splits, split_fifth


def source(directory: Path) -> Source:
    """The image files of a folder: DIR/train/CLASS/FILE and DIR/test/CLASS/FILE, or DIR/CLASS/FILE.

    Classes are numbered in the order of their names. Without train/ and test/, a fifth of every class becomes
    the test set. Hidden files are passed over.

    Raises:
        DataError: if the folder is missing, or lacks a split, classes or images.
    """
    train, test = directory / "train", directory / "test"
    if train.is_dir() != test.is_dir():
        missing = test if train.is_dir() else train
        raise MissingDataError(
            f"{missing} is missing; a folder is split into both train/ and test/, or not at all"
        )
    name = directory.resolve().name
    if not train.is_dir():
        files = _files(directory)

        def read_whole(progress: Progress | None) -> Splits:
            images, labels, encoding = _read(files, tuple(files), progress)
            return split_fifth(tuple(files), f"image files, {encoding}", images, labels)

        return Source(name, _all(files), read_whole)

    train_files, test_files = _files(train), _files(test)
    if unknown := test_files.keys() - train_files.keys():
        raise LabelError(f"{test} has classes that {train} lacks: {', '.join(sorted(unknown))}")

    def read_splits(progress: Progress | None) -> Splits:
        classes = tuple(train_files)
        train_images, train_labels, encoding = _read(train_files, classes, progress)
        test_images, test_labels, _ = _read(test_files, classes, progress)
        origin = f"image files, {encoding}"
        return Splits(classes, origin, train_images, train_labels, test_images, test_labels)

    return Source(name, _all(train_files) + _all(test_files), read_splits)


def _files(directory: Path) -> dict[str, list[Path]]:
    """Image files by class name, both in the order of their names."""
    if not directory.is_dir():
        raise MissingDataError(f"{directory} is not a directory; give one that holds a sub-folder per class")
    classes = [path for path in _entries(directory) if path.is_dir()]
    files = {path.name: _entries(path) for path in classes}
    if not files:
        raise MissingDataError(
            f"{directory} has no sub-folders; put the images of each class into one of its own"
        )
    for name, found in files.items():
        if not found:
            raise MissingDataError(f"{directory / name} is empty; put images into it, or remove it")
        if folder := next((file for file in found if file.is_dir()), None):
            raise DamagedDataError(
                f"{folder} is a folder; the images of a class lie directly in the class's folder"
            )
        if odd := next((file for file in found if not file.is_file()), None):
            raise DamagedDataError(f"{odd} is no regular file; remove it, or put an image in its place")
    return files


def _entries(directory: Path) -> list[Path]:
    """What lies in a folder, in the order of the names, without hidden files."""
    try:
        return sorted(path for path in directory.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{directory} cannot be read: {error.strerror or error}") from error


def _all(files: dict[str, list[Path]]) -> tuple[Path, ...]:
    return tuple(file for found in files.values() for file in found)


def _read(
    files: dict[str, list[Path]], classes: tuple[str, ...], progress: Progress | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64], str]:
    decoded = decode([Encoded(file, str(file)) for file in _all(files)], progress)
    labels = [classes.index(name) for name, found in files.items() for _ in found]
    return decoded.images, np.array(labels, np.int64), decoded.encoding
