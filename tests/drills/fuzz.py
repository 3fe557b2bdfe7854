"""Damaged and hostile files of every kind, drawn from a seed, and what comes of reading each.

A file is read, or refused with one error of ours in one line. Anything else is a failure: another exception,
more than five seconds, more than a gigabyte, or a model that an error left changed.
"""

import contextlib
import io
import os
import random
import resource
import shutil
import signal
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file
from torch import nn

import corrinit
from corrinit import SpatialCorrelation, estimate, kernels, load_correlation, save_correlation
from corrinit._reading import sealed
from corrinit.cli import main
from corrinit.errors import CorrInitError
from corrinit.lab.data import cache
from corrinit.lab.data.dataset import load
from corrinit.lab.experiment.config import RunConfig, read_experiment
from corrinit.lab.runs.check import check_records
from corrinit.lab.runs.export import export
from corrinit.lab.runs.record import read_runs
from corrinit.lab.training.loop import Training
from corrinit.lab.training.run import run

SECONDS = 5
GROWTH = 2**30
TINY = RunConfig(train_subset=32, width=0.05, epochs=2, batch_size=32, lr=0.05)

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


@dataclass
class Family:
    """Files of one kind: how to write sound ones into a folder, and how to read them."""

    write: object
    read: object
    files: dict = field(default_factory=dict)

    def sound(self, place):
        """The files of a sound copy, by path below the folder; made once."""
        if not self.files:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            self.write(place)
            self.files = {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        return self.files


def write_record(place):
    run(TINY, place, keep_weights=True)


def read_records(place):
    found, faults = read_runs(place)
    for record in found:
        with contextlib.suppress(CorrInitError):
            record.updates()
            record.correct()
    export(found, place / "all.csv")
    export(found, place / "epochs.parquet", by_epoch=True)
    check_records(place)
    if faults:
        raise faults[0]


class Trainings:
    """A training to restore checkpoints into, and the dataset that it is of."""

    data = None

    @classmethod
    def new(cls):
        cls.data = cls.data or load("digits", train_subset=TINY.train_subset)
        return Training(TINY, cls.data)


def write_checkpoint_file(place):
    training = Trainings.new()
    training.run_epoch()
    training.save(place / "checkpoint.pt")


def read_checkpoint_file(place):
    file, training = place / "checkpoint.pt", Trainings.new()
    training.restore(file)
    training.run_epoch()


def reseal_and_read(place):
    """The digest is made to fit, as nobody but an attacker would."""
    file = place / "checkpoint.pt"
    content = file.read_bytes()[:-32]
    file.write_bytes(content + sealed(content))
    read_checkpoint_file(place)


def write_correlation(place):
    r = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3), provenance={"source": "a drill"})
    save_correlation(place / "R.safetensors", r)


def write_weights(place):
    model = nn.Sequential(nn.Conv2d(3, 12, 3), nn.Conv2d(12, 12, 3))
    torch.save(model.state_dict(), place / "weights.pt")
    save_file(model.state_dict(), place / "weights.safetensors")


def read_weights(place):
    for name in ("weights.pt", "weights.safetensors"):
        estimate(place / name)


def pictures(chance, number=6):
    for _ in range(number):
        buffer = io.BytesIO()
        pixels = np.frombuffer(chance.randbytes(192), np.uint8).reshape(8, 8, 3)
        Image.fromarray(pixels).save(buffer, chance.choice(("PNG", "JPEG", "BMP", "GIF")))
        yield buffer.getvalue()


def write_folder(place):
    chance = random.Random(0)
    for name in ("a", "b"):
        (place / name).mkdir()
        for number, picture in enumerate(pictures(chance)):
            (place / name / f"{number}.png").write_bytes(picture)


def write_parquet(place):
    chance = random.Random(0)
    for split in ("train", "test"):
        images = [{"bytes": content, "path": None} for content in pictures(chance)]
        table = pa.table({"img": images, "label": [0, 1, 0, 1, 0, 1]})
        parquet.write_table(table, place / f"{split}-00000-of-00001.parquet")


def write_experiment(place):
    (place / "x.toml").write_text(
        '[base]\ndata = "digits"\nepochs = 3\nlr = 0.1\nmodel = "small"\n\n[[cross]]\nseed = [0, 1]\n'
        'initialization = [{method = "correlated", strength = 0.5}, {method = "kaiming_normal"}]\n'
    )


