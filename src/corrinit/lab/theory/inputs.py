"""What the theory is evaluated on: patches and images of a real data set, and the correlation of the taps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from corrinit._correlation import SpatialCorrelation, default_correlation
from corrinit._spd import symmetric_root
from corrinit.lab.data.dataset import load
from corrinit.theory import patches, second_moment
from corrinit.theory.samples import Array

KERNEL = (3, 3)
_IMAGES = 256
_PATCHES = 20_000


@dataclass(frozen=True, eq=False)
class Setting:
    """Real inputs and the correlation R of correlated starts.

    Args:
        name: of the data set.
        provenance: of the data set, one line.
        patches: training patches with inputs in [0, 1], not all 0, shape (patches, 9).
        unseen: patches of test images, likewise.
        images: images standardized per channel, as networks see them, shape (N, C, H, W).
        correlation: R, of mean 0.26.
    """

    name: str
    provenance: str
    patches: Array
    unseen: Array
    images: Array
    correlation: SpatialCorrelation

    @property
    def moment(self) -> Array:
        """H of all training patches."""
        return second_moment(self.patches)

    def sample_sets(self, sets: int, n: int, rng: np.random.Generator) -> Array:
        """Sets of n patches drawn with replacement, each set scaled so that the largest eigenvalue of H is 1.

        The scale of a set changes neither what is within reach nor where descent ends, and one learning rate
        then suits all sets.
        """
        return normalized(self.patches[rng.integers(0, len(self.patches), (sets, n))])


def normalized(inputs: Array) -> Array:
    """Sample sets (sets, n, p) scaled so that the largest eigenvalue of each H is 1."""
    largest = np.linalg.eigvalsh(second_moment(inputs))[:, -1]
    return inputs / np.sqrt(largest)[:, None, None]


def real(spec: str) -> Setting:
    """Patches and images of a data set, a fixed random sample of each.

    Args:
        spec: as in `corrinit.lab.data.dataset.load`.
    """
    dataset = load(spec)
    rng = np.random.default_rng(0)
    train, test = (
        images[np.sort(rng.permutation(len(images))[:_IMAGES])].astype(np.float64) / 255
        for images in (dataset.train_images, dataset.test_images)
    )
    deviations = train.std(axis=(0, 2, 3), keepdims=True)
    return Setting(
        dataset.name,
        dataset.provenance,
        _some(train, rng),
        _some(test, rng),
        (train - train.mean(axis=(0, 2, 3), keepdims=True)) / np.where(deviations > 0, deviations, 1),
        default_correlation(KERNEL),
    )


def gaussian(rng: np.random.Generator, covariance: Array, shape: tuple[int, ...]) -> Array:
    """Gaussian vectors of mean 0, shape (*shape, p), through the symmetric root, which is unique.

    Eigenvectors are not where eigenvalues coincide, as those of R do: other machines would draw otherwise.
    """
    return rng.normal(size=(*shape, len(covariance))) @ symmetric_root(covariance)


def _some(images: Array, rng: np.random.Generator) -> Array:
    found = patches(images, KERNEL)
    found = found[found.max(axis=1) > 0]
    return found[rng.permutation(len(found))[:_PATCHES]]
