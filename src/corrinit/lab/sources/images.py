"""Decoding many small images in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from corrinit.errors import DataError

Progress = Callable[[int, int], None]
"""Called with the number of images decoded so far, and in total."""

CHUNK = 512
"""Images per task of the thread pool: large enough to hide its overhead, small enough to show progress."""

GREY_MODES = frozenset({"1", "L", "LA"})
EIGHT_BIT_MODES = GREY_MODES | {"P", "RGB", "RGBA", "CMYK", "YCbCr"}
LOSSY_FORMATS = frozenset({"JPEG", "MPO", "JPEG2000", "WEBP"})


class Encoded(NamedTuple):
    """An image file, in memory or on disk, and what to call it in an error."""

    content: bytes | Path
    place: str


class Decoded(NamedTuple):
    """Images of equal size, uint8 (N, C, H, W), C = 1 if all are grey and 3 otherwise, and their formats."""

    images: NDArray[np.uint8]
    formats: frozenset[str]

    @property
    def encoding(self) -> str:
        """The formats in words, such as `JPEG-encoded (lossy)`."""
        names = " and ".join(sorted(self.formats))
        return f"{names}-encoded" + (" (lossy)" if self.formats & LOSSY_FORMATS else "")


def decode(encoded: Sequence[Encoded], progress: Progress | None = None) -> Decoded:
    """Decode images of equal size in parallel threads; transparency is dropped.

    Raises:
        DataError: naming the first image that cannot be read, has more than 8 bits per channel, or differs in
            size from the first one.
    """
    with _open(encoded[0]) as first:
        width, height = first.size
    images = np.empty((len(encoded), 3, height, width), np.uint8)

    def decode_chunk(start: int) -> tuple[set[str], bool]:
        formats, grey = set(), True
        for index in range(start, min(start + CHUNK, len(encoded))):
            place = encoded[index].place
            with _open(encoded[index]) as image:
                if image.size != (width, height):
                    raise DataError(
                        f"{place} is {image.width}×{image.height} pixels, {encoded[0].place} is "
                        f"{width}×{height}; resize the images to one size"
                    )
                formats.add(image.format)
                grey &= image.mode in GREY_MODES
                images[index] = _pixels(image, place)
        return formats, grey

    starts = range(0, len(encoded), CHUNK)
    formats, all_grey = set(), True
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start, (found, grey) in zip(starts, pool.map(decode_chunk, starts), strict=True):
            formats |= found
            all_grey &= grey
            if progress is not None:
                progress(min(start + CHUNK, len(encoded)), len(encoded))
    return Decoded(images[:, :1].copy() if all_grey else images, frozenset(formats))


def _open(encoded: Encoded) -> Image.Image:
    content = encoded.content
    try:
        image = Image.open(BytesIO(content) if isinstance(content, bytes) else content)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{encoded.place} is not an image that can be read; remove it or replace it"
        ) from error
    if image.mode not in EIGHT_BIT_MODES:
        raise DataError(
            f"{encoded.place} has pixels of mode {image.mode}; convert the images to 8 bits per channel"
        )
    return image


def _pixels(image: Image.Image, place: str) -> NDArray[np.uint8]:
    try:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{place} is a damaged image: {error}; remove it or replace it") from error
