"""The handwritten digits that come with scikit-learn: real data without a download."""

from __future__ import annotations

import numpy as np

from corrinit.lab.data.decode import Progress
from corrinit.lab.data.source import Source, Splits, split_fifth


def source() -> Source:
    """1,797 images of 8×8 grey pixels; the grey levels 0..16 become 0..255."""
    return Source("digits", (), _read)


def _read(_: Progress | None) -> Splits:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.rint(np.asarray(pixels) * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    names = tuple(str(digit) for digit in range(10))
    return split_fifth(names, "embedded in scikit-learn", images, np.asarray(labels, np.int64))
