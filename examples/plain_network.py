"""A network of one's own, without batch normalization, for `corrinit compare`.

    corrinit compare examples/plain_network.py:build --data folder:digit-images --methods correlated

calls `build` for every run. `digit_images.py` beside this file makes the images.
"""

from torch import nn


def build() -> nn.Module:
    """Five convolutions, global average pooling and a linear classifier of ten classes, for grey images."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