def read_cache(place):
    images, labels = np.zeros((4, 1, 4, 4), np.uint8), np.array([0, 1, 0, 1])
    splits = cache.Splits(("a", "b"), "a drill", images, labels, images, labels)
    source = cache.Source("drill", (), lambda progress: splits)
    with patch.object(cache.pooch, "os_cache", lambda name: place):
        found = cache.cached(source)
    assert found.classes == ("a", "b")
    np.testing.assert_array_equal(found.train_images, images)


def own_loop(place):
    def train(model, seed):
        return [0.25, 0.5]

    corrinit.compare(
        train, ["kaiming_normal", "orthogonal"], 2, model=lambda: nn.Conv2d(2, 2, 3), folder=place
    )


def command_line(place):
    """The words of a command on damaged files: exit code 0, 1 or 2, and at most one line of error."""
    out, err = io.StringIO(), io.StringIO()
    file = next(place.glob("*.safetensors"), place)
    words = ["runs", "--folder", str(place)] if file == place else ["show", str(file)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as ended:
            code = ended.code or 0
    if code not in (0, 1, 2):
        raise AssertionError(f"exit code {code}")
    errors = [line for line in err.getvalue().splitlines() if not line.startswith("warning: ")]
    if code:
        if len(errors) != 1:
            raise AssertionError(f"{len(errors)} lines of error: {errors[:3]}")
        raise CorrInitError(errors[0])


FAMILIES = {
    "run records": Family(write_record, read_records),
    "checkpoints": Family(write_checkpoint_file, read_checkpoint_file),
    "checkpoints, digest made to fit": Family(write_checkpoint_file, reseal_and_read),
    "correlation files": Family(write_correlation, lambda place: load_correlation(place / "R.safetensors")),
    "weights": Family(write_weights, read_weights),
    "image folders": Family(write_folder, lambda place: load(f"folder:{place}")),
    "Parquet": Family(write_parquet, lambda place: load(f"parquet:{place}")),
    "experiment files": Family(write_experiment, lambda place: read_experiment(place / "x.toml")),
    "data cache": Family(read_cache, read_cache),
    "kept runs of compare": Family(own_loop, own_loop),
    "command line, correlation": Family(write_correlation, command_line),
    "command line, records": Family(write_record, command_line),
}


class Hang(BaseException):
    """Reading took longer than `SECONDS`."""


def _too_long(*_):
    raise Hang


def outcome(read, place):
    """In a word: read, refused, or how it failed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
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
        signal.setitimer(signal.ITIMER_REAL, 0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return came if grown * 1024 <= GROWTH else f"growth of {grown >> 20} GiB"


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


# Misuse: careless values for the arguments of public functions

VALUES = [
    *(None, True, -1, 0, 2.5, float("nan"), float("inf"), "2", "", b"x", (), [], {}, [None], object()),
    *(nn.Conv2d(1, 1, 3), np.zeros(3), np.zeros((9, 9)), np.eye(9), torch.zeros(2), Path("x"), 10**30),
    *("kaiming_normal", "correlated", torch.eye(9, dtype=torch.complex64)),
]
MODEL = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))


def misuses():
    """Calls with one careless value each, by name."""
    calls = {
        "initialize": (
            corrinit.initialize,
            {"model": MODEL, "correlation": None, "strength": 1.0, "seed": 0},
        ),
        "estimate": (corrinit.estimate, {"source": MODEL}),
        "compare": (
            corrinit.compare,
            {
                "train_fn": lambda model, seed: 0.5,
                "methods": ["kaiming_normal", "orthogonal"],
                "seeds": 2,
                "model": lambda: nn.Conv2d(2, 2, 3),
                "max_seeds": None,
                "baseline": None,
                "images": None,
            },
        ),
    }
    for name, (function, arguments) in calls.items():
        for argument in arguments:
            for number, value in enumerate(VALUES):
                yield f"{name}({argument}=VALUES[{number}])", function, {**arguments, argument: value}


def misuse(functions=("initialize", "estimate", "compare")):
    """Outcomes of all misuses of some functions."""
    found = Counter()
    for name, function, arguments in misuses():
        if name.partition("(")[0] not in functions:
            continue
        before = {key: value.clone() for key, value in MODEL.state_dict().items()}
        came = outcome(lambda _, f=function, a=arguments: f(**a), None)
        changed = any(not value.equal(before[key]) for key, value in MODEL.state_dict().items())
        if came in ("read", "refused"):
            came = "changed model" if changed and came == "refused" else came
        found[came if came in ("read", "refused") else f"{name}: {came}"] += 1
    return found
