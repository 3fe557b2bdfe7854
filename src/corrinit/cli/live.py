"""A sweep on a terminal while it runs: a line for each arm, the time left of the whole, and what failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from corrinit.cli.tally import Line, Tally
from corrinit.lab.document.numbers import count, time_in_words

LINES = 16
"""Arms that are shown; of more, those whose runs are under way."""


@contextmanager
def shown(tally: Tally, console: Console) -> Iterator[None]:
    """Keep the tally on the screen while the block runs, and leave its last state there."""
    with Live(_View(tally), console=console, refresh_per_second=4):
        yield


class _View:
    """What `rich` draws, anew each time."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def __rich__(self) -> RenderableType:
        return view(self.tally)


def view(tally: Tally) -> RenderableType:
    """The arms, the best of the interim ranking first, then the whole, then the failures."""
    ranking = tally.ranking
    lines = [tally.lines[name] for name in ranking]
    lines += [line for name, line in tally.lines.items() if name not in ranking]
    if len(lines) > LINES:
        lines = [line for line in lines if line.done and line.ended < line.runs][:LINES]
    table = Table(box=None, pad_edge=False, expand=False)
    table.add_column("", justify="right")
    table.add_column("initialization", overflow="fold")
    table.add_column("", width=10)
    table.add_column("seeds", no_wrap=True)
    table.add_column("interim mean", justify="right", no_wrap=True)
    table.add_column("")
    for rank, line in enumerate(lines, 1):
        place = f"{rank}." if line.name in ranking else ""
        bar = ProgressBar(total=line.epochs, completed=sum(line.done.values()), width=10)
        mean = _mean(ranking[line.name][0]) if line.name in ranking else ""
        table.add_row(place, Text(line.name), bar, f"{line.ended}/{line.runs}", mean, _trouble(line))
    parts: list[RenderableType] = [table, Text(whole(tally))]
    if ranking and tally.ended < sum(line.runs for line in tally.lines.values()):
        (_, seeds), *_ = ranking.values()
        shared = "the one seed" if seeds == 1 else f"the {seeds} seeds"
        parts.append(Text(f"interim ranking, over {shared} that all have: it decides nothing", style="dim"))
    parts += [Text(f"failed: {name}: {reason}", style="red") for name, reason in tally.failures.items()]
    return Group(*parts)


def whole(tally: Tally) -> str:
    """How many runs have ended, and how long the others take."""
    runs = sum(line.runs for line in tally.lines.values())
    told = f"{tally.ended} of {count(runs, 'run')}"
    left = tally.seconds_left
    return told if left is None or tally.ended == runs else f"{told}, about {time_in_words(left)} left"


def _mean(score: float) -> str:
    """Accuracies are at most 1, and a PSNR of one decibel is none that a network is kept for."""
    return f"{100 * score:.2f} %" if score <= 1 else f"{score:.2f} dB"


def _trouble(line: Line) -> Text:
    told = [(line.diverged, "diverged"), (line.failed, "failed")]
    return Text(", ".join(f"{len(seeds)} {what}" for seeds, what in told if seeds), style="red")
