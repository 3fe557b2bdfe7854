"""Data sets: what is loaded, that it is decoded once, and one clear error for each fault."""

import errno
import hashlib
import io
import json
import os
import tarfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from corrinit.errors import ConfigError, CorrInitError, DataError
from corrinit.lab.data import cache, cifar
from corrinit.lab.data import dataset as data
from corrinit.lab.data.dataset import Reserve, hold_out, load, reserved, set_apart
from corrinit.lab.data.decode import Encoded, decode
from corrinit.lab.data.source import stratified_sample

DATA_DIRECTORY = os.environ.get("CORRINIT_DATA")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CORRINIT_DATA", raising=False)


def picture(seed, size=(6, 5), mode="RGB"):
    channels = {"RGB": (3,), "L": ()}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), np.uint8)
    return Image.fromarray(pixels)


def encode(image, format="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


def write_parquet(directory, split, images, labels, *, column="img", label="label", names=("a", "b")):
    directory.mkdir(exist_ok=True, parents=True)
    structs = pa.array(
        [{"bytes": content, "path": None} for content in images],
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    table = pa.table({column: structs, label: labels})
    if names:
        features = {column: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
    path = directory / f"{split}-00000-of-00001.parquet"
    parquet.write_table(table, path)
    return path


def small_parquet(directory, **options):
    write_parquet(directory, "train", [encode(picture(i)) for i in range(6)], [0, 1, 0, 1, 0, 1], **options)
    write_parquet(directory, "test", [encode(picture(i)) for i in (6, 7)], [1, 0], **options)
    return f"parquet:{directory}"


def small_folder(directory, classes=("cat", "dog"), count=5, **options):
    for number, name in enumerate(classes):
        (directory / name).mkdir(parents=True)
        for index in range(count):
            picture(10 * number + index, **options).save(directory / name / f"{index}.png")
    return directory


def pixels(image):
    return np.asarray(image).transpose(2, 0, 1)


# digits


def test_digits_are_split_by_class_and_scaled_to_bytes():
    data = load("digits")
    assert len(data.train_images) + len(data.test_images) == 1797
    assert data.train_images.dtype == np.uint8
    assert (data.train_images.min(), data.train_images.max()) == (0, 255)
    assert set(np.unique(data.train_images)) == {round(grey * 255 / 16) for grey in range(17)}
    train, test = np.bincount(data.train_labels), np.bincount(data.test_labels)
    assert np.abs(test - (train + test) / 5).max() < 1
    assert "scikit-learn" in data.provenance


def test_the_test_images_are_the_same_for_every_seed():
    one, other = load("digits", train_subset=100, seed=1), load("digits", train_subset=100, seed=2)
    assert np.array_equal(one.test_images, other.test_images)
    assert not np.array_equal(one.train_images, other.train_images)


def test_training_and_test_digits_do_not_overlap():
    data = load("digits")
    both = np.concatenate([data.train_images, data.test_images])
    assert len(np.unique(both, axis=0)) == len(both)


def test_the_subset_is_stratified_and_named_in_the_provenance():
    data = load("digits", train_subset=100, seed=3)
    assert np.bincount(data.train_labels).tolist() == pytest.approx([10] * 10, abs=1)
    assert len(data.train_images) == 100
    assert "stratified random subset of 100 images" in data.provenance
    assert np.array_equal(data.train_images, load("digits", train_subset=100, seed=3).train_images)


def test_stratified_samples_have_the_size_asked_for_and_keep_proportions():
    labels = np.repeat([0, 1, 2], [50, 30, 7])
    for size in range(3, 87):
        chosen = stratified_sample(labels, size, seed=0)
        assert len(set(chosen.tolist())) == size
        counts = np.bincount(labels[chosen], minlength=3)
        assert np.abs(counts - size * np.array([50, 30, 7]) / 87).max() < 1


@pytest.mark.parametrize("size", [-1, 0, 9, 1439])
def test_an_impossible_subset_is_refused(size):
    with pytest.raises(ConfigError, match=f"train_subset is {size}; it lies between 10"):
        load("digits", train_subset=size)


@pytest.mark.parametrize("spec", ["mnist", "parquet:", "folder", "digits:x", ""])
def test_an_unknown_spec_is_refused_with_the_known_ones(spec):
    with pytest.raises(ConfigError, match=r"digits, cifar10, cifar100, parquet:DIR, folder:DIR"):
        load(spec)


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=8).map(np.array),
    share=st.floats(0, 1),
)
def test_stratified_samples_leave_no_class_out_where_there_is_room(counts, share):
    labels = np.repeat(np.arange(len(counts)), counts)
    size = len(counts) + int(share * (len(labels) - len(counts)))
    drawn = np.bincount(labels[stratified_sample(labels, size, seed=0)], minlength=len(counts))
    assert drawn.sum() == size
    assert (drawn >= 1).all()
    assert (drawn <= counts).all()


# Pictures as a person sees them


def turned(image, orientation):
    """The picture as a telephone stores it that was held another way."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image.transpose({6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}[orientation])
    buffer = io.BytesIO()
    stored.save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


def test_pictures_are_turned_upright_and_that_is_said():
    plain = [encode(picture(i)) for i in range(2)]
    decoded = decode([Encoded(content, "x") for content in (*plain, turned(picture(2), 6))])
    assert np.array_equal(decoded.images[2], pixels(picture(2)))
    assert "1 turned upright by their EXIF orientation" in decoded.encoding
    assert decode([Encoded(content, "x") for content in plain]).encoding == "PNG-encoded"


def test_transparent_pixels_are_white_and_that_is_said():
    image = picture(0).convert("RGBA")
    image.putpixel((1, 2), (10, 20, 30, 0))
    decoded = decode([Encoded(encode(image), "x")])
    assert decoded.images[0, :, 2, 1].tolist() == [255, 255, 255]
    assert "1 with transparent pixels, shown on white" in decoded.encoding
    image.putalpha(255)
    assert decode([Encoded(encode(image), "x")]).encoding == "PNG-encoded"


def test_the_first_of_several_frames_is_taken_and_that_is_said():
    buffer = io.BytesIO()
    picture(0).save(buffer, "TIFF", save_all=True, append_images=[picture(1)])
    decoded = decode([Encoded(buffer.getvalue(), "x")])
    assert np.array_equal(decoded.images[0], pixels(picture(0)))
    assert "1 of several frames" in decoded.encoding


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what it reads nevertheless
@given(st.data())
@settings(max_examples=150)
def test_a_picture_with_damaged_bytes_is_read_or_refused(data):
    format = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"]))
    content = bytearray(encode(picture(0), format))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    with suppress(DataError):
        assert decode([Encoded(bytes(content[:cut]), "x")]).images.dtype == np.uint8


def test_the_only_image_of_a_class_is_trained_on(tmp_path):
    small_folder(tmp_path / "pets", count=9)
    (tmp_path / "pets" / "emu").mkdir()
    picture(99).save(tmp_path / "pets" / "emu" / "only.png")
    data = load(f"folder:{tmp_path / 'pets'}")
    assert set(data.train_labels) == {0, 1, 2}
    assert 2 not in data.test_labels


# Parquet


@pytest.mark.parametrize(("column", "label"), [("img", "label"), ("image", "fine_label")])
def test_parquet_gives_the_images_labels_and_class_names(tmp_path, column, label):
    data = load(small_parquet(tmp_path / "tiny", column=column, label=label))
    assert data.name == "tiny"
    assert data.classes == ("a", "b")
    assert np.array_equal(data.train_images, [pixels(picture(i)) for i in range(6)])
    assert data.train_labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.test_labels.tolist() == [1, 0]
    assert data.provenance == "tiny: Parquet, PNG-encoded; 6 training and 2 test images of 3×5×6, 2 classes"


def test_several_files_of_a_split_are_read_in_order(tmp_path):
    spec = small_parquet(tmp_path / "tiny" / "data")
    path = write_parquet(tmp_path / "tiny" / "data", "train", [encode(picture(50))], [1])
    path.rename(path.with_name("train-00001-of-00002.parquet"))
    write_parquet(tmp_path / "tiny" / "data", "train", [encode(picture(51))], [0])
    data = load(spec.removesuffix("/data"))
    assert np.array_equal(data.train_images, [pixels(picture(51)), pixels(picture(50))])
    assert data.train_labels.tolist() == [0, 1]


def test_jpeg_is_called_lossy(tmp_path):
    for split in ("train", "test"):
        write_parquet(tmp_path / "lossy", split, [encode(picture(i), "JPEG") for i in (0, 1)], [0, 1])
    assert "JPEG-encoded (lossy)" in load(f"parquet:{tmp_path / 'lossy'}").provenance


def test_without_metadata_classes_are_named_by_number(tmp_path):
    assert load(small_parquet(tmp_path / "tiny", names=())).classes == ("0", "1")


def test_grey_images_have_one_channel_and_mixed_ones_three(tmp_path):
    grey = [encode(picture(i, mode="L")) for i in range(2)]
    for split in ("train", "test"):
        write_parquet(tmp_path / "grey", split, grey, [0, 1])
        write_parquet(tmp_path / "mixed", split, [grey[0], encode(picture(1))], [0, 1])
    assert load(f"parquet:{tmp_path / 'grey'}").train_images.shape == (2, 1, 5, 6)
    mixed = load(f"parquet:{tmp_path / 'mixed'}").train_images
    assert np.array_equal(mixed[0], [np.asarray(picture(0, mode="L"))] * 3)
    assert np.array_equal(mixed[1], pixels(picture(1)))


@pytest.mark.filterwarnings("error")
def test_an_image_that_is_far_too_large_is_one_error_without_a_warning():
    large = Encoded(encode(Image.new("1", (13_000, 13_000))), "large.png")
    with pytest.raises(DataError, match="13000×13000 pixels, more than"):
        decode([large])


def test_progress_ends_at_the_total(tmp_path):
    seen = []
    load(small_parquet(tmp_path / "tiny"), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(6, 6), (2, 2)]


def rewrite(tmp_path, **changes):
    arguments = {"images": [encode(picture(i)) for i in range(6)], "labels": [0, 1, 0, 1, 0, 1]} | changes
    return write_parquet(tmp_path / "tiny", "train", **arguments)


def truncate(tmp_path):
    path = tmp_path / "tiny" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-40])


def damage_pages(tmp_path):
    path = tmp_path / "tiny" / "train-00000-of-00001.parquet"
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)


def rewrite_metadata(tmp_path, features):
    path = tmp_path / "tiny" / "train-00000-of-00001.parquet"
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(parquet.read_table(path).replace_schema_metadata(metadata), path)


GOOD = [encode(picture(i)) for i in range(5)]
PROGRAM = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 5\n%%EndComments\n{} loop\n"
PARQUET_FAULTS = {
    "truncated file": (truncate, r"train-00000-of-00001\.parquet is not a sound Parquet file"),
    "damaged pages": (damage_pages, "not a sound Parquet file"),
    "no file of a split": (
        lambda path: (path / "tiny" / "test-00000-of-00001.parquet").unlink(),
        r"tiny holds no test-\*\.parquet",
    ),
    "mixed sizes": (
        lambda path: rewrite(path, images=[*GOOD, encode(picture(9, size=(7, 5)))]),
        r"row 5 is 7×5 pixels, .*row 0 is 6×5; resize",
    ),
    "sizes that differ between splits": (
        lambda path: rewrite(path, images=[encode(picture(i, size=(4, 4))) for i in range(6)]),
        r"training images have shape \(3, 4, 4\).* test images \(3, 5, 6\)",
    ),
    "truncated image": (
        lambda path: rewrite(path, images=[*GOOD, GOOD[0][:80]]),
        "row 5 is not an image that can be read .*; remove it",
    ),
    "not an image": (
        lambda path: rewrite(path, images=[*GOOD, b"GIF89 is not here"]),
        "row 5 is not an image that can be read",
    ),
    "16-bit image": (
        lambda path: rewrite(path, images=[*GOOD, encode(Image.new("I;16", (6, 5)))]),
        "row 5 has pixels of mode I;16; convert the images to 8 bits",
    ),
    "missing image": (lambda path: rewrite(path, images=[*GOOD, None]), "row 5 has no image bytes"),
    "label too large": (
        lambda path: rewrite(path, labels=[0, 1, 0, 1, 0, 2]),
        "training image 5 has label 2; the 2 classes are numbered 0 to 1",
    ),
    "negative label": (lambda path: rewrite(path, labels=[0, -1, 0, 1, 0, 1]), "image 1 has label -1"),
    "labels that are text": (lambda path: rewrite(path, labels=list("ababab")), "the labels are string"),
    "missing label": (lambda path: rewrite(path, labels=[0, 1, None, 1, 0, 1]), "int64 with 1 missing"),
    "other columns": (lambda path: rewrite(path, column="picture"), "one of them must be image or img"),
    "no rows": (
        lambda path: rewrite(path, images=[], labels=pa.array([], pa.int64())),
        "hold no rows; a split needs images",
    ),
    "one class": (lambda path: rewrite(path, labels=[1] * 6), "all of one class"),
    "a label beyond all rows": (
        lambda path: rewrite(path, labels=[0, 1, 0, 1, 0, 10**9], names=()),
        "a label is 1000000000, but there are 6 images and no class names",
    ),
    "class names that are one text": (
        lambda path: rewrite_metadata(path, {"label": {"names": "ab"}}),
        "class names in its schema metadata are no list of text",
    ),
    "a picture that is a program": (
        lambda path: rewrite(path, images=[*GOOD, PROGRAM]),
        "row 5 is not an image that can be read",
    ),
    "a picture too large": (
        lambda path: rewrite(path, images=[*GOOD, encode(Image.new("1", (5000, 5000)))]),
        "row 5 has 5000×5000 pixels, more than 16,777,216; resize",
    ),
}


@pytest.mark.parametrize("fault", PARQUET_FAULTS)
def test_a_faulty_parquet_is_one_clear_error(tmp_path, fault):
    spec = small_parquet(tmp_path / "tiny")
    damage, message = PARQUET_FAULTS[fault]
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        load(spec)


def test_a_column_of_plain_bytes_is_refused(tmp_path):
    spec = small_parquet(tmp_path / "tiny")
    path = tmp_path / "tiny" / "train-00000-of-00001.parquet"
    parquet.write_table(pa.table({"img": [b"x"], "label": [0]}), path)
    with pytest.raises(DataError, match=r"image column is binary; it must be struct\{bytes, path\}"):
        load(spec)


def test_unreadable_metadata_is_refused(tmp_path):
    spec = small_parquet(tmp_path / "tiny")
    path = tmp_path / "tiny" / "train-00000-of-00001.parquet"
    table = parquet.read_table(path).replace_schema_metadata({"huggingface": "{not json"})
    parquet.write_table(table, path)
    with pytest.raises(DataError, match="schema metadata cannot be read"):
        load(spec)


def test_corrinit_data_is_looked_in_first(tmp_path, monkeypatch):
    small_parquet(tmp_path / "store" / "tiny", names=("right", "place"))
    small_parquet(tmp_path / "here" / "tiny", names=("wrong", "place"))
    monkeypatch.chdir(tmp_path / "here")
    assert load("parquet:tiny").classes[0] == "wrong"
    monkeypatch.setenv("CORRINIT_DATA", str(tmp_path / "store"))
    assert load("parquet:tiny").classes[0] == "right"


# folders


def test_a_folder_without_splits_is_split_by_class_and_says_so(tmp_path):
    data = load(f"folder:{small_folder(tmp_path / 'pets')}")
    assert data.classes == ("cat", "dog")
    assert np.bincount(data.train_labels).tolist() == [4, 4]
    assert np.bincount(data.test_labels).tolist() == [1, 1]
    assert "image files, PNG-encoded, split 80/20 by class (fixed seed 0)" in data.provenance


def test_a_folder_with_splits_keeps_them(tmp_path):
    small_folder(tmp_path / "pets" / "train")
    small_folder(tmp_path / "pets" / "test", count=2)
    data = load(f"folder:{tmp_path / 'pets'}")
    assert data.train_labels.tolist() == [0] * 5 + [1] * 5
    assert data.test_labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(data.train_images[5], pixels(picture(10)))
    assert "80/20" not in data.provenance


def test_hidden_files_are_passed_over(tmp_path):
    small_folder(tmp_path / "pets")
    (tmp_path / "pets" / "cat" / ".DS_Store").write_bytes(b"not an image")
    (tmp_path / "pets" / ".git").mkdir()
    assert load(f"folder:{tmp_path / 'pets'}").classes == ("cat", "dog")


def add(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


FOLDER_FAULTS = {
    "a file that is no image": (
        lambda pets: add(pets / "cat" / "notes.txt", b"hello"),
        r"notes\.txt is not an image",
    ),
    "an empty class": (lambda pets: (pets / "emu").mkdir(), "emu is empty; put images into it"),
    "a folder in a class": (lambda pets: (pets / "cat" / "kittens").mkdir(), "kittens is a folder"),
    "only train/": (lambda pets: small_folder(pets / "train"), "test is missing"),
    "only test/": (lambda pets: small_folder(pets / "test"), "train is missing"),
    "a pipe": (lambda pets: os.mkfifo(pets / "cat" / "pipe.png"), "pipe.png is no regular file"),
    "a dangling link": (
        lambda pets: (pets / "cat" / "gone.png").symlink_to(pets / "nowhere.png"),
        "gone.png is no regular file",
    ),
    "a link to itself": (
        lambda pets: (pets / "dog" / "loop.png").symlink_to(pets / "dog" / "loop.png"),
        "loop.png is no regular file",
    ),
    "a picture that is a program": (
        lambda pets: add(pets / "cat" / "page.png", PROGRAM),
        "page.png is not an image",
    ),
    "a name with control characters": (
        lambda pets: add(pets / "cat" / "\x1b[2J.png", b"hello"),
        r"\\x1b\[2J\.png is not an image",
    ),
    "a class only in test/": (
        lambda pets: (small_folder(pets / "train"), small_folder(pets / "test", ("cat", "emu"))),
        "has classes that .*train lacks: emu",
    ),
}


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_a_faulty_folder_is_one_clear_error(tmp_path, fault):
    damage, message = FOLDER_FAULTS[fault]
    damage(small_folder(tmp_path / "pets"))
    with pytest.raises(DataError, match=message):
        load(f"folder:{tmp_path / 'pets'}")


def test_missing_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere is not a directory"):
        load(f"folder:{tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no sub-folders"):
        load(f"folder:{tmp_path / 'empty'}")
    with pytest.raises(DataError, match=r"nowhere holds no train-\*"):
        load(f"parquet:{tmp_path / 'nowhere'}")


def test_a_single_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="all of one class"):
        load(f"folder:{small_folder(tmp_path / 'pets', ('cat',))}")


# CIFAR


def small_archive(path, name):
    """An archive like the published one, two records a file: label bytes, then a constant image."""
    archive = cifar.ARCHIVES[name]

    def record(label):
        return bytes([9] * (archive.label_bytes - 1) + [label] + [label] * 3072)

    members = {file: record(0) + record(1) for file in (*archive.train, archive.test)}
    members[archive.class_names] = b"apple\nbaby\n\n"
    path.mkdir()
    with tarfile.open(path / archive.file, "w:gz") as tar:
        for member, content in members.items():
            header = tarfile.TarInfo(member)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return path / archive.file


@pytest.mark.parametrize(("name", "images"), [("cifar10", 10), ("cifar100", 2)])
def test_cifar_is_read_from_the_archive_in_corrinit_data(tmp_path, monkeypatch, name, images):
    path = small_archive(tmp_path / "store", name)
    published = replace(cifar.ARCHIVES[name], md5=hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(cifar.ARCHIVES, name, published)
    monkeypatch.setenv("CORRINIT_DATA", str(tmp_path / "store"))
    data = load(name)
    assert data.classes == ("apple", "baby")
    assert data.train_images.shape == (images, 3, 32, 32)
    assert data.train_labels.tolist() == [0, 1] * (images // 2)
    assert np.array_equal(data.test_images[1], np.full((3, 32, 32), 1))


def test_another_archive_than_the_published_one_is_refused(tmp_path, monkeypatch):
    small_archive(tmp_path / "store", "cifar10")
    monkeypatch.setenv("CORRINIT_DATA", str(tmp_path / "store"))
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz is not the published archive: its md5"):
        load("cifar10")


def test_offline_the_error_says_where_to_put_the_archive(monkeypatch):
    unreachable = property(lambda archive: f"http://127.0.0.1:9/{archive.file}")
    monkeypatch.setattr(cifar.Archive, "url", unreachable)
    with pytest.raises(
        DataError, match=r"put cifar-100-binary\.tar\.gz into .* CORRINIT_DATA, or use parquet"
    ):
        load("cifar100")


# the cache


def forbid_decoding(monkeypatch):
    def decode(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("corrinit.lab.data.parquet.decode", decode)


def cache_entry(tmp_path) -> Path:
    (entry,) = (tmp_path / "cache" / "corrinit" / "data").iterdir()
    return entry


def test_images_are_decoded_once_and_memory_mapped(tmp_path, monkeypatch):
    spec = small_parquet(tmp_path / "tiny")
    first = load(spec)
    forbid_decoding(monkeypatch)
    second = load(spec)
    assert isinstance(second.train_images, np.memmap)
    assert not second.train_images.flags.writeable
    assert np.array_equal(first.train_images, second.train_images)
    assert (first.classes, first.provenance) == (second.classes, second.provenance)


def test_a_changed_source_is_decoded_again(tmp_path):
    spec = small_parquet(tmp_path / "tiny")
    load(spec)
    path = rewrite(tmp_path, images=[encode(picture(i + 100)) for i in range(6)])
    os.utime(path, ns=(1, 1))
    assert np.array_equal(load(spec).train_images[0], pixels(picture(100)))


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)


def archive_in_place(path):
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    path.write_bytes(buffer.getvalue())


def rename_class(path):
    path.write_text(path.read_text().replace('"a"', '"c"', 1))


CACHE_DAMAGE = {
    "truncated": lambda entry: os.truncate(entry / "train_images.npy", 150),
    "bit flip": lambda entry: flip_a_byte(entry / "test_images.npy"),
    "missing array": lambda entry: (entry / "test_labels.npy").unlink(),
    "empty facts": lambda entry: (entry / "facts.json").write_text(""),
    "a letter of a class name": lambda entry: rename_class(entry / "facts.json"),
    "foreign facts": lambda entry: (entry / "facts.json").write_text("[1]"),
    "empty array": lambda entry: (entry / "train_images.npy").write_bytes(b""),
    "an archive in place of an array": lambda entry: archive_in_place(entry / "train_labels.npy"),
    "deeply nested facts": lambda entry: (entry / "facts.json").write_text("[" * 100_000),
    "a pickle": lambda entry: np.save(entry / "test_labels.npy", np.array([{}, {}])),
}


@pytest.mark.parametrize("damage", CACHE_DAMAGE)
def test_a_damaged_cache_is_rebuilt(tmp_path, monkeypatch, damage):
    spec = small_parquet(tmp_path / "tiny")
    sound = np.array(load(spec).train_images)
    CACHE_DAMAGE[damage](cache_entry(tmp_path))
    again = load(spec)
    assert np.array_equal(again.train_images, sound)
    assert again.classes == ("a", "b")
    forbid_decoding(monkeypatch)
    load(spec)


def test_a_full_disk_leaves_no_part_of_an_entry(tmp_path, monkeypatch):
    spec = small_parquet(tmp_path / "tiny")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache.np, "save", full)
        with pytest.raises(CorrInitError, match="No space left on device; free some space, or set XDG_CACHE"):
            load(spec)
    assert list((tmp_path / "cache" / "corrinit" / "data").iterdir()) == []
    assert len(load(spec).train_images) == 6


# real images


def directory_of(name: str) -> Path:
    beside = Path(__file__).parents[3].parent / "shared" / "data"
    directory = Path(DATA_DIRECTORY or beside) / name
    if not directory.is_dir():
        pytest.skip(f"{directory} is missing; CORRINIT_DATA names the directory that holds {name}")
    return directory


def test_real_cifar10_has_balanced_classes_and_correlated_neighbours():
    data = load(f"parquet:{directory_of('cifar10-jpeg')}")
    assert data.train_images.shape == (50_000, 3, 32, 32)
    assert np.bincount(data.train_labels).tolist() == [5_000] * 10
    assert np.bincount(data.test_labels).tolist() == [1_000] * 10
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert "JPEG-encoded (lossy)" in data.provenance
    sample = data.train_images[:500].astype(float)
    assert np.corrcoef(sample[..., :-1].ravel(), sample[..., 1:].ravel())[0, 1] > 0.9


# The reserve of a confirmation


@pytest.fixture
def with_reserve(tmp_path, monkeypatch):
    """Six training images, of which the last two are known to be a reserve."""
    spec = small_parquet(tmp_path / "data")
    labels = np.array([0, 1, 0, 1, 0, 1], dtype="<i8")
    known = Reserve("small", hashlib.sha256(labels.tobytes()).hexdigest(), 2)
    monkeypatch.setattr(data, "RESERVES", (known,))
    return spec


def reserve_images():
    return [pixels(picture(i)) for i in (4, 5)]


def holds_any(images, wanted):
    return any(np.array_equal(image, other) for image in images for other in wanted)


@pytest.mark.parametrize("train_subset", [None, 2, 4])
def test_the_reserve_is_neither_trained_on_nor_tested_on_nor_unused(with_reserve, train_subset):
    dataset = load(with_reserve, train_subset=train_subset)
    assert (dataset.available, dataset.kept_out) == (4, 2)
    unused = (
        [] if dataset.unused is None else [image for batch, _ in dataset.unused.batches(9) for image in batch]
    )
    held_out = hold_out(dataset).test_images
    for images in (dataset.train_images, dataset.test_images, unused, held_out):
        assert not holds_any(images, reserve_images())
    assert len(dataset.train_images) + len(unused) == 4
    assert "2 more training images kept out, as the reserve of a confirmation" in dataset.provenance


def test_a_confirmation_includes_the_reserve(with_reserve):
    dataset = load(with_reserve, reserve="include")
    assert (dataset.available, dataset.kept_out) == (6, 0)
    assert holds_any(dataset.train_images, reserve_images())


def test_a_study_may_set_apart_what_is_kept_out_anyway(with_reserve):
    dataset = set_apart(load(with_reserve, train_subset=2), range(4, 6))
    assert dataset.unused is not None
    assert len(dataset.unused) == 2
    with pytest.raises(ConfigError, match="images 4 to 6; the 6 training images are numbered from 0"):
        set_apart(load(with_reserve, train_subset=2), range(4, 7))


def test_a_reserve_is_known_by_its_labels_and_their_order():
    (known,) = data.RESERVES
    labels = np.arange(50_000) % 100
    assert reserved(labels) == 0
    assert known.images == 10_000


def test_the_last_10_000_images_of_tiny_imagenet_are_a_reserve():
    spec = f"parquet:{directory_of('tinyimagenet100-32')}"
    kept, all_of_them = load(spec, train_subset=5000), load(spec, reserve="include")
    assert (kept.available, kept.kept_out, len(all_of_them.train_images)) == (40_000, 10_000, 50_000)
    assert kept.unused is not None
    assert np.array_equal(kept.unused.images, all_of_them.train_images[:40_000])
