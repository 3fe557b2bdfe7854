"""Errors of the machine: libraries that are not there, files that cannot be written."""

from __future__ import annotations

from corrinit.errors._base import CorrInitError, Page


class MissingLibraryError(CorrInitError, ImportError):
    """A library that is asked for is not installed, or too old."""

    page = Page(
        code="C001",
        why="The core of corrinit needs numpy and safetensors alone; everything else comes with an extra.",
        fix="Install what the message names, into the environment that runs corrinit.",
        example="""
            $ pip install "corrinit[lab]"      # training, comparisons, reports
            $ pip install "corrinit[torch]"    # initialize PyTorch models
        """,
    )


class WriteError(CorrInitError):
    """A file cannot be written."""

    page = Page(
        code="C002",
        why="The disk is full or fails, the place may not be written to, is a folder or device, or has no "
        "locks. What was there is as it was: files are replaced whole.",
        fix="Free some space, or choose another place. A stopped comparison goes on by the same command.",
        example="""
            $ df -h .                                     # is there space?
            $ corrinit demo --runs /another/disk/runs
        """,
    )


class ClusterError(CorrInitError):
    """A cluster does not answer, or its nodes cannot make runs that count."""

    page = Page(
        code="C003",
        why="Runs count if every node sees the same folder of runs, and has the same versions of Python, "
        "torch and corrinit: records say one of each.",
        fix="Start the cluster, name the address that `ray start` printed, install what the nodes lack, and "
        "put the folder of runs on a file system that all of them share.",
        example="""
            $ ray status --address 10.0.0.1:6379
            $ corrinit compare --engine ray --address 10.0.0.1:6379 --runs /shared/runs
        """,
    )


_EXTRA_OF = {
    **{library: library for library in ("torch", "jax", "keras", "onnx", "tflite", "ray")},
    "h5py": "keras",
    "huggingface_hub": "hub",
    **dict.fromkeys(("cyclopts", "rich"), "cli"),
}
"""The extra that installs a library; all others are of the lab, or of none."""

_OF_NO_EXTRA = ("equinox", "pandas", "tensorflow")
"""Libraries that whoever uses them has installed, for their own sake."""

_TORCH = (
    "; for the CPU alone before it: pip install torch --index-url https://download.pytorch.org/whl/cpu; for "
    "CUDA: pip install torch on Linux, elsewhere the line of https://pytorch.org/get-started"
)


def missing_library(what: str, error: ModuleNotFoundError) -> ModuleNotFoundError | MissingLibraryError:
    """The error to raise where a library is missing: the given one if a module of corrinit itself is.

    Args:
        what: what needs it.
        error: of the import.

    >>> raise missing_library("the lab", ModuleNotFoundError(name="scipy.stats"))
    Traceback (most recent call last):
    corrinit.errors.MissingLibraryError: the lab needs scipy: pip install "corrinit[lab]" [C001]
    """
    library = (error.name or "").partition(".")[0]
    if library in ("", "corrinit"):
        return error
    package = f'"corrinit[{_EXTRA_OF.get(library, "lab")}]"' if library not in _OF_NO_EXTRA else library
    return MissingLibraryError(
        f"{what} needs {library}: pip install {package}{_TORCH if library == 'torch' else ''}"
    )
