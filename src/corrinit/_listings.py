"""What there is: the methods and the presets by name, and the versions that are installed."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import NamedTuple

from corrinit._method_info import BUILT_IN, ENTRY_POINTS, method_info
from corrinit._tables import Listing
from corrinit.presets import load_preset, preset_layers, preset_names

_LIBRARIES = (
    *("corrinit", "numpy", "safetensors", "torch", "jax", "keras", "onnx", "scipy", "scikit-learn"),
    *(
        "matplotlib",
        "pyarrow",
        "cyclopts",
        "rich",
        "pandas",
        "lightning",
        "transformers",
        "timm",
        "torchvision",
    ),
)


class ListedMethod(NamedTuple):
    """An initialization method that `corrinit.initialize` takes by name."""

    name: str
    own_scale: str | None
    """What its own scale is called among those that any method can be run at; None if it is none of them."""

    needs_images: bool
    """Whether it looks at training images."""

    uses_correlation: bool
    """Whether it draws with the R that is given."""

    source: str
    """Where it was published."""

    package: str
    """Which package it comes with."""


class ListedPreset(NamedTuple):
    """A correlation that comes with the package, of a trained network."""

    name: str
    kernel_size: tuple[int, ...]
    mean: float
    """Mean correlation of two taps."""

    layers: int
    filters: int
    network: str
    data: str


class InstalledVersion(NamedTuple):
    """A library and its version."""

    name: str
    version: str


def list_methods() -> Listing[ListedMethod]:
    """The initialization methods by name: those of the package, then those that other packages add.

    >>> [method.name for method in list_methods() if method.needs_images]
    ['lsuv', 'patch_whitening']
    """
    home = dict.fromkeys(BUILT_IN, "corrinit")
    for entry in sorted(entry_points(group=ENTRY_POINTS)):
        home.setdefault(entry.name, entry.dist.name if entry.dist else "")
    return Listing(
        ListedMethod(
            name,
            *((info := method_info(name)).own_scale, info.needs_images, info.uses_correlation, info.source),
            package,
        )
        for name, package in home.items()
    )


def list_presets() -> Listing[ListedPreset]:
    """The correlations of trained networks that come with the package.

    >>> [preset.name for preset in list_presets()]
    ['resnet10-cifar10', 'vgg8-cifar10']
    """
    return Listing(
        ListedPreset(
            name,
            correlation.kernel_size,
            correlation.mean,
            len(preset_layers(name)),
            *(int(correlation.provenance["filters"]), correlation.provenance["network"]),
            correlation.provenance["data"],
        )
        for name, correlation in ((name, load_preset(name)) for name in preset_names())
    )


def show_versions() -> None:
    """Write to standard output what a report of a fault should say: versions, interpreter and machine."""
    rows = [
        InstalledVersion("python", platform.python_version()),
        InstalledVersion("executable", sys.executable),
        InstalledVersion("machine", platform.platform()),
        *(InstalledVersion(name, _version(name)) for name in _LIBRARIES),
    ]
    sys.stdout.write(f"{Listing(rows)}\n")


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
