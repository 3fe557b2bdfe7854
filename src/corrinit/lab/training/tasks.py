"""What a network is trained to do, and how it is judged: to name the class of an image, or to denoise it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

WHITE = 255.0
"""The brightest grey level, the peak of the signal in PSNR."""


class Task(Protocol):
    """What images are turned into before a network sees them, and what becomes of its outputs."""

    @property
    def measure(self) -> str:
        """What an image is judged by: the name that metrics and endpoints end in."""
        ...

    def pose(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs (B, C, H, W), standardized, and targets, of images as grey levels and their labels."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """The loss over images: a number."""
        ...

    def judge(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How well each image is done, shape (B,)."""
        ...


@dataclass(frozen=True, eq=False)
class Classification:
    """Name the class: cross-entropy, and for each image, was it right?

    Args:
        mean: of each channel, shape (C, 1, 1).
        std: its standard deviation.
    """

    mean: Tensor
    std: Tensor
    measure = "accuracy"

    def pose(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Standardized images and their labels; nothing is drawn."""
        return images.float().sub_(self.mean).div_(self.std), labels

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Cross-entropy of scores (B, classes) and labels (B,)."""
        return cross_entropy(outputs, targets, reduction=reduction)

    def judge(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Whether the highest score is that of the label, bool."""
        return outputs.argmax(1) == targets


@dataclass(frozen=True, eq=False)
class Denoising:
    """Take away Gaussian noise: mean squared error of standardized images, and the PSNR of each in decibels.

    Labels play no part.

    Args:
        mean: of each channel in grey levels, shape (C, 1, 1).
        std: its standard deviation.
        noise: standard deviation of the noise in grey levels.
    """

    mean: Tensor
    std: Tensor
    noise: float
    measure = "psnr"

    def pose(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images with noise and without, both standardized."""
        clean = images.float().sub_(self.mean).div_(self.std)
        drawn = torch.randn(images.shape, generator=generator).to(images.device)
        return clean + drawn * (self.noise / self.std), clean

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
        """Mean squared error over pixels and channels; of images, the mean or the sum."""
        mean = mse_loss(outputs, targets)
        return mean if reduction == "mean" else mean * len(targets)

    def judge(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """10 log₁₀(255² / mean squared error in grey levels) of each image: 20 dB or so for noise of 25."""
        error = ((outputs.float() - targets) * self.std).square().mean((1, 2, 3))
        return 10 * torch.log10(WHITE**2 / error)
