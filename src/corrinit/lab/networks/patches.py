"""Networks of depthwise convolutions on patches of the image, at one resolution: ConvMixer and ConvNeXt.

Both cut the image into patches by a strided convolution, mix pixels by depthwise convolutions with large
kernels and channels by 1×1 convolutions, average over the map and classify by one linear layer.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

EXPANSION = 4
"""Factor on the channels inside a block of ConvNeXt."""


class PatchNetwork(nn.Module):
    """Patches → blocks at one resolution → mean over the map → one linear layer.

    Args:
        stem: from images to a map of patches.
        blocks: of the network, in order; they keep the shape of the map.
        head: from the channels to the classes.
        dropout: probability that an input of the head is set to 0 in training.
    """

    def __init__(self, stem: nn.Module, blocks: Iterable[nn.Module], head: nn.Module, dropout: float) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout) if dropout else nn.Identity()
        )
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (N, classes), of images (N, C, H, W)."""
        return self.head(self.pool(self.blocks(self.stem(x))))


class ConvMixer(PatchNetwork):
    """Trockman & Kolter 2022: x + BN(GELU(depthwise(x))), then BN(GELU(pointwise(x))), `depth` times.

    Args:
        in_channels: of the images.
        classes: number of outputs.
        channels: of all layers.
        depth: number of blocks.
        kernel: odd size of the depthwise convolutions.
        patch: pixels on a side of a patch.
        normalized: by batches, after each activation.
        dropout: probability that an input of the classifier is set to 0 in training.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        channels: int,
        depth: int,
        kernel: int,
        patch: int,
        *,
        normalized: bool,
        dropout: float,
    ) -> None:
        def activated(convolution: nn.Conv2d) -> nn.Sequential:
            norm = [nn.BatchNorm2d(channels)] if normalized else []
            return nn.Sequential(convolution, nn.GELU(), *norm)

        def block() -> nn.Module:
            mixed = Residual(activated(_depthwise(channels, kernel)))
            return nn.Sequential(mixed, activated(nn.Conv2d(channels, channels, 1)))

        stem = activated(nn.Conv2d(in_channels, channels, patch, patch))
        blocks = [block() for _ in range(depth)]
        super().__init__(stem, blocks, nn.Linear(channels, classes), dropout)


class ConvNeXt(PatchNetwork):
    """Liu et al. 2022, isotropic: x + pointwise(GELU(pointwise(LN(depthwise(x))))), `depth` times.

    The inner of the two pointwise convolutions has four times the channels. Layer scale and stochastic depth,
    for networks many times as deep, are left out.

    Args:
        in_channels: of the images.
        classes: number of outputs.
        channels: of all layers.
        depth: number of blocks.
        kernel: odd size of the depthwise convolutions.
        patch: pixels on a side of a patch.
        normalized: by layer norm over the channels: of the patches, in each block, and before the classifier.
        dropout: probability that an input of the classifier is set to 0 in training.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        channels: int,
        depth: int,
        kernel: int,
        patch: int,
        *,
        normalized: bool,
        dropout: float,
    ) -> None:
        def norm() -> nn.Module:
            return ChannelNorm(channels) if normalized else nn.Identity()

        def block() -> nn.Module:
            return Residual(
                nn.Sequential(
                    _depthwise(channels, kernel),
                    norm(),
                    nn.Conv2d(channels, EXPANSION * channels, 1),
                    nn.GELU(),
                    nn.Conv2d(EXPANSION * channels, channels, 1),
                )
            )

        stem = nn.Sequential(nn.Conv2d(in_channels, channels, patch, patch), norm())
        blocks = [block() for _ in range(depth)]
        head_norm = nn.LayerNorm(channels) if normalized else nn.Identity()
        super().__init__(stem, blocks, nn.Sequential(head_norm, nn.Linear(channels, classes)), dropout)


class Residual(nn.Module):
    """x + F(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (N, C, H, W)."""
        return x + self.inner(x)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels at each position of (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize; the shape stays."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _depthwise(channels: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
