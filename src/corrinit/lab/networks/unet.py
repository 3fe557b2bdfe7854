"""A small U-Net (Ronneberger et al. 2015) that denoises images by predicting noise (Zhang et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class UNet(nn.Module):
    """Two halvings and two doublings of the image, joined at each size; what comes out is noise to subtract.

    Every size has two 3×3 convolutions on the way down and two on the way up, each with batch norm and ReLU.
    Maps are doubled by copying pixels.

    Args:
        in_channels: of the images, and of what comes out.
        channels: at full size; twice and four times as many at half and a quarter of it.
        batch_norm: normalize after each convolution but the last; without it, convolutions have a bias.
    """

    def __init__(self, in_channels: int, channels: int, batch_norm: bool) -> None:
        super().__init__()
        half, quarter = 2 * channels, 4 * channels
        self.down = nn.ModuleList(
            [
                _two_convolutions(in_channels, channels, batch_norm),
                _two_convolutions(channels, half, batch_norm),
            ]
        )
        self.pool = nn.MaxPool2d(2)
        self.bottom = _two_convolutions(half, quarter, batch_norm)
        self.up = nn.ModuleList(
            [
                _two_convolutions(quarter + half, half, batch_norm),
                _two_convolutions(half + channels, channels, batch_norm),
            ]
        )
        self.noise = nn.Conv2d(channels, in_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The images (N, C, H, W) less the noise that is seen in them."""
        kept, maps = [], x
        for stage in self.down:
            kept.append(maps := stage(maps))
            maps = self.pool(maps)
        maps = self.bottom(maps)
        for stage, across in zip(self.up, reversed(kept), strict=True):
            maps = stage(torch.cat([interpolate(maps, across.shape[2:]), across], 1))
        return x - self.noise(maps)


def _two_convolutions(in_channels: int, out_channels: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=1, bias=not batch_norm))
        layers += [nn.BatchNorm2d(out_channels)] * batch_norm + [nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
