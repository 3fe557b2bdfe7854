"""Decoded data sets as memory-mapped arrays in the user's cache directory.

A data set is decoded again when any of its source files has another path, size or modification time, and when
the cached copy is damaged. The cache may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pooch

from corrinit.errors import DataError, WriteError
from corrinit.lab.data.decode import Progress
from corrinit.lab.data.source import Source, Splits

FORMAT = 3
"""Part of every key: raise it when the decoded bytes of an unchanged source would differ."""

ARRAYS = tuple(field.name for field in fields(Splits) if field.name not in ("classes", "origin"))


def cached(source: Source, progress: Progress | None = None) -> Splits:
    """The splits of a source as read-only memory maps; decoded first if the cache has no sound copy."""
    entry = Path(pooch.os_cache("corrinit")) / "data" / f"{source.name}-{_key(source)}"
    splits = _read(entry)
    if splits is None:
        _write(entry, source.read(progress))
        splits = _read(entry)
    if splits is None:
        raise WriteError(f"the cache entry {entry} was damaged as soon as it was written; check that disk")
    return splits


def _key(source: Source) -> str:
    try:
        facts = [
            (str(file.resolve()), (status := file.stat()).st_size, status.st_mtime_ns)
            for file in source.files
        ]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}; see to the disk") from error
    return hashlib.sha256(json.dumps([FORMAT, source.name, facts]).encode()).hexdigest()[:20]


def _read(entry: Path) -> Splits | None:
    """The entry, or None if it is missing or damaged in any way."""
    try:
        facts = json.loads((entry / "facts.json").read_text(encoding="utf-8"))
        if facts["words"] != _checksum(facts["classes"], facts["origin"]):
            return None
        arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        if any(zlib.crc32(array.data) != facts["crc32"][name] for name, array in arrays.items()):
            return None
        return Splits(tuple(facts["classes"]), facts["origin"], **arrays)
    except Exception:  # there are as many as there are ways to damage a file, and one remedy: decode again
        return None


def _checksum(classes: Sequence[str], origin: str) -> int:
    return zlib.crc32(json.dumps([*classes, origin]).encode())


def _write(entry: Path, splits: Splits) -> None:
    """Write an entry beside its place, then move it there as a whole."""
    temporary = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{entry.name}.", dir=entry.parent))
        arrays = {name: np.ascontiguousarray(getattr(splits, name)) for name in ARRAYS}
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
        facts = {
            "classes": splits.classes,
            "origin": splits.origin,
            "words": _checksum(splits.classes, splits.origin),
            "crc32": {name: zlib.crc32(array.data) for name, array in arrays.items()},
        }
        (temporary / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)
        temporary.replace(entry)
    except OSError as error:
        if _read(entry) is not None:  # another process was faster
            return
        raise WriteError(
            f"the decoded data cannot be kept in {entry.parent}: {error.strerror or error}; "
            "free some space, or set XDG_CACHE_HOME to another directory"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
