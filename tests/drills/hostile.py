"""Files that somebody made in order to do harm, each as it was once met, and what is to come of it.

A program in a file writes to `owned`, in the folder that the file is in; none may ever be there.
"""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from contextlib import redirect_stdout, suppress

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.numpy import save_file

from corrinit import estimate, load_correlation
from corrinit._reading import read_arrays
from corrinit.cli import main
from corrinit.lab.data.dataset import load
from corrinit.lab.experiment.config import read_experiment
from corrinit.lab.runs.record import read_runs
from corrinit.lab.training.checkpoint import read_checkpoint, write_checkpoint

OWNED = "owned"


class Program:
    """An object that runs a program when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return exec, (f"open({str(self.place / OWNED)!r}, 'w')",)


def picture():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def postscript(body):
    return f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n{body}\nshowpage\n".encode()


def class_folder(place, content=None):
    for name in ("a", "b"):
        (place / name).mkdir()
        for number in range(2):
            (place / name / f"{number}.png").write_bytes(picture())
    if content is not None:
        (place / "a" / "2.png").write_bytes(content)
    return lambda: load(f"folder:{place}")


def program_in_a_picture(place):
    return class_folder(place, postscript(f"({place / OWNED}) (w) file (x) writestring"))


def endless_program_in_a_picture(place):
    return class_folder(place, postscript("{} loop"))


def parquet_of(place, contents, labels):
    for split in ("train", "test"):
        table = pa.table({"img": [{"bytes": each, "path": None} for each in contents], "label": labels})
        parquet.write_table(table, place / f"{split}-00000-of-00001.parquet")
    return lambda: load(f"parquet:{place}")


def program_in_a_picture_in_parquet(place):
    program = postscript(f"({place / OWNED}) (w) file (x) writestring")
    return parquet_of(place, [program, picture(), picture(), picture()], [0, 1, 0, 1])


def label_of_a_thousand_million(place):
    return parquet_of(place, 4 * [picture()], [0, 1, 0, 10**9])


def pictures_that_promise_more_than_there_is_memory(place):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 13000, 13000, 8, 2, 0, 0, 0))
    huge = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    for name in ("a", "b"):
        (place / name).mkdir()
        for number in range(20):
            (place / name / f"{number}.png").write_bytes(huge)
    return lambda: load(f"folder:{place}")


def pipe_among_pictures(place):
    read = class_folder(place)
    os.mkfifo(place / "a" / "2.png")
    return read


def link_to_nowhere_among_pictures(place):
    read = class_folder(place)
    (place / "a" / "2.png").symlink_to("nowhere")
    return read


def link_to_itself_among_pictures(place):
    read = class_folder(place)
    (place / "a" / "2.png").symlink_to("2.png")
    return read


def program_in_weights(place):
    torch.save({"w": torch.zeros(4, 4, 3, 3), "x": Program(place)}, place / "a.pt")
    return lambda: estimate(place / "a.pt")


def program_in_weights_of_before(place):
    content = {"w": torch.zeros(4, 4, 3, 3), "x": Program(place)}
    torch.save(content, place / "a.pt", _use_new_zipfile_serialization=False)
    return lambda: estimate(place / "a.pt")


def program_as_weights(place):
    (place / "a.pt").write_bytes(pickle.dumps(Program(place)))
    return lambda: estimate(place / "a.pt")


def program_in_a_checkpoint(place):
    write_checkpoint(place / "checkpoint.pt", {"epoch": 1, "x": Program(place)})
    return lambda: read_checkpoint(place / "checkpoint.pt", torch.device("cpu"))


def program_in_an_array(place):
    np.savez(place / "updates.npz", losses=np.array([Program(place)], dtype=object))
    return lambda: read_arrays(place / "updates.npz")


def one_number_as_a_large_weight(place):
    torch.save({"w": torch.zeros(1, 1, 1, 1).expand(40000, 30000, 3, 3)}, place / "a.pt")
    return lambda: estimate(place / "a.pt")


def compressed_weights(place):
    torch.save({"w": torch.randn(8, 8, 3, 3)}, place / "sound.pt")
    with zipfile.ZipFile(place / "sound.pt") as sound, zipfile.ZipFile(place / "a.pt", "w") as made:
        for member in sound.infolist():
            made.writestr(member.filename, sound.read(member), zipfile.ZIP_DEFLATED)
    return lambda: estimate(place / "a.pt")


def pipe_as_weights(place):
    os.mkfifo(place / "a.pt")
    return lambda: estimate(place / "a.pt")


def pipe_as_correlation(place):
    os.mkfifo(place / "R.safetensors")
    return lambda: load_correlation(place / "R.safetensors")


def correlation_of(place, matrix, **fields):
    about = {"version": 1, "kernel_size": [3, 3], "provenance": {}, **fields}
    save_file({"correlation": matrix}, place / "R.safetensors", {"corrinit.correlation": json.dumps(about)})
    return lambda: load_correlation(place / "R.safetensors")


def correlation_of_65_axes(place):
    return correlation_of(place, np.eye(1), kernel_size=65 * [1])


def correlation_of_enormous_numbers(place):
    return correlation_of(place, np.full((9, 9), 1e300))


def correlation_of_exponents(place):
    correlation_of(place, np.eye(9))
    file = place / "R.safetensors"
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    header["correlation"] = {"dtype": "F8_E8M0", "shape": [9, 9], "data_offsets": [0, 81]}
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(81))
    return lambda: load_correlation(file)


def text_that_clears_the_screen(place):
    read = correlation_of(place, np.eye(9), provenance={"source": "x\x1b]0;PWNED\x07\x1b[2J"})
    file = read() and place / "R.safetensors"

    def shown():
        out = io.StringIO()
        with redirect_stdout(out), suppress(SystemExit):
            main(["show", str(file)])
        assert all(line.isprintable() for line in out.getvalue().splitlines()), "control characters"

    return shown


def product_without_end(place):
    lists = "\n".join(
        f"{name} = {list(range(1, 41))}" for name in ("seed", "epochs", "batch_size", "train_subset")
    )
    more = "\n".join(f"{name} = {[each / 100 for each in range(1, 41)]}" for name in ("lr", "momentum"))
    (place / "x.toml").write_text(f"[[cross]]\n{lists}\n{more}\n")
    return lambda: read_experiment(place / "x.toml")


def lists_in_lists(place):
    (place / "x" / "y").mkdir(parents=True)
    (place / "x" / "y" / "config.json").write_text(100_000 * "[" + 100_000 * "]")

    def read():
        records, faults = read_runs(place)
        assert not records
        raise faults[0]

    return read


def flipped_bit_in_a_checkpoint(place):
    write_checkpoint(place / "checkpoint.pt", {"w": torch.ones(100)})
    content = bytearray((place / "checkpoint.pt").read_bytes())
    content[content.index(struct.pack("<f", 1)) + 3] ^= 1 << 6
    (place / "checkpoint.pt").write_bytes(content)
    return lambda: read_checkpoint(place / "checkpoint.pt", torch.device("cpu"))


def weights_under_a_name_that_is_no_text(place):
    file = place / os.fsdecode(b"\xff.pt")
    torch.save({"w": torch.randn(8, 8, 3, 3)}, place / "a.pt")
    (place / "a.pt").rename(file)
    return lambda: estimate(file)


REFUSED = (
    *(program_in_a_picture, endless_program_in_a_picture, program_in_a_picture_in_parquet),
    *(label_of_a_thousand_million, pictures_that_promise_more_than_there_is_memory),
    *(pipe_among_pictures, link_to_nowhere_among_pictures, link_to_itself_among_pictures),
    *(program_in_weights, program_in_weights_of_before, program_as_weights),
    *(program_in_a_checkpoint, program_in_an_array, flipped_bit_in_a_checkpoint),
    *(one_number_as_a_large_weight, compressed_weights, pipe_as_weights, pipe_as_correlation),
    *(correlation_of_65_axes, correlation_of_enormous_numbers, correlation_of_exponents),
    *(product_without_end, lists_in_lists),
)
READ = (text_that_clears_the_screen, weights_under_a_name_that_is_no_text)
HOSTILE = {make.__name__.replace("_", " "): (make, "refused") for make in REFUSED} | {
    make.__name__.replace("_", " "): (make, "read") for make in READ
}
"""How to lay each file into a folder, which gives how to read it, and what is to come of that."""
