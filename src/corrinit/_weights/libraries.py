"""The libraries that some files are read with: they are imported when such a file is opened."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from corrinit.errors import missing_library


def needed(module: str, what: str) -> Any:
    """A module of a library that not everybody has.

    Args:
        module: such as `"onnx.numpy_helper"`.
        what: what needs it, such as `"an ONNX file"`.

    Raises:
        MissingLibraryError: if it is not installed, with the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise missing_library(what, error) from error
