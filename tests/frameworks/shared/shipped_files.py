"""Files of trained networks that other packages ship; of these only the files are installed."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path


def shipped(package: str, file: str) -> Path:
    """The path of a file of an installed package."""
    path = Path(str(distribution(package).locate_file(file)))
    assert path.is_file(), f"{package} has no {file}"
    return path
