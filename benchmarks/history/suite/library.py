"""The calls of a user on a network of the size that one trains, and what a command line waits for."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

import corrinit


def network(blocks: int = 12, channels: int = 128) -> nn.Sequential:
    """Normalized 3×3 convolutions and a classifier: 1.8 million weights."""
    layers: list[nn.Module] = []
    for block in range(blocks):
        layers += [
            nn.Conv2d(channels if block else 3, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class Library:
    """Initializing, beside the initializer of torch that it is held against, and measuring."""

    def setup(self) -> None:
        """Make the model once for each benchmark, on one thread: neighbours disturb it least."""
        torch.set_num_threads(1)
        self.model = network()
        self.plan = corrinit.plan(self.model)

    def time_kaiming_normal(self) -> None:
        """The unit: if this moves, the machine did."""
        for module in self.model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def time_apply(self) -> None:
        """Drawing alone."""
        self.plan.apply(self.model, seed=0)

    def time_plan(self) -> None:
        """Deciding alone, a model seen before."""
        corrinit.plan(self.model)

    def time_plan_anew(self) -> None:
        """Building a model and deciding."""
        corrinit.plan(network())

    def time_estimate(self) -> None:
        """Measuring the correlation of all filters."""
        corrinit.estimate(self.model)

    def peakmem_initialize(self) -> None:
        """Memory of the process with model and draw."""
        corrinit.initialize(self.model, seed=0)


class CommandLine:
    """What is waited for before anything is done."""

    number = 1

    def time_help(self) -> None:
        """The command line without torch."""
        subprocess.run([sys.executable, "-m", "corrinit", "--help"], check=True, capture_output=True)

    def time_import(self) -> None:
        """The package and all its public names."""
        code = "import corrinit; [getattr(corrinit, name) for name in corrinit.__all__]"
        subprocess.run([sys.executable, "-c", code], check=True)


class LargeModels:
    """A language model of seven billion parameters on the meta device: planning looks at shapes alone."""

    number = 1

    def setup(self) -> None:
        """Thirty-two blocks of seven linear layers."""
        sizes = [(4096, 4096)] * 4 + [(4096, 11008)] * 3
        with torch.device("meta"):
            blocks = [nn.Sequential(*(nn.Linear(*size, bias=False) for size in sizes)) for _ in range(32)]
            self.model = nn.Sequential(*blocks)

    def time_plan(self) -> None:
        """All layers, read one by one."""
        corrinit.plan(self.model, include=nn.Sequential)
