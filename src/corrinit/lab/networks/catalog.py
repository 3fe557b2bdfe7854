"""The networks by name: those of the paper, in the form for small images, and others beside them.

In the paper's, every convolution is 3×3 with padding 1 and is followed by batch norm and ReLU. The stem has
stride 1 and no pooling. `width` (the paper's netSize) multiplies the numbers of channels; the classifier is
one linear layer. The paper leaves these details open; they are our choice.

Of the others, `plain10` and `plain20` have ten and twenty 3×3 convolutions and no normalization, and
`plain10-gelu` has ten with GELU instead of ReLU; `corrinit.lab.networks.patches` has networks of depthwise
convolutions, and `corrinit.lab.networks.unet` one that denoises.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from torch import Tensor, nn

from corrinit.errors import ConfigError, ConflictError, UnknownNameError
from corrinit.lab.networks.patches import ConvMixer, ConvNeXt
from corrinit.lab.networks.unet import UNet

VGG: dict[str, tuple[int | str, ...]] = {
    "vgg8": (64, "M", 128, "M", 256, "M", 512, "M", 512, "M"),
    "vgg16": (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(512,) * 3, "M", *(512,) * 3, "M"),
    "vgg19": (64, 64, "M", 128, 128, "M", *(256,) * 4, "M", *(512,) * 4, "M", *(512,) * 4, "M"),
    "small": (32, 64, "M", 64, 128, "M"),
    "plain10": (64, 64, "M", 128, 128, "M", *(256,) * 3, "M", *(256,) * 3, "M"),
    "plain20": (*(32,) * 10, "M", *(64,) * 10, "M"),
    "plain10-gelu": (*(32,) * 5, "M", *(64,) * 5),
}
"""Channels of the convolutions, and M for 2×2 max pooling (Simonyan & Zisserman 2015, Table 1).

`small`, `plain20` and `plain10-gelu`, for 8×8 images, and `plain10` are ours.
"""

PLAIN = ("plain10", "plain20", "plain10-gelu")
"""Networks that are made to have no normalization."""

RESNET = {"resnet10": (1, 1, 1, 1), "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
"""Blocks per stage of 64, 128, 256 and 512 channels (He et al. 2016, Table 1)."""

CONVMIXER = {"convmixer": (96, 5, 7, 4), "convmixer-k5-p2": (64, 4, 5, 2)}
"""Channels, blocks, kernel of the depthwise convolutions and pixels of a patch."""

CONVNEXT = {"convnext": (64, 4, 7, 4)}
"""The same."""

UNET = "unet"
UNET_CHANNELS = 32

NAMES = (*VGG, *RESNET, *CONVMIXER, *CONVNEXT, UNET)


def build(
    name: str,
    *,
    classes: int,
    in_channels: int,
    image_size: int | tuple[int, int],
    width: float = 0.5,
    batch_norm: bool = True,
    dropout: float = 0.0,
    denoises: bool = False,
) -> nn.Module:
    """Build a network for images of shape (in_channels, height, width).

    Args:
        name: one of `NAMES`.
        classes: number of outputs.
        in_channels: channels of the images.
        image_size: height and width of the images in pixels, one number if they are equal.
        width: factor on the numbers of channels.
        batch_norm: normalize after each convolution; without it, convolutions have a bias. The networks
            whose normalization is another one have that or none.
        dropout: probability that an input of the classifier is set to 0 in training.
        denoises: its outputs are images instead of class scores.

    Raises:
        ConfigError: if there is no such network, it is not made for the task, it has no place for what is
            asked for, or the images or the width are too small for it.

    >>> model = build("vgg8", classes=10, in_channels=3, image_size=32)
    >>> sum(p.numel() for p in model.parameters())
    981802
    """
    if not 0 < width < float("inf"):
        raise ConfigError(f"width is {width}; it is a positive factor on the numbers of channels")
    if name not in NAMES:
        raise UnknownNameError(f"model is {name!r}; it is one of {', '.join(NAMES)}")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if denoises != (name == UNET):
        takes = "takes noise away: set noise" if name == UNET else "names classes: for noise, take unet"
        raise ConflictError(f"{name} {takes}")
    if name == UNET:
        if dropout:
            raise ConflictError(f"dropout is {dropout}; unet has no classifier to put it before: leave it 0")
        return UNet(in_channels, scaled(UNET_CHANNELS, width), batch_norm)
    if name in CONVMIXER or name in CONVNEXT:
        channels, depth, kernel, patch = (CONVMIXER | CONVNEXT)[name]
        if min(size) < patch:
            raise ConflictError(
                f"{name} cuts images into patches of {patch} pixels; {size[0]}×{size[1]} have none"
            )
        body = scaled(channels, width), depth, kernel, patch
        network = ConvMixer if name in CONVMIXER else ConvNeXt
        return network(in_channels, classes, *body, normalized=batch_norm, dropout=dropout)
    if name in PLAIN and batch_norm:
        raise ConflictError(f"{name} is a network without normalization: set batch_norm = false")
    if name in VGG:
        halvings = VGG[name].count("M")
        if min(size) < 2**halvings:
            raise ConflictError(
                f"{name} halves its images {halvings} times; {size[0]}×{size[1]} pixels are too small for "
                f"that: use a model such as 'small', or images of at least {2**halvings} pixels"
            )
        activation = nn.GELU() if name == "plain10-gelu" else nn.ReLU(inplace=True)
        return vgg(VGG[name], classes, in_channels, size, width, batch_norm, dropout, activation)
    return ResNet(RESNET[name], classes, in_channels, width, batch_norm, dropout)


def scaled(channels: int, width: float) -> int:
    """A number of channels times `width`, at least 1."""
    return max(1, round(channels * width))


def convolution(
    in_channels: int, out_channels: int, batch_norm: bool, *, kernel: int = 3, stride: int = 1
) -> nn.Sequential:
    """Convolution and, if asked for, batch norm; the output has the size of the input over the stride."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=not batch_norm)
    ]
    if batch_norm:
        layers.append(nn.BatchNorm2d(out_channels))
    return nn.Sequential(*layers)


