"""Parquet files of encoded images, in the layout that Hugging Face `datasets` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from corrinit.errors import DamagedDataError, DataError, LabelError, MissingDataError
from corrinit.lab.data.decode import Encoded, Progress, decode
from corrinit.lab.data.source import Source, Splits

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label")


def source(directory: Path) -> Source:
    """The files train-*.parquet and test-*.parquet in the directory, or in its sub-directory data/.

    Each has a column `image` or `img` = struct{bytes, path} and an integer column `label` or `fine_label`.
    Class names are read from the schema metadata; without them, classes are named by their numbers.

    Raises:
        DataError: if a split is missing.
    """
    train, test = _files(directory, "train"), _files(directory, "test")

    def read(progress: Progress | None) -> Splits:
        train_rows, test_rows = _read(train), _read(test)
        class_names = train_rows.class_names or _numbers(train[0], train_rows.labels)
        train_decoded, test_decoded = decode(train_rows.images, progress), decode(test_rows.images, progress)
        return Splits(
            class_names,
            f"Parquet, {train_decoded.encoding}",
            train_decoded.images,
            train_rows.labels,
            test_decoded.images,
            test_rows.labels,
        )

    return Source(directory.resolve().name, (*train, *test), read)


class _Rows(NamedTuple):
    images: list[Encoded]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]


def _files(directory: Path, split: str) -> tuple[Path, ...]:
    name = f"{split}-*.parquet"
    files = tuple(sorted(chain(directory.glob(name), directory.glob(f"data/{name}"))))
    if not files:
        raise MissingDataError(
            f"{directory} holds no {name}; name the files of the splits train-* and test-*"
        )
    return files


def _read(files: Sequence[Path]) -> _Rows:
    parts = [_read_file(file) for file in files]
    images = [image for part in parts for image in part.images]
    if not images:
        raise MissingDataError(f"{', '.join(map(str, files))} hold no rows; a split needs images")
    class_names = next((part.class_names for part in parts if part.class_names), ())
    return _Rows(images, np.concatenate([part.labels for part in parts]), class_names)


def _read_file(file: Path) -> _Rows:
    """The rows of one file; whatever Arrow does with bytes that lie is one error of ours."""
    if not file.is_file():  # opening a pipe would wait for ever
        raise DamagedDataError(f"{file} is no regular file; put a Parquet file in its place")
    try:
        schema = parquet.read_schema(file)
        image_column = _column(file, schema, IMAGE_COLUMNS)
        label_column = _column(file, schema, LABEL_COLUMNS)
        table = parquet.read_table(file, columns=[image_column, label_column])
        return _Rows(
            _images(file, table[image_column]),
            _labels(file, table[label_column]),
            _class_names(file, schema, label_column),
        )
    except DataError:
        raise
    except Exception as error:
        raise DamagedDataError(f"{file} is not a sound Parquet file: {error}; get it again") from error


def _numbers(file: Path, labels: NDArray[np.int64]) -> tuple[str, ...]:
    """Classes named by their numbers; no more of them than there are images, whatever a label says."""
    if (largest := int(labels.max())) >= len(labels):
        raise LabelError(
            f"{file}: a label is {largest}, but there are {len(labels):,} images and no class names; number "
            "the classes from 0"
        )
    return tuple(map(str, range(largest + 1)))


def _column(file: Path, schema: pa.Schema, candidates: tuple[str, ...]) -> str:
    for name in candidates:
        if name in schema.names:
            return name
    raise DamagedDataError(
        f"{file} has the columns {schema.names}; one of them must be {' or '.join(candidates)}"
    )


def _images(file: Path, column: pa.ChunkedArray) -> list[Encoded]:
    if not pa.types.is_struct(column.type) or column.type.get_field_index("bytes") < 0:
        raise DamagedDataError(f"{file}: the image column is {column.type}; it must be struct{{bytes, path}}")
    contents = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks], pa.binary()).to_pylist()
    if None in contents:
        raise DamagedDataError(
            f"{file}: row {contents.index(None)} has no image bytes; embed the images in the file"
        )
    return [Encoded(content, f"{file}: row {row}") for row, content in enumerate(contents)]


def _labels(file: Path, column: pa.ChunkedArray) -> NDArray[np.int64]:
    if not pa.types.is_integer(column.type) or column.null_count:
        raise LabelError(
            f"{file}: the labels are {column.type} with {column.null_count} missing; they must be integers"
        )
    return column.to_numpy().astype(np.int64)


def _class_names(file: Path, schema: pa.Schema, label_column: str) -> tuple[str, ...]:
    """The names in the schema metadata of Hugging Face `datasets`; none if there are none."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return ()
    try:
        names = json.loads(text)["info"]["features"][label_column].get("names") or []
    except Exception as error:
        raise DamagedDataError(
            f"{file}: its schema metadata cannot be read ({error!r}); write it again"
        ) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LabelError(
            f"{file}: the class names in its schema metadata are no list of text; write it again"
        )
    return tuple(names)
