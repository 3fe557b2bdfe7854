"""The libraries that some files are read with: they are imported when such a file is opened."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from corrinit.errors import WeightsError


def needed(module: str, kind: str, extra: str) -> Any:
    """A module of a library that is installed with an extra of corrinit.

    Args:
        module: such as `"onnx.numpy_helper"`.
        kind: what is read with it, such as `"an ONNX file"`.
        extra: of corrinit.

    Raises:
        WeightsError: if it is not installed, with the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise WeightsError(
            f"it is {kind}; reading it needs {library} ({error}): pip install 'corrinit[{extra}]'"
        ) from error
