"""Files that are either whole or absent, however a process ends."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from corrinit.errors import CorrInitError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of `path` for writing; on success it takes the place of `path`.

    Readers see the old file or the new one, never a part. Missing folders are created.

    Raises:
        CorrInitError: if the folder cannot be written, the disk is full, or `path` is a folder or a device;
            what was there is then as it was.
    """
    temporary = None
    try:
        if path.exists() and not path.is_file():
            raise CorrInitError(f"{path} is no regular file; choose the name of a file to write")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise CorrInitError(
            f"{path} cannot be written: {reason}; free some space, or choose another place"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
