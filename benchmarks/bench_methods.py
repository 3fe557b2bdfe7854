"""Cost of every initialization method on a ResNet-18, as ratios to `kaiming_normal_` within one run.

The network is the lab's, of width 1, for 32×32 images; methods that look at data get 64 of them. Medians of
interleaved rounds, planning included.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import corrinit
from corrinit import methods
from corrinit.lab.networks.catalog import build

ROUNDS = 7
IMAGES = 64


def reference(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.dim() > 2:
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")


def initialize_with(name: str, scale: str | None, images: torch.Tensor) -> Callable[[nn.Module], object]:
    return lambda model: corrinit.initialize(model, method=name, seed=0, scale=scale, images=images)


def seconds(initialize: Callable[[nn.Module], object], model: nn.Module) -> float:
    started = time.perf_counter()
    initialize(model)
    return time.perf_counter() - started


def main() -> None:
    model = build("resnet18", classes=10, in_channels=3, image_size=32, width=1.0)
    images = torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    arms: dict[str, Callable[[nn.Module], object]] = {"kaiming_normal_ (torch)": reference}
    arms |= {name: initialize_with(name, None, images) for name in methods.METHODS}
    arms["recipe 2026.1"] = lambda model: corrinit.initialize(model, seed=0)
    arms["correlated, measured scale"] = initialize_with("correlated", "measured", images)
    times: dict[str, list[float]] = {name: [] for name in arms}
    for initialize in arms.values():  # starts threads, fills caches
        initialize(model)
    for _ in range(ROUNDS):
        for name, initialize in arms.items():
            times[name].append(seconds(initialize, model))
    median = {name: statistics.median(values) for name, values in times.items()}
    unit = median["kaiming_normal_ (torch)"]
    print(f"initialization of a ResNet-18, over kaiming_normal_ ({1000 * unit:.0f} ms)")
    for name, value in median.items():
        print(f"  {name:28} measured {value / unit:7.2f}")


if __name__ == "__main__":
    main()
