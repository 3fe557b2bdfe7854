"""Networks of depthwise convolutions on patches of the image, at one resolution: ConvMixer and ConvNeXt.

Both cut the image into patches by a strided convolution, mix pixels by depthwise convolutions with large
kernels and channels by 1×1 convolutions, average over the map and classify by one linear layer.
"""

from __future__ import annotations

from torch import Tensor, nn

EXPANSION = 4
"""Factor on the channels inside a block of ConvNeXt."""


class ConvMixer(nn.Module):
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
        super().__init__()

        def activated(convolution: nn.Conv2d) -> nn.Sequential:
            norm = [nn.BatchNorm2d(channels)] if normalized else []
            return nn.Sequential(convolution, nn.GELU(), *norm)

        self.stem = activated(nn.Conv2d(in_channels, channels, patch, patch))
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    Residual(activated(_depthwise(channels, kernel))),
                    activated(nn.Conv2d(channels, channels, 1)),
                )
                for _ in range(depth)
            )
        )
        self.pool = _pool(dropout)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (N, classes), of images (N, C, H, W)."""
        return self.head(self.pool(self.blocks(self.stem(x))))


class ConvNeXt(nn.Module):
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
        super().__init__()

        def norm() -> nn.Module:
            return ChannelNorm(channels) if normalized else nn.Identity()

        self.stem = nn.Sequential(nn.Conv2d(in_channels, channels, patch, patch), norm())
        self.blocks = nn.Sequential(
            *(
                Residual(
                    nn.Sequential(
                        _depthwise(channels, kernel),
                        norm(),
                        nn.Conv2d(channels, EXPANSION * channels, 1),
                        nn.GELU(),
                        nn.Conv2d(EXPANSION * channels, channels, 1),
                    )
                )
                for _ in range(depth)
            )
        )
        self.pool = _pool(dropout)
        self.head = nn.Sequential(
            nn.LayerNorm(channels) if normalized else nn.Identity(), nn.Linear(channels, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (N, classes), of images (N, C, H, W)."""
        return self.head(self.pool(self.blocks(self.stem(x))))


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


def _pool(dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout) if dropout else nn.Identity()
    )
