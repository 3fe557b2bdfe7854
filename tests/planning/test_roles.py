"""What each layer is to its model."""

import pytest
import torch
from torch import nn

from corrinit._planning.recipes import RECIPES, score_deviation
from corrinit._planning.roles import places
from corrinit._tracing.reading import read_graph
from corrinit.lab.networks.catalog import build


def placed(model, input_size=None):
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))
    }
    return places(layers, read_graph(model, input_size))


class Block(nn.Module):
    """A residual block that normalizes first, as do transformers and pre-activation networks."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.first, self.last = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x + self.last(torch.relu(self.first(self.norm(x))))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v))


def test_a_residual_network_with_normalization():
    found = placed(build("resnet10", classes=10, in_channels=3, image_size=32))
    assert found["stem.0.0"].role == "stem"
    assert found["stages.1.residual.2.0"].role == "dense"
    assert found["stages.1.shortcut.0"].role == "pointwise"
    assert (found["head"].role, found["head"].classes) == ("head", 10)
    assert all(place.normalized for name, place in found.items() if name != "head")
    assert not any(place.joins for place in found.values())


def test_without_normalization_the_last_layer_of_a_branch_joins_and_the_shortcut_does_not():
    found = placed(build("resnet10", classes=10, in_channels=3, image_size=32, batch_norm=False))
    assert [name for name, place in found.items() if place.joins] == [
        f"stages.{stage}.residual.2.0" for stage in range(4)
    ]
    assert not any(place.normalized for place in found.values())


def test_a_branch_joins_where_the_next_block_normalizes_its_sum():
    found = placed(
        nn.Sequential(nn.Conv2d(3, 8, 3), Block(8), Block(8), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1))
    )
    assert found["1.last"].joins
    assert not found["1.first"].joins
    assert found["0"].role == "stem"


def test_a_sum_that_is_normalized_later_is_not_strengthened_for_the_activation_beyond():
    found = placed(
        nn.Sequential(nn.Conv2d(3, 8, 3), Block(8), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
    )
    assert found["0"].normalized
    assert found["0"].activation is None
    assert found["1.first"].activation is not None


def test_kinds_of_convolutions_and_attention():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.ConvTranspose2d(8, 8, 2, stride=2),
        nn.Conv2d(8, 8, (1, 1)),
        nn.Conv2d(8, 8, (1, 3)),
        nn.Flatten(2),
        nn.Linear(64 * 62, 8),
        Attention(),
        nn.Linear(8, 5),
    )
    roles = [place.role for place in placed(model).values()]
    convolutions = ["stem", "depthwise", "grouped", "transposed", "pointwise", "dense"]
    assert roles == [*convolutions, "linear", "attention", "attention", "head"]


@pytest.mark.parametrize(
    ("last", "classes"),
    [
        ([nn.Conv2d(8, 4, 1)], 4),  # segmentation
        ([nn.Conv2d(8, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()], 4),  # SqueezeNet
        ([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1), nn.Sigmoid()], 1),
        ([nn.Conv2d(8, 3, 3, padding=1)], 0),  # an image, as the input is
        ([nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Tanh()], 0),
        ([nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.ReLU()], 0),  # features
        ([nn.Conv2d(8, 4, 3), nn.ReLU()], 0),
        ([nn.Conv2d(8, 8, 3)], 0),
        ([nn.Conv2d(8, 20, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()], 20),
    ],
)
def test_a_head_gives_scores(last, classes):
    *_, place = placed(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *last)).values()
    assert place.classes == classes
    assert (place.role == "head") == (classes > 0)


def test_a_model_that_cannot_be_run_is_read_in_module_order():
    class Unrunnable(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            raise RuntimeError("no")

    fused = Unrunnable()
    fused.qkv, fused.up, fused.down = nn.Linear(8, 24), nn.Linear(8, 64), nn.Linear(32, 8)
    assert {name for name, place in placed(fused).items() if place.role == "head"} == {"head"}
    found = placed(Unrunnable())
    assert [place.role for place in found.values()] == ["stem", "dense", "head"]
    assert found["first"].normalized
    assert not found["second"].normalized


@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_scores_of_that_deviation_start_near_the_logarithm_of_the_number_of_classes(classes):
    scores = score_deviation(classes) * torch.randn(
        20000, classes, generator=torch.Generator().manual_seed(0)
    )
    loss = nn.functional.cross_entropy(scores, torch.arange(20000) % classes).item()
    expected = torch.tensor(float(classes)).log().item()
    assert 1 < loss / expected < 1.05


def test_a_single_logit_starts_like_two_classes():
    logits = score_deviation(1) * torch.randn(20000, generator=torch.Generator().manual_seed(0))
    loss = nn.functional.binary_cross_entropy_with_logits(logits, (torch.arange(20000) % 2).float()).item()
    assert 1 < loss / 0.6931 < 1.05


def test_every_recipe_has_a_rule_for_every_layer():
    for recipe in RECIPES.values():
        assert str(recipe.rules[-1][0]) == "all others"
