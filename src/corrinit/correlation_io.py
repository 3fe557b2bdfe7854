"""The correlation file: a `SpatialCorrelation` on disk, bit for bit, with where it came from.

It is a safetensors file with one float64 tensor `correlation` of shape (n, n) and one entry of metadata,
`corrinit.correlation`: JSON with the version of the format, the kernel size and the provenance. The same
correlation gives the same bytes. Reading it runs no code.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from corrinit.atomic import replacing
from corrinit.correlation import SpatialCorrelation
from corrinit.errors import CorrelationError

_KEY = "corrinit.correlation"
_VERSION = 1


def save_correlation(path: str | os.PathLike[str], correlation: SpatialCorrelation) -> None:
    """Write a correlation file; it replaces an older one only once it is whole.

    Args:
        path: the file, by custom `*.safetensors`.
        correlation: what `load_correlation` will return, bit for bit.

    Raises:
        CorrInitError: if the file cannot be written; an older one is then as it was.
    """
    about = {
        "version": _VERSION,
        "kernel_size": correlation.kernel_size,
        "provenance": dict(correlation.provenance),
    }
    with replacing(Path(path)) as file:
        file.write(safetensors.numpy.save({"correlation": correlation.matrix}, {_KEY: json.dumps(about)}))


def load_correlation(path: str | os.PathLike[str]) -> SpatialCorrelation:
    """Read a correlation file.

    Args:
        path: a file that `save_correlation` wrote.

    Raises:
        CorrelationError: if there is no such file, it is damaged or of another kind, or its matrix is no
            correlation of its kernel.
    """
    about, matrix = _read(path)
    if about is None or matrix is None:
        raise CorrelationError(
            f"{path} is no correlation file, it holds other tensors; "
            "to estimate a correlation from weights use corrinit.estimate"
        )
    kernel_size, provenance = _parse(path, about)
    if matrix.dtype != np.float64 or matrix.shape != (math.prod(kernel_size),) * 2:
        raise CorrelationError(
            f"{path} is damaged: it holds a {matrix.dtype} matrix of shape {matrix.shape} "
            f"for a kernel of size {kernel_size}"
        )
    try:
        return SpatialCorrelation(matrix, kernel_size, provenance)
    except CorrelationError as error:
        raise CorrelationError(f"{path} holds no correlation: {error}") from error


def is_correlation_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file says of itself that it is a correlation file."""
    try:
        return _read(path)[0] is not None
    except CorrelationError:
        return False


def _read(path: str | os.PathLike[str]) -> tuple[str | None, np.ndarray | None]:
    try:
        with safe_open(path, framework="np") as file:
            about = (file.metadata() or {}).get(_KEY)
            named = "correlation" in file.keys()  # noqa: SIM118 (safe_open is no mapping)
            return about, file.get_tensor("correlation") if named and about else None
    except FileNotFoundError as error:
        raise CorrelationError(f"there is no file {path}") from error
    except (SafetensorError, OSError, TypeError) as error:
        raise CorrelationError(f"{path} is no correlation file, or damaged: {error}") from error


def _parse(path: str | os.PathLike[str], about: str) -> tuple[tuple[int, ...], dict[str, str]]:
    try:
        fields = json.loads(about)
        version, kernel_size, provenance = fields["version"], fields["kernel_size"], fields["provenance"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorrelationError(f"{path} is damaged: its metadata cannot be read: {error!r}") from error
    if version != _VERSION:
        raise CorrelationError(
            f"{path} is a correlation file of version {version}; this corrinit reads version {_VERSION}"
        )
    if not (isinstance(kernel_size, list) and all(type(k) is int and k > 0 for k in kernel_size)):
        raise CorrelationError(f"{path} is damaged: its kernel size is {str(kernel_size)[:80]}")
    if not (isinstance(provenance, dict) and all(isinstance(text, str) for text in provenance.values())):
        raise CorrelationError(f"{path} is damaged: its provenance is {str(provenance)[:80]}")
    return tuple(kernel_size), provenance
