"""Training images changed at random: crop and flip, as is usual for small images (He et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

PADDING = 4
"""Black pixels around an image before it is cropped."""


class CropFlip:
    """Pad by 4 black pixels, crop at random to the size of before, and flip every second image on average.

    What is drawn depends on the generator and the number of images alone: arms of a seed see the same crops.

    Args:
        count: number of images.
        generator: on the CPU.
        device: where the images are.
    """

    def __init__(self, count: int, generator: torch.Generator, device: torch.device) -> None:
        shifts = torch.randint(2 * PADDING + 1, (2, count), generator=generator)
        self._down, self._right = shifts.to(device)
        self._flipped = torch.randint(2, (count,), generator=generator).bool().to(device)

    def __call__(self, images: Tensor, numbers: Tensor) -> Tensor:
        """Images as this epoch sees them.

        Args:
            images: shape (B, C, H, W).
            numbers: of each among all images, shape (B,).
        """
        height, width = images.shape[2:]
        rows = self._down[numbers, None] + torch.arange(height, device=images.device)
        columns = self._right[numbers, None] + torch.arange(width, device=images.device)
        columns = torch.where(self._flipped[numbers, None], columns.flip(1), columns)
        padded = pad(images, (PADDING,) * 4)
        every = torch.arange(len(images), device=images.device)[:, None, None]
        return padded[every, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
