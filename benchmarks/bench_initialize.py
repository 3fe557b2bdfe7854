"""Cost of drawing the weights of a ResNet-50, as ratios within one run: paired and alternating.

Targets, beside `kaiming_normal_` over the same layers: at most 0.7 times its time on two threads and 1.15
times on one; a sharded rank of four at most 0.4 times one process; a 51×51 depthwise layer in 0.2 s, its
correlation included; memory added at most 1 MiB per thread, a block of weights and what mixes its taps; a
model of 7 billion parameters on the meta device planned in 10 s.
`initialize`, which plans too, is printed beside them; `orthogonal_` takes at least 10 times as long. Ratios
are of processor time unless they say wall: those need a processor per thread that nobody else uses.
"""

import ctypes
import gc
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

import corrinit
from corrinit._correlation import default_correlation
from corrinit._drawing import Draw, draw_all
from corrinit._planning import deviations
from corrinit._planning.remembered import Remembered
from corrinit.lab.networks.catalog import build

REPEATS = 15
RANKS = 4
MIB = 1 << 20


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


def weights_to_draw(model: nn.Module) -> list[tuple[torch.Tensor, Draw]]:
    tasks = []
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            shape = tuple(weight.shape)
            correlation = default_correlation(shape[2:]) if shape[2:] not in ((), (1, 1)) else None
            tasks.append((weight, Draw(name, shape, 0.02, correlation)))
    return tasks


def sharded(tasks: list[tuple[torch.Tensor, Draw]], mesh: DeviceMesh) -> list[tuple[torch.Tensor, Draw]]:
    return [
        (distribute_tensor(torch.zeros(draw.shape), mesh, [Shard(0)], src_data_rank=None), draw)
        for _, draw in tasks
    ]


def a_rank_of_many(rank: int) -> DeviceMesh:
    """A mesh in which this process is one rank; its collectives do nothing, and drawing needs none."""
    torch.distributed.init_process_group("fake", rank=rank, world_size=RANKS, store=FakeStore())
    return init_device_mesh("cpu", (RANKS,))


def initialize_with(method: Callable[[torch.Tensor], object], model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            method(parameter)


class Time(NamedTuple):
    """Seconds of the clock, and of processors at work on it: the same on one thread if nothing else runs."""

    wall: float
    cpu: float


def seconds(run: Callable[[], object]) -> Time:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Time(time.perf_counter() - wall, time.process_time() - cpu)


def rounds(runs: dict[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, list[Time]]:
    """The times of all, in turns."""
    times: dict[str, list[Time]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return times


def wall_ratios(these: list[Time], those: list[Time]) -> list[float]:
    return [this.wall / that.wall for this, that in zip(these, those, strict=True)]


def cpu_ratios(these: list[Time], those: list[Time]) -> list[float]:
    return [this.cpu / that.cpu for this, that in zip(these, those, strict=True)]


def large_depthwise_layer() -> None:
    default_correlation.cache_clear()
    shape = (384, 1, 51, 51)
    draw_all([(torch.empty(shape), Draw("depthwise", shape, 0.02, default_correlation(shape[2:])))], 0, 1)


def planning(model: nn.Module, *, anew: bool) -> float:
    """Seconds of a plan, with the signal computed anew or kept from a model of equal structure."""
    if anew:
        deviations._SIGNALS = Remembered()
    return seconds(lambda: corrinit.plan(model, input_size=224)).wall


class DecoderBlock(nn.Module):
    """Attention and a gated perceptron, each normalized first, then added (Touvron et al. 2023)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(width), nn.RMSNorm(width)])
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, False) for _ in range(4))
        self.gate, self.up, self.down = (
            nn.Linear(width, hidden, False), nn.Linear(width, hidden, False), nn.Linear(hidden, width, False),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norms[0](x)
        attended = nn.functional.scaled_dot_product_attention(self.query(y), self.key(y), self.value(y))
        x = x + self.out(attended)
        y = self.norms[1](x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


def seven_billion() -> nn.Module:
    with torch.device("meta"):
        blocks = [DecoderBlock(4096, 11008) for _ in range(32)]
        return nn.Sequential(
            nn.Embedding(32000, 4096), *blocks, nn.RMSNorm(4096), nn.Linear(4096, 32000, False)
        )


def resident_bytes() -> dict[str, int]:
    """Resident memory of this process now, and at its peak since the last reset (Linux)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: 1024 * int(lines[key].split()[0]) for key in ("VmRSS", "VmHWM")}


def memory_added(run: Callable[[], object]) -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # gives back what earlier runs have left
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident_bytes()["VmRSS"]
    run()
    return resident_bytes()["VmHWM"] - before


def main() -> None:
    model = resnet50_layers()
    tasks = weights_to_draw(model)
    one_of_four = sharded(tasks, a_rank_of_many(1))
    rows: list[tuple[str, float, float, str]] = []

    draw_all(tasks, 0, 2)  # starts what starts once
    if sys.platform == "linux":
        added = [memory_added(lambda: draw_all(tasks, 0, 2)) / 2 / MIB for _ in range(REPEATS)]
        rows.append(("memory added per thread, MiB", min(added), statistics.median(added), "≤ 1"))

    times = rounds(
        {
            "kaiming": lambda: initialize_with(nn.init.kaiming_normal_, model),
            "one": lambda: draw_all(tasks, 0, 1),
            "two": lambda: draw_all(tasks, 0, 2),
            "rank": lambda: draw_all(one_of_four, 0, 1),
            "initialize": lambda: corrinit.initialize(model),
        }
    )
    kaiming = times["kaiming"]
    orthogonal = [seconds(lambda: initialize_with(nn.init.orthogonal_, model))]
    large = [seconds(large_depthwise_layer).wall for _ in range(REPEATS)]
    residual = build("resnet18", classes=1000, in_channels=3, image_size=224, width=1.0)
    anew, again = ([planning(residual, anew=each) for _ in range(REPEATS)] for each in (True, False))
    large_model = seven_billion()
    assert sum(parameter.numel() for parameter in large_model.parameters()) > 6.7e9
    meta = [seconds(lambda: corrinit.plan(large_model)).wall]
    for what, values, target in (
        ("one thread / kaiming_normal_", cpu_ratios(times["one"], kaiming), "≤ 1.15"),
        ("two threads / kaiming_normal_, wall", wall_ratios(times["two"], kaiming), "≤ 0.7"),
        ("two threads / one", cpu_ratios(times["two"], times["one"]), "≤ 1.1"),
        ("a rank of four / one process", cpu_ratios(times["rank"], times["one"]), "≤ 0.4"),
        ("initialize / kaiming_normal_, wall", wall_ratios(times["initialize"], kaiming), ""),
        ("orthogonal_ / initialize", cpu_ratios(orthogonal, times["initialize"][:1]), "≥ 10"),
        ("a 51×51 depthwise layer, wall, s", large, "≤ 0.2"),
        ("planning a ResNet-18, 224 pixels, s", anew, "≤ 0.5"),
        ("planning one of equal structure, s", again, ""),
        ("planning 7 billion parameters on meta, s", meta, "≤ 10"),
    ):
        rows.append((what, min(values), statistics.median(values), target))
    print("drawing the weights of a ResNet-50")
    for what, best, median, target in rows:
        print(f"  {what:40} best {best:6.2f}   median {median:6.2f}   target {target}")


if __name__ == "__main__":
    main()
