"""Cost of `corrinit.initialize` on the layers of a ResNet-50, as ratios within one run.

Targets: at most 1.3 times `kaiming_normal_` over the same layers, at least 10 times faster than
`orthogonal_`, and extra memory of at most the largest layer.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import corrinit

REPEATS = 7


def resnet50_layers() -> nn.ModuleList:
    """Every convolution of ResNet-50 (He et al. 2016, Table 1) and its classifier."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, bias=False)]
    channels = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        layers.append(nn.Conv2d(channels, 4 * width, 1, bias=False))
        for _ in range(blocks):
            layers.append(nn.Conv2d(channels, width, 1, bias=False))
            layers.append(nn.Conv2d(width, width, 3, bias=False))
            layers.append(nn.Conv2d(width, 4 * width, 1, bias=False))
            channels = 4 * width
    return nn.ModuleList([*layers, nn.Linear(2048, 1000)])


def initialize_with(method: Callable[[torch.Tensor], object]) -> Callable[[nn.Module], object]:
    def initialize(model: nn.Module) -> None:
        for parameter in model.parameters():
            if parameter.dim() > 1:
                method(parameter)

    return initialize


def seconds(initialize: Callable[[nn.Module], object], model: nn.Module) -> float:
    started = time.perf_counter()
    initialize(model)
    return time.perf_counter() - started


def resident_bytes() -> dict[str, int]:
    """Resident memory of this process now, and at its peak since the last reset (Linux)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: 1024 * int(lines[key].split()[0]) for key in ("VmRSS", "VmHWM")}


def extra_memory(model: nn.Module) -> int:
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident_bytes()["VmRSS"]
    corrinit.initialize(model)
    return resident_bytes()["VmHWM"] - before


def main() -> None:
    corrinit.initialize(nn.ModuleList(nn.Conv2d(256, 256, 3) for _ in range(8)))  # starts threads
    model = resnet50_layers()
    largest = max(p.numel() * p.element_size() for p in model.parameters())
    rows = []
    if Path("/proc/self/clear_refs").exists():
        rows.append(("extra memory over the largest layer", extra_memory(model) / largest, "≤ 1"))
    methods = {
        "correlated": corrinit.initialize,
        "kaiming": initialize_with(nn.init.kaiming_normal_),
        "orthogonal": initialize_with(nn.init.orthogonal_),
    }
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(REPEATS):
        for name, initialize in methods.items():
            times[name].append(seconds(initialize, model))
    median = {name: statistics.median(values) for name, values in times.items()}
    rows.append(("time over kaiming_normal_", median["correlated"] / median["kaiming"], "≤ 1.3"))
    rows.append(("time of orthogonal_ over its time", median["orthogonal"] / median["correlated"], "≥ 10"))
    print("initialize, on the layers of a ResNet-50")
    for what, measured, target in rows:
        print(f"  {what:36} measured {measured:6.2f}   target {target}")


if __name__ == "__main__":
    main()