def flatten(dropout: float) -> nn.Module:
    """One vector per image, and dropout if asked for; one module, so that the next one keeps its name."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(dropout)) if dropout else nn.Flatten()


def vgg(
    layout: Sequence[int | str],
    classes: int,
    in_channels: int,
    image_size: tuple[int, int],
    width: float,
    batch_norm: bool,
    dropout: float,
    activation: nn.Module,
) -> nn.Sequential:
    """A plain stack of convolutions and poolings, then one linear layer."""
    layers: list[nn.Module] = []
    channels, (height, breadth) = in_channels, image_size
    for entry, following in zip(layout, (*layout[1:], None), strict=True):
        if not isinstance(entry, int):
            continue
        layers.append(convolution(channels, scaled(entry, width), batch_norm))
        if (
            following == "M"
        ):  # before the ReLU: as max and ReLU commute, the same numbers from a quarter of them
            layers.append(nn.MaxPool2d(2))
            height, breadth = height // 2, breadth // 2
        layers.append(copy(activation))
        channels = scaled(entry, width)
    return nn.Sequential(*layers, flatten(dropout), nn.Linear(channels * height * breadth, classes))


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut: relu(F(x) + x); 1×1 projection where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            convolution(in_channels, out_channels, batch_norm, stride=stride),
            nn.ReLU(inplace=True),
            convolution(out_channels, out_channels, batch_norm),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and in_channels == out_channels
            else convolution(in_channels, out_channels, batch_norm, kernel=1, stride=stride)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (N, C, H, W)."""
        return self.relu(self.residual(x) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, four stages of basic blocks, global average pooling, one linear layer."""

    def __init__(
        self,
        blocks: Sequence[int],
        classes: int,
        in_channels: int,
        width: float,
        batch_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        channels = scaled(64, width)
        self.stem = nn.Sequential(convolution(in_channels, channels, batch_norm), nn.ReLU(inplace=True))
        stages = []
        for stage, depth in enumerate(blocks):
            out_channels = scaled(64 * 2**stage, width)
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock(channels, out_channels, stride, batch_norm))
                channels = out_channels
        self.stages = nn.Sequential(*stages)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), flatten(dropout))
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, shape (N, classes), of images (N, C, H, W)."""
        return self.head(self.pool(self.stages(self.stem(x))))
