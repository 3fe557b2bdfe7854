"""Errors of recorded runs."""

from __future__ import annotations

from corrinit.errors._base import CorrInitError, Page
from corrinit.errors._settings import ConfigError


class RecordError(CorrInitError):
    """A file of a run record is missing or damaged."""

    page = Page(
        code="C600",
        why="Bits of it changed, it was edited, or a copy of the folder is not complete. All other records "
        "are listed and reported.",
        fix="Repeat the command that made the run, which makes it again, or remove its folder.",
        example="""
            $ corrinit runs --folder runs --check
        """,
    )


class UnreadableError(RecordError):
    """The operating system refuses to read a file of a record, which may be sound all the same."""

    page = Page(
        code="C601",
        why="It is not made again before one knows: a disk may come back, a permission may be given.",
        fix="See to the disk and the permissions, and repeat the command.",
        example="""
            $ ls -l runs/0a1b2c3d
        """,
    )


class RunBusyError(CorrInitError):
    """Another process is making the run."""

    page = Page(
        code="C602",
        why="A run has one maker, who holds a lock for as long as it lives.",
        fix="Wait for it, or stop the other process; the lock of one that was killed is free.",
        example="""
            $ pgrep -fa corrinit
        """,
    )


class CheckpointError(RecordError):
    """A checkpoint is damaged, or of another run or version."""

    page = Page(
        code="C603",
        why="The digest at its end is not that of its bytes, or what it holds does not fit the run.",
        fix="Nothing: the run starts anew, with a warning. Remove the file if you do not want to resume.",
        example="""
            $ corrinit runs --folder runs --check
        """,
    )


class NoRunsError(ConfigError):
    """There are no runs, or no folder of runs, to list or report."""

    page = Page(
        code="C604",
        why="The folder is another one, or none of its runs is finished or meets the conditions.",
        fix="Name the folder that the runs were made in, or make some.",
        example="""
            $ corrinit runs --folder runs
            $ corrinit report runs
        """,
    )


class FailedRunsError(CorrInitError):
    """Some runs of a comparison failed; the others are recorded."""

    page = Page(
        code="C605",
        why="The message names the place in your code; the traceback is in error.txt in the folder of the "
        "run.",
        fix="Mend it, and repeat the command, which makes only what is missing.",
        example="""
            $ corrinit runs --folder runs --check
            $ cat runs/0a1b2c3d/error.txt
        """,
    )
