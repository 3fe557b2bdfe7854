"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from the published archives in the binary version.

The binary version is plain bytes; the Python version is pickled, and reading it would execute what it holds.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray

from corrinit.errors import DamagedDataError, DataError, MissingDataError
from corrinit.lab.data.decode import Progress
from corrinit.lab.data.source import Source, Splits

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Archive:
    """A published archive of records: label bytes, the last one of which counts, then one 3×32×32 image."""

    file: str
    md5: str
    train: tuple[str, ...]
    test: str
    class_names: str
    label_bytes: int

    @property
    def url(self) -> str:
        """Where it is published."""
        return f"https://www.cs.toronto.edu/~kriz/{self.file}"


ARCHIVES = {
    "cifar10": Archive(
        file="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        train=tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
        test="cifar-10-batches-bin/test_batch.bin",
        class_names="cifar-10-batches-bin/batches.meta.txt",
        label_bytes=1,
    ),
    "cifar100": Archive(
        file="cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        train=("cifar-100-binary/train.bin",),
        test="cifar-100-binary/test.bin",
        class_names="cifar-100-binary/fine_label_names.txt",
        label_bytes=2,
    ),
}


def source(name: str, directory: Path | None) -> Source:
    """The archive in `directory` if it is there, else downloaded once, with its checksum verified.

    Args:
        name: `cifar10` or `cifar100`.
        directory: looked in first.

    Raises:
        DataError: if it is not there and cannot be downloaded, saying where to put it.
    """
    archive = ARCHIVES[name]
    local = directory / archive.file if directory is not None else None
    path = local if local is not None and local.is_file() else _download(name, archive)

    def read(_: Progress | None) -> Splits:
        try:
            if pooch.file_hash(str(path), alg="md5") != archive.md5:
                raise DamagedDataError(
                    f"{path} is not the published archive: its md5 differs; download it again"
                )
            with tarfile.open(path) as tar:
                return _read(archive, tar)
        except DataError:
            raise
        except Exception as error:  # whatever tarfile does with bytes that lie
            raise DamagedDataError(f"{path} cannot be read: {error}; download it again") from error

    return Source(name, (path,), read)


def _download(name: str, archive: Archive) -> Path:
    cache = Path(pooch.os_cache("corrinit")) / "downloads"
    try:
        return Path(pooch.retrieve(archive.url, f"md5:{archive.md5}", archive.file, cache))
    except (OSError, ValueError) as error:
        raise MissingDataError(
            f"{name} cannot be downloaded from {archive.url}; put {archive.file} into {cache} or into the "
            "directory named by CORRINIT_DATA, or use parquet:DIR with a copy that you have"
        ) from error


def _read(archive: Archive, tar: tarfile.TarFile) -> Splits:
    def content(member: str) -> bytes:
        file = tar.extractfile(member)
        if file is None:
            raise KeyError(f"{member} is not a file")
        return file.read()

    def records(members: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        raw = np.frombuffer(b"".join(map(content, members)), np.uint8)
        raw = raw.reshape(-1, archive.label_bytes + PIXELS)
        images = raw[:, archive.label_bytes :].reshape(-1, 3, 32, 32)
        return images, raw[:, archive.label_bytes - 1].astype(np.int64)

    class_names = tuple(content(archive.class_names).decode().split())
    return Splits(class_names, "binary version (lossless)", *records(archive.train), *records([archive.test]))
