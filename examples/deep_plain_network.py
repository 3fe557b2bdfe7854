"""A deep network without normalization, where the scale of the weights decides whether a signal arrives.

    corrinit plan examples/deep_plain_network.py:build --input-size 32 --svg signal.svg

draws how strong the signal is in its layers under each recipe.
"""

from torch import nn

LAYERS, CHANNELS = 20, 64


def build() -> nn.Module:
    """Twenty convolutions with GELU, global average pooling and a classifier of ten classes."""
    layers: list[nn.Module] = []
    for layer in range(LAYERS):
        layers += [nn.Conv2d(CHANNELS if layer else 3, CHANNELS, 3, padding=1), nn.GELU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10))
