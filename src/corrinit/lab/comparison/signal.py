"""What the arms of a comparison do to the signal before any training: measured on training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from corrinit._signal import SignalReport
from corrinit._tracing import measure
from corrinit.lab.data.dataset import load
from corrinit.lab.document.blocks import Figure, Section, Table, figure_svg
from corrinit.lab.document.signal_figure import signal_figure
from corrinit.lab.experiment.arm import Initialization, label
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.training.initialized import channel_moments, initialized_model
from corrinit.lab.training.isolation import isolated

IMAGES = 256
TITLE = "The signal before training"

Signals = dict[Initialization, SignalReport]


def signals(base: RunConfig, arms: Sequence[Initialization]) -> Signals:
    """The signal in the network of a comparison under each arm, on training images, from seed 0.

    Args:
        base: what its runs share.
        arms: initializations.
    """
    dataset = load(base.data, train_subset=base.train_subset)
    images = torch.tensor(dataset.train_images)
    mean, std = channel_moments(images)
    looked_at = (images[:IMAGES].float() - mean) / std
    with isolated(0):
        return {
            arm: measure(initialized_model(replace(base, initialization=arm, seed=0), dataset), looked_at)
            for arm in arms
        }


def signal_section(found: Signals, model: str) -> Section:
    """The same as a figure and a table of the first layer, the middle one and the last one.

    Args:
        found: the signal under each arm.
        model: what the network is called.
    """
    rows = tuple((label(arm), *map(_written, _some(signal))) for arm, signal in found.items())
    note = (
        "Root mean square of the outputs of convolutions and linear layers, for training images of deviation "
        "1. A signal that grows or fades from layer to layer does so in the gradients, too, and the more the "
        "deeper the network is; where normalization follows, it does not matter."
    )
    depth = len(next(iter(found.values())).layers)
    header = ("initialization", "layer 1", f"layer {(depth + 1) // 2}", f"layer {depth}")
    drawing = signal_figure({label(arm): signal for arm, signal in found.items()})
    figure = Figure("Root mean square of the outputs of each layer", figure_svg(drawing), note)
    return Section(f"{TITLE}: {model}", (), (figure, Table("Root mean square", header, rows)))


def _some(signal: SignalReport) -> tuple[float, float, float]:
    size = [max(layer.output, 0.0) ** 0.5 for layer in signal.layers]
    return size[0], size[(len(size) - 1) // 2], size[-1]


def _written(value: float) -> str:
    return f"{value:.2f}" if 0.1 <= value < 100 else f"{value:.2g}"
