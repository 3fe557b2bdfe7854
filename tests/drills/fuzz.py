"""Damaged and hostile files of every kind, drawn from a seed, and what comes of reading each.

A file is read, or refused with one error of ours in one line. Anything else is a failure: another exception,
more than five seconds of the processor or a minute in all, more than a gigabyte, a program that is run, or a
model that an error left changed.
"""

import os
import random
import shutil
import signal
import sys
import warnings
from collections import Counter
from pathlib import Path
from unittest.mock import patch

from corrinit.errors import CorrInitError

from .families import FAMILIES
from .hostile import HOSTILE, OWNED

SECONDS = 5
WAIT = 60
GROWTH = 2**30
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")
"""What Python says when a program is about to be run."""

WORDS = [
    *("null", "true", "-1", "0", "1e400", "NaN", "[]", "{}", '""', '"x"', "0.5", str(2**63), str(2**31)),
    *(
        "1" + 400 * "0",
        "1" + 5000 * "0",
        r'"\ud800"',
        '"a\\u001b[2J"',
        3000 * "[",
        2000 * '{"a":',
        "1979-05-27",
    ),
]
NUMBERS = [0, 1, 127, 255]


def mutate(content, chance):
    """One to four changes of some bytes: of bits, of lengths, of the words of a text."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4))):
        here = chance.randrange(len(data) + 1)
        there = min(len(data), here + chance.choice((1, 2, 4, 8, 64, 1024)))
        match chance.randrange(8):
            case 0 if here < len(data):
                data[here] ^= 1 << chance.randrange(8)
            case 1 if here < len(data):
                data[here] = chance.choice(NUMBERS)
            case 2:
                del data[here:]
            case 3:
                del data[here:there]
            case 4:
                data[here:here] = data[here:there]
            case 5:
                data[here:there] = bytes(there - here)
            case 6:
                data[here:there] = chance.randbytes(there - here)
            case _:
                data = _other_word(data, chance)
    return bytes(data)


def _other_word(data, chance):
    """Another value in the place of one between a colon or an equals sign and what ends it."""
    starts = [i + 1 for i, byte in enumerate(data[:20000]) if byte in b":="]
    if not starts:
        return data
    start = chance.choice(starts)
    end = next((i for i in range(start, len(data)) if data[i] in b",}\n"), len(data))
    return data[:start] + chance.choice(WORDS).encode() + data[end:]


class Hang(BaseException):
    """Reading took longer than `SECONDS` of the processor, or than `WAIT` in all."""


def _too_long(*_):
    raise Hang


def _kibibytes(name):
    """A figure of this process, from Linux."""
    with Path("/proc/self/status").open() as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


_programs: list[str] = []


def _hear(event, arguments):
    """Note each program that is about to be run, but for git, which knows the commit of the sources."""
    if event in PROGRAMS and arguments[0] != "git":
        _programs.append(f"{event} {arguments[0]}")


sys.addaudithook(_hear)


def outcome(read, place):
    """In a word: read, refused, or how it failed."""
    _programs.clear()
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    before = _kibibytes("VmHWM")
    limits = ((signal.ITIMER_PROF, signal.SIGPROF, SECONDS), (signal.ITIMER_REAL, signal.SIGALRM, WAIT))
    for timer, bell, limit in limits:  # by the clock alone, other work on the machine would count
        signal.signal(bell, _too_long)
        signal.setitimer(timer, limit)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(place)
        came = "read"
    except CorrInitError as error:
        came = "refused" if "\n" not in str(error) and str(error).isprintable() else "several lines"
    except Hang:
        came = "hang"
    except Exception as error:
        came = f"foreign: {type(error).__name__}: {str(error)[:120]!r} in {_place(error)}"
    finally:
        for timer, _, _ in limits:
            signal.setitimer(timer, 0)
    if _programs or (place is not None and (place / OWNED).exists()):
        return f"a program was run: {_programs}"
    grown = 1024 * (_kibibytes("VmHWM") - before)
    return came if grown <= GROWTH else f"growth of {grown / 2**30:.1f} GiB"


def _place(error):
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def fuzz(name, number, seed, root):
    """Outcomes of a number of mutated files of a family, each with the seeds that it came of."""
    family, counts, seeds = FAMILIES[name], Counter(), {}
    sound = family.sound(root / "sound")
    with patch.dict(os.environ, {"XDG_CACHE_HOME": str(root / "cache")}):
        for each in range(number):
            chance = random.Random(f"{seed} {name} {each}")
            place = root / "mutated"
            shutil.rmtree(place, ignore_errors=True)
            damaged = chance.choice(sorted(sound))
            for file, content in sound.items():
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                (place / file).write_bytes(mutate(content, chance) if file == damaged else content)
            came = outcome(family.read, place)
            counts[came] += 1
            seeds.setdefault(came, each)
    return counts, seeds


def hostile(root, names=tuple(HOSTILE)):
    """Outcomes of hostile files, of which those that are read as they should be count as right, too."""
    found = Counter()
    for name in names:
        make, right = HOSTILE[name]
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        with patch.dict(os.environ, {"XDG_CACHE_HOME": str(root / "cache")}):
            read = make(root)
            came = outcome(lambda _, read=read: read(), root)
        found[came if came == right else f"{name}: {came}"] += 1
    return found
