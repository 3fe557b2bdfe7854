"""The model that a run starts from, and the scale on which it sees images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from corrinit._factory import build_model, is_factory
from corrinit._planning import initialize
from corrinit._seeding import layer_generator
from corrinit.errors import ConflictError
from corrinit.lab.data.dataset import Dataset
from corrinit.lab.experiment.config import RunConfig
from corrinit.lab.networks.catalog import build
from corrinit.lab.training.isolation import Lineage, seeded
from corrinit.methods import needs_images

INITIALIZATION_IMAGES = 512

_LINEAGE = Lineage()
"""Of the models that factories have built in this process."""


def initialized_model(config: RunConfig, dataset: Dataset) -> nn.Module:
    """The model of a run with the weights it starts from.

    Methods that look at data see up to `INITIALIZATION_IMAGES` training images, chosen by the seed.
    """
    arm = config.initialization
    with seeded(config.seed):  # for what no method draws: layers draw weights when they are made
        model = _build(config, dataset)
        looks = any(needs_images(method, scale) for method, scale in arm.parts)
        images = _some_images(config, dataset) if looks else None
        size = dataset.train_images.shape[1:]
        initialize(model, seed=config.seed, images=images, input_size=size, **arm.options)
    return model


def _some_images(config: RunConfig, dataset: Dataset) -> Tensor:
    images = torch.tensor(dataset.train_images)
    mean, std = channel_moments(images)
    order = torch.randperm(len(images), generator=layer_generator(config.seed, "images to initialize by"))
    return (images[order[:INITIALIZATION_IMAGES]].float() - mean) / std


def _build(config: RunConfig, dataset: Dataset) -> nn.Module:
    if is_factory(config.model):
        if config.dropout:
            raise ConflictError(
                f"dropout is {config.dropout}; {config.model} brings what dropout it has: leave it 0"
            )
        model = build_model(config.model)
        _LINEAGE.add(model)
        return model
    _, channels, height, width = dataset.train_images.shape
    return build(
        config.model,
        classes=len(dataset.classes),
        in_channels=channels,
        image_size=(height, width),
        width=config.width,
        batch_norm=config.batch_norm,
        dropout=config.dropout,
        denoises=config.noise > 0,
    )


def channel_moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of uint8 images (N, C, H, W), both of shape (C, 1, 1).

    From the histogram of the 256 levels, exact in float64; the deviation of a constant channel counts as 1.
    """
    levels = torch.arange(256, dtype=torch.float64, device=images.device)
    counts = torch.stack([torch.bincount(c.reshape(-1), minlength=256) for c in images.unbind(1)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(1)
    std = variance.sqrt().where(variance > 0, torch.ones_like(variance))
    return mean.float().view(-1, 1, 1), std.float().view(-1, 1, 1)
