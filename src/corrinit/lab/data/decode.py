"""Decoding many small images in parallel, each as a person sees it."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from corrinit.errors import DamagedDataError, ImageShapeError, one_line

Progress = Callable[[int, int], None]
"""Called with the number of images decoded so far, and in total."""

CHUNK = 512
"""Images per task of the thread pool: large enough to hide its overhead, small enough to show progress."""

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
"""Those that are read; of the others that Pillow knows, some start programs (EPS)."""

GREY_MODES = frozenset({"1", "L", "LA"})
EIGHT_BIT_MODES = GREY_MODES | {"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
LOSSY_FORMATS = frozenset({"JPEG", "MPO", "JPEG2000", "WEBP"})
MAX_PIXELS = 1 << 24
"""Of one image, 4096×4096: the decoded images of a data set are held in memory together."""

_ORIENTATION = 0x0112  # the tag of EXIF; 1 is upright

TURNED = "turned upright by their EXIF orientation"
ON_WHITE = "with transparent pixels, shown on white"
FIRST_FRAME = "of several frames, of which the first is shown"
UNPROFILED = "with a colour profile, which is not applied"


class Encoded(NamedTuple):
    """An image file, in memory or on disk, and what to call it in an error."""

    content: bytes | Path
    place: str


@dataclass(frozen=True, eq=False)
class Decoded:
    """Images of equal size.

    Args:
        images: uint8 (N, C, H, W), C = 1 if all are grey and 3 otherwise.
        formats: how they were encoded.
        notes: what was done to some of them, and to how many.
    """

    images: NDArray[np.uint8]
    formats: frozenset[str]
    notes: Counter[str]

    @property
    def encoding(self) -> str:
        """The formats in words, such as `JPEG-encoded (lossy)`, and what was done to the images."""
        names = " and ".join(sorted(self.formats))
        lossy = " (lossy)" if self.formats & LOSSY_FORMATS else ""
        noted = "".join(f", {count:,} {note}" for note, count in sorted(self.notes.items()))
        return f"{names}-encoded{lossy}{noted}"


class _Picture(NamedTuple):
    pixels: NDArray[np.uint8]  # (3, H, W)
    grey: bool
    format: str
    notes: tuple[str, ...]


@contextmanager
def _size_is_said_by_us() -> Iterator[None]:
    """Pillow warns of images that `MAX_PIXELS` refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


@_size_is_said_by_us()
def decode(encoded: Sequence[Encoded], progress: Progress | None = None) -> Decoded:
    """Decode images of equal size in parallel threads.

    They come as a person sees them: turned as their EXIF orientation says, transparent pixels on white, the
    first of several frames. `Decoded.notes` counts where that made a difference.

    Raises:
        DataError: naming the first image that cannot be read, has more than 8 bits per channel or more than
            `MAX_PIXELS`, or differs in size from the first one; or if all together do not fit into memory.
    """
    height, width = _picture(encoded[0]).pixels.shape[1:]
    try:
        images = np.empty((len(encoded), 3, height, width), np.uint8)
    except MemoryError as error:
        size = len(encoded) * 3 * height * width / 1e9
        raise ImageShapeError(
            f"{len(encoded):,} images of {width}×{height} pixels take {size:.1f} GB of memory; resize them"
        ) from error

    def decode_chunk(start: int) -> tuple[set[str], bool, Counter[str]]:
        formats, grey, notes = set(), True, Counter[str]()
        for index in range(start, min(start + CHUNK, len(encoded))):
            picture = _picture(encoded[index])
            if picture.pixels.shape != images.shape[1:]:
                _, found_height, found_width = picture.pixels.shape
                raise ImageShapeError(
                    f"{encoded[index].place} is {found_width}×{found_height} pixels, {encoded[0].place} is "
                    f"{width}×{height}; resize the images to one size"
                )
            images[index] = picture.pixels
            formats.add(picture.format)
            grey &= picture.grey
            notes.update(picture.notes)
        return formats, grey, notes

    starts = range(0, len(encoded), CHUNK)
    formats, all_grey, notes = set(), True, Counter[str]()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start, (found, grey, noted) in zip(starts, pool.map(decode_chunk, starts), strict=True):
            formats |= found
            all_grey &= grey
            notes += noted
            if progress is not None:
                progress(min(start + CHUNK, len(encoded)), len(encoded))
    return Decoded(images[:, :1].copy() if all_grey else images, frozenset(formats), notes)


def _picture(encoded: Encoded) -> _Picture:
    """One image, read to its end; whatever a decoder does with bytes that lie is one error of ours."""
    content, place = encoded
    if isinstance(content, Path) and not content.is_file():  # opening a pipe would wait for ever
        raise DamagedDataError(f"{place} is no regular file; remove it, or put an image in its place")
    try:
        with Image.open(
            BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS
        ) as image:
            if image.width * image.height <= MAX_PIXELS and image.mode in EIGHT_BIT_MODES:
                return _as_seen(image)
            size, mode = image.size, image.mode
    except Exception as error:
        reason = one_line(error) or type(error).__name__
        raise DamagedDataError(
            f"{place} is not an image that can be read ({reason}); remove it or replace it"
        ) from error
    if mode not in EIGHT_BIT_MODES:
        raise ImageShapeError(f"{place} has pixels of mode {mode}; convert the images to 8 bits per channel")
    raise ImageShapeError(
        f"{place} has {size[0]}×{size[1]} pixels, more than {MAX_PIXELS:,}; resize the images"
    )


def _as_seen(image: Image.Image) -> _Picture:
    notes = []
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # of which the others are previews
        notes.append(FIRST_FRAME)
    if image.info.get("icc_profile") and b"sRGB" not in image.info["icc_profile"]:
        notes.append(UNPROFILED)
    if image.getexif().get(_ORIENTATION, 1) != 1:
        notes.append(TURNED)
    grey, format = image.mode in GREY_MODES, image.format or ""
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        layered = upright.convert("RGBA")
        if np.asarray(layered)[..., 3].min() < 255:
            notes.append(ON_WHITE)
            white = Image.new("RGBA", layered.size, "white")
            upright = Image.alpha_composite(white, layered)
    pixels = np.asarray(upright.convert("RGB")).transpose(2, 0, 1)
    return _Picture(pixels, grey, format, tuple(notes))
