"""Files that are either whole or absent, however a process ends."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from corrinit.errors import WriteError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever the operating system refuses while something is written into one error.

    Args:
        path: what is written, named in the message.

    Raises:
        CorrInitError: with the reason, and what can be done.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise WriteError(
            f"{path} cannot be written: {reason}; free some space, or choose another place"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary neighbour of `path` for writing; on success it takes the place of `path`.

    Readers see the old file or the new one, never a part, and so does who comes after a power cut. Files that
    are replaced one after the other are on the disk in that order. Missing folders are created.

    Raises:
        CorrInitError: if the folder cannot be written, the disk is full, or `path` is a folder or a device;
            what was there is then as it was.
    """
    temporary = None
    try:
        with writing(path):
            if "\0" in str(path):
                raise WriteError(f"{path} is no name of a file; choose another")
            if path.exists() and not path.is_file():
                raise WriteError(f"{path} is no regular file; choose the name of a file to write")
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", dir=path.parent)
            temporary = Path(name)
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            temporary = None
        _keep_order(path.parent)
    finally:
        if temporary is not None:
            with suppress(OSError):  # it is in nobody's way, and the error that led here says more
                temporary.unlink(missing_ok=True)


def _keep_order(folder: Path) -> None:
    """Put the names in a folder on the disk, so that no later one gets there first."""
    with suppress(OSError):  # there are file systems that do not let folders be opened or synchronized
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
