"""A look at whether a network and data fit each other, before any run is made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from corrinit._factory import build_model, fingerprint, is_factory, require_outputs
from corrinit.cli.progress import load_visibly
from corrinit.errors import LabelError
from corrinit.lab.data.dataset import load
from corrinit.lab.experiment.config import Initialization, RunConfig
from corrinit.lab.networks.catalog import build
from corrinit.lab.training.initialized import initialized_model
from corrinit.lab.training.isolation import isolated
from corrinit.lab.training.user_loop import require_different_weights


def checked(config: RunConfig, *, resample: bool | None = False) -> RunConfig:
    """The configuration, with the architecture of a factory's model noted.

    Args:
        config: what is to be run.
        resample: whether every seed draws its own training subset; None: where at least as many images stay
            unused as it takes, so that two draws share half of their images at most, on average.

    Raises:
        ConfigError: if there is no such network, it fails on the images or returns other scores than one for
            each class, or the data has a single class.
        DataError: if the data cannot be read.
    """
    dataset = load_visibly(config.data, train_subset=config.train_subset)
    classes, shape = len(dataset.classes), dataset.train_images.shape[1:]
    if classes < 2:
        raise LabelError(f"the data has one class, {dataset.classes[0]!r}; a comparison needs two or more")
    if resample is None:
        resample = config.train_subset is not None and 2 * config.train_subset <= dataset.available
    config = replace(config, resample=resample)
    if is_factory(config.model):
        with isolated(config.seed):
            model = build_model(config.model)
            require_outputs(model, shape, classes)
        return replace(config, architecture=fingerprint(model))
    build(
        config.model,
        classes=classes,
        in_channels=shape[0],
        image_size=shape[1:],
        width=config.width,
        batch_norm=config.batch_norm,
    )
    return config


def require_different(config: RunConfig, arms: Iterable[Initialization]) -> None:
    """Check that all arms start from different weights: arms that do not are one, and nothing is compared.

    Args:
        config: what the runs share.
        arms: initializations, each once.

    Raises:
        ConfigError: naming two arms that leave a model the same.
    """
    dataset = load(config.data, train_subset=config.train_subset)
    require_different_weights(
        (arm.spec, lambda arm=arm: initialized_model(replace(config, initialization=arm, seed=0), dataset))
        for arm in arms
    )
