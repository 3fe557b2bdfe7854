"""The correlation file: a `SpatialCorrelation` on disk, bit for bit, with where it came from.

It is a safetensors file of float64 tensors: `correlation`, R of shape (n, n), or for a separable R one
`axis.0`, `axis.1`, … of shape (k_a, k_a) per axis; and `deviations`, d of shape (n,), which may be missing
where d = 1. One entry of metadata, `corrinit.correlation`, is JSON with the version of the format, the kernel
size and the provenance. A file of R alone is of version 1, as it always was; one with more is of version 2,
so that older readers do not overlook it. The same correlation gives the same bytes. Reading it runs no code.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from corrinit._atomic import replacing
from corrinit._correlation import SpatialCorrelation
from corrinit.errors import CorrelationError, CorrelationFileError

_KEY = "corrinit.correlation"
_VERSIONS = (1, 2)
"""Of the format: 1 holds R alone, 2 may hold deviations and a matrix per axis."""


def save_correlation(path: str | os.PathLike[str], correlation: SpatialCorrelation) -> None:
    """Write a correlation file; it replaces an older one only once it is whole.

    Args:
        path: the file, by custom `*.safetensors`.
        correlation: what `load_correlation` will return, bit for bit.

    Raises:
        CorrInitError: if the file cannot be written; an older one is then as it was.
    """
    tensors = _tensors(correlation)
    about = {
        "version": 1 if list(tensors) == ["correlation"] else 2,
        "kernel_size": correlation.kernel_size,
        "provenance": dict(correlation.provenance),
    }
    with replacing(Path(path)) as file:
        file.write(safetensors.numpy.save(tensors, {_KEY: json.dumps(about)}))


def load_correlation(path: str | os.PathLike[str]) -> SpatialCorrelation:
    """Read a correlation file.

    Args:
        path: a file that `save_correlation` wrote.

    Raises:
        CorrelationError: if there is no such file, it is damaged or of another kind, or its matrix is no
            correlation of its kernel.
    """
    with _opened(path) as file:
        names = set(file.keys())
        about = (file.metadata() or {}).get(_KEY)
        if about is None or not names & {"correlation", "axis.0"}:
            raise CorrelationFileError(
                f"{path} is no correlation file, it holds other tensors; "
                "to estimate a correlation from weights use corrinit.estimate"
            )
        kernel_size, provenance = _parse(path, about)
        shapes = {"correlation": [math.prod(kernel_size)] * 2}
        if "correlation" not in names:
            shapes = {f"axis.{axis}": [k, k] for axis, k in enumerate(kernel_size)}
        matrices = [_tensor(path, file, name, shape) for name, shape in shapes.items()]
        deviations = None
        if "deviations" in names:
            deviations = _tensor(path, file, "deviations", [math.prod(kernel_size)])
    try:
        if "correlation" in names:
            return SpatialCorrelation(matrices[0], kernel_size, provenance, deviations=deviations)
        return SpatialCorrelation.separable(matrices, provenance, deviations=deviations)
    except CorrelationError as error:
        raise CorrelationFileError(f"{path} holds no correlation: {error}") from error


def is_correlation_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file says of itself that it is a correlation file."""
    try:
        with _opened(path) as file:
            return _KEY in (file.metadata() or {})
    except CorrelationError:
        return False


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[safe_open]:
    try:
        if os.fspath(path) and Path(path).exists() and not Path(path).is_file():  # a pipe would wait
            raise CorrelationFileError(f"{path} is no correlation file, or damaged: it is no regular file")
        with safe_open(path, framework="np") as file:
            yield file
    except FileNotFoundError as error:
        raise CorrelationFileError(f"there is no file {path}") from error
    except (SafetensorError, OSError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise CorrelationFileError(f"{path} is no correlation file, or damaged: {reason}") from error


def _tensor(path: str | os.PathLike[str], file: safe_open, name: str, shape: list[int]) -> np.ndarray:
    """A tensor of the file, once it is known that numpy can read it and that it has the shape it should."""
    if name not in file.keys():  # noqa: SIM118 (safe_open is no mapping)
        raise CorrelationFileError(f"{path} is damaged: it has no {name}")
    found = file.get_slice(name)
    if found.get_dtype() != "F64" or found.get_shape() != shape:
        raise CorrelationFileError(
            f"{path} is damaged: its {name} is {found.get_dtype()} of shape {found.get_shape()}, "
            f"where its kernel needs F64 of shape {shape}"
        )
    return file.get_tensor(name)


def _tensors(correlation: SpatialCorrelation) -> dict[str, np.ndarray]:
    tensors = {"correlation": correlation.matrix} if correlation.axes is None else {}
    tensors |= {f"axis.{axis}": matrix for axis, matrix in enumerate(correlation.axes or ())}
    if not correlation.is_flat:
        tensors["deviations"] = correlation.deviations
    return tensors


def _parse(path: str | os.PathLike[str], about: str) -> tuple[tuple[int, ...], dict[str, str]]:
    try:
        fields = json.loads(about)
        version, kernel_size, provenance = fields["version"], fields["kernel_size"], fields["provenance"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorrelationFileError(f"{path} is damaged: its metadata cannot be read: {error!r}") from error
    if version not in _VERSIONS:
        known = " and ".join(map(str, _VERSIONS))
        raise CorrelationFileError(
            f"{path} is a correlation file of version {version!r:.80}; this corrinit reads versions {known}"
        )
    if not (isinstance(kernel_size, list) and all(type(k) is int and k > 0 for k in kernel_size)):
        raise CorrelationFileError(f"{path} is damaged: its kernel size is {str(kernel_size)[:80]}")
    if not (isinstance(provenance, dict) and all(isinstance(text, str) for text in provenance.values())):
        raise CorrelationFileError(f"{path} is damaged: its provenance is {str(provenance)[:80]}")
    return tuple(kernel_size), provenance
