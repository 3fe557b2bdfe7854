"""Five small models on which the recipes are held, and what a recipe makes of them.

python tests/recipe_models.py    # writes recipe_weights.json anew: only ever for a new recipe
"""

import json
from pathlib import Path

import torch
from torch import nn

import corrinit
from corrinit._planning.recipes import RECIPES
from corrinit.lab.networks.catalog import build

FILE = Path(__file__).with_name("recipe_weights.json")
SEED = 20260101
KEPT = 12
"""Weights that are stored of each layer, evenly spread over it."""


class Depthwise(nn.Module):
    """A block of a ConvNeXt."""

    def __init__(self, channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm, self.act = nn.LayerNorm(channels), nn.GELU()
        self.wide, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.narrow(self.act(self.wide(y))).permute(0, 3, 1, 2)


class Decoder(nn.Module):
    """Down and up again, with a skip connection, a grouped and a transposed convolution, and SiLU."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(8, 16, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
        self.head = nn.Conv2d(11, 5, 1)
        self.act = nn.SiLU()

    def forward(self, x):
        y = self.up(self.act(self.middle(self.act(self.down(x)))))
        return self.head(torch.cat([self.act(y), x], 1))


def lab(name, **options):
    return lambda: build(name, classes=10, in_channels=3, image_size=32, width=0.125, **options)


MODELS = {
    "vgg8": lab("vgg8"),
    "resnet10": lab("resnet10"),
    "resnet10 without normalization": lab("resnet10", batch_norm=False),
    "depthwise": lambda: nn.Sequential(
        nn.Conv2d(3, 16, 4, 4),
        Depthwise(16),
        Depthwise(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    ),
    "decoder": Decoder,
}


def weights(recipe, model):
    """Of each layer: its deviation, and some of its weights."""
    network = MODELS[model]()
    plan = corrinit.initialize(network, recipe=recipe, seed=SEED, input_size=32)
    drawn = {layer.name: layer.std for layer in plan.layers if layer.is_drawn}
    made = {}
    for name, std in drawn.items():
        values = network.get_submodule(name).weight.detach().flatten()
        made[name] = [std, *values[:: max(1, len(values) // KEPT)][:KEPT].tolist()]
    return made


if __name__ == "__main__":
    found = {recipe: {model: weights(recipe, model) for model in MODELS} for recipe in RECIPES}
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
