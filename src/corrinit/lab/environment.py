"""What a result was made with: code, libraries, hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def describe() -> dict[str, str]:
    """Version and commit of corrinit, its libraries and the machine; no commit outside a git checkout."""
    return {
        "version": version("corrinit"),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "hardware": f"{_processor()}, {os.cpu_count()} cores",
    }


def _commit() -> str:
    """The commit of the source tree, with `-dirty` if files that git tracks have changed."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        inside = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", __file__],
            capture_output=True,
            check=False,
        )
        if inside.returncode:
            return ""
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
