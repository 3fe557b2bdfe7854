"""The predicted signal beside the measured one: ⟨DRD, M⟩ at each layer of four networks on CIFAR images.

Target: within 10 % at every convolution with more than one tap. The prediction rests on the spectrum of
natural images that is fixed in `corrinit._signal.spectrum`; nothing is measured on the images it is compared
with. Weights are drawn once per network, with correlated taps everywhere and with independent ones, at the
scale that the prediction asks for.

    python benchmarks/bench_signal.py [PARQUET_DIRECTORY] [--images 256] [--verbose]
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pyarrow import parquet
from torch import Tensor, nn

from corrinit._correlation import SpatialCorrelation
from corrinit._init import correlated_normal_
from corrinit._signal import Graph, Law, LayerInput, LayerLaw, beside, gain, propagate
from corrinit._tracing import measure, read_graph
from corrinit.kernels import exponential
from corrinit.lab.data.decode import Encoded, decode
from corrinit.lab.networks.catalog import build

CORRELATION = 0.26
"""Mean correlation of the taps, as the paper prints it."""

DATA = Path(__file__).parent.parent / "../shared/data/cifar10-jpeg"


class ConvNeXtBlock(nn.Module):
    """Depthwise 7×7, layer norm, pointwise ×4, GELU, pointwise; added to its input (Liu et al. 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.expand, self.act = nn.Linear(channels, 4 * channels), nn.GELU()
        self.project = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.project(self.act(self.expand(y))).permute(0, 3, 1, 2)


def convnext_like() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 128, 2, 2),
        *(ConvNeXtBlock(128) for _ in range(3)),
        nn.Conv2d(128, 256, 2, 2),
        *(ConvNeXtBlock(256) for _ in range(3)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(256),
        nn.Linear(256, 10),
    )


def plain(depth: int = 10, channels: int = 128) -> nn.Module:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Conv2d(channels if index else 3, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "VGG-8": lambda: build("vgg8", classes=10, in_channels=3, image_size=32, width=1.0),
    "ResNet-18": lambda: build("resnet18", classes=10, in_channels=3, image_size=32, width=0.5),
    "plain-10": plain,
    "ConvNeXt-like": convnext_like,
}


def keeping_law(graph: Graph, correlated: bool) -> Law:
    """Covariance R or I at each layer, at the scale that keeps the signal that arrives."""

    def law(layer: LayerInput) -> LayerLaw:
        taps = len(layer.moments)
        R = exponential(layer.kernel_size, mean=CORRELATION) if correlated and taps > 1 else np.eye(taps)
        activation = graph.activation_after(layer.name)
        g = 1.0
        if activation is not None:
            g = gain(graph.activation(activation))
        return LayerLaw(R, g / np.sqrt(layer.channels * (R * layer.moments).sum()))

    return law


def draw(model: nn.Module, graph: Graph, correlated: bool) -> None:
    generator = torch.Generator().manual_seed(0)

    def drawing(layer: LayerInput) -> LayerLaw:
        drawn = keeping_law(graph, correlated)(layer)
        module = graph.modules[layer.name]
        taps = SpatialCorrelation(drawn.covariance, layer.kernel_size)
        with torch.no_grad():
            weight = module.weight.data  # pyright: ignore
            correlated_normal_(
                weight[..., None] if weight.dim() == 2 else weight, taps, drawn.std, generator=generator
            )
            if module.bias is not None:
                module.bias.zero_()  # pyright: ignore
        return drawn

    propagate(graph, drawing)


def cifar(directory: Path, count: int) -> Tensor:
    file = min(directory.glob("test-*.parquet"))
    rows = parquet.read_table(file, columns=["img"])["img"].slice(0, count).to_pylist()
    images = decode([Encoded(row["bytes"], str(file)) for row in rows]).images
    values = torch.from_numpy(images).float()
    mean, std = values.mean((0, 2, 3), keepdim=True), values.std((0, 2, 3), keepdim=True)
    return (values - mean) / std


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?", default=DATA)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if not list(options.directory.glob("test-*.parquet")):
        print(f"skipped: {options.directory} holds no test-*.parquet; give a directory of CIFAR images")
        return
    images = cifar(options.directory, options.images)
    print(f"⟨DRD, M⟩ predicted over measured, {len(images)} CIFAR test images; target 0.90 to 1.10")
    for name, make in NETWORKS.items():
        for correlated in (False, True):
            torch.manual_seed(0)
            model = make()
            graph = read_graph(model, 32)
            draw(model, graph, correlated)
            predicted = propagate(graph, keeping_law(graph, correlated))
            measured = measure(model, images, graph)
            ratios, power = {}, {}
            for layer in predicted.layers:
                found = measured.layer(layer.name)
                power[layer.name] = layer.mean_square / found.mean_square
                if len(layer.moments) > 1:
                    ratios[layer.name] = layer.amplification / (layer.covariance * found.moments).sum()
            worst = max(ratios, key=lambda layer: abs(np.log(ratios[layer])))
            print(
                f"  {name:14} {'R' if correlated else 'independent':12} worst {ratios[worst]:.3f} ({worst}), "
                f"mean {statistics.fmean(ratios.values()):.3f} of {len(ratios)} layers; "
                f"E[x²] {min(power.values()):.2f} to {max(power.values()):.2f}"
            )
            if options.verbose:
                print(beside(predicted, measured))
                print(predicted, measured, sep="\n\n")


if __name__ == "__main__":
    main()
