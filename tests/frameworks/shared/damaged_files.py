"""Files of weights, damaged in many ways."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import corrinit


def mutations(content: bytes, count: int, seed: int = 0, *, within: int | None = None) -> Iterator[bytes]:
    """Versions of a file with bits flipped, bytes overwritten, pieces cut out or doubled, or its end lost.

    Args:
        content: of the file.
        count: of versions.
        seed: of the random numbers.
        within: bytes at the beginning, and as many at the end, to damage; None: all of them. Where most of a
            file are numbers of weights, damage elsewhere changes nothing but these.
    """
    chance = random.Random(seed)
    near = len(content) if within is None else min(within, len(content))
    for turn in range(count):
        damaged = bytearray(content)
        place = chance.randrange(near)
        if chance.random() < 0.5:
            place = len(content) - 1 - place
        kind = turn % 5
        if kind == 0:
            damaged[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            damaged[place : place + 4] = chance.randbytes(4)
        elif kind == 2:
            damaged[place : place + 8] = b"\xff" * 8
        elif kind == 3:
            length = chance.randrange(1, 64)
            piece = damaged[place : place + length]
            damaged[place : place + length] = b"" if chance.random() < 0.5 else piece + piece
        else:
            del damaged[place:]
        yield bytes(damaged)


def outcome(path: Path) -> str:
    """What `corrinit.estimate` makes of a file: nothing, or the one line that it ends with.

    Raises:
        AssertionError: if the line is none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            corrinit.estimate(path)
        except corrinit.CorrInitError as error:
            line = str(error)
            assert line, "an error without a word"
            assert line.isprintable(), line
            assert len(line) < 1000, line
            return line
    return ""
