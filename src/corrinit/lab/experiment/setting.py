"""What the runs of a comparison share: everything that determines a result but the arm and the seed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf
from typing import Literal, TypeAlias

from corrinit.errors import ConflictError
from corrinit.lab.experiment.checks import check_types, require
from corrinit.lab.experiment.schedule import Schedule

Precision: TypeAlias = Literal["float32", "bfloat16"]
TestedOn: TypeAlias = Literal["test", "held_out"]
Augmentation: TypeAlias = Literal["none", "crop_flip"]
Optimizer: TypeAlias = Literal["sgd", "adamw"]

USER_LOOP = "user_loop"
"""The data of runs made by a training loop of the user's own, of which nothing else is known."""


@dataclass(frozen=True)
class Setting:
    """Data, network and training. The defaults are the paper's protocol.

    Args:
        data: data set, as in `corrinit.lab.data.dataset.load`.
        train_subset: number of training images; None for all.
        resample: whether the seed of a run, which all arms share, draws them, instead of one draw for all.
        tested_on: the `"test"` images, or images `"held_out"` from training, to choose settings by.
        model: network, as in `corrinit.lab.networks.catalog.build`, or a factory, as in
            `corrinit._factory.build_model`.
        architecture: `corrinit._factory.fingerprint` of a factory's model; empty for networks of ours.
        width: factor on the network's numbers of channels.
        batch_norm: whether each convolution is followed by normalization.
        epochs: passes over the training images.
        batch_size: images per update; what is left of an epoch after the last full batch is dropped.
        lr: learning rate, at its highest.
        momentum: momentum of SGD, in [0, 1); for AdamW its β₁, beside β₂ = 0.999.
        l2: λ of L2 regularization, as the weight decay of SGD; 0 for AdamW.
        precision: number format; `"bfloat16"` is automatic mixed precision.
        channels_last: memory format of images and kernels.
        augmentation: `"crop_flip"` shifts each training image by up to 4 pixels and flips every second one.
        schedule: learning rate over training, as in `corrinit.lab.experiment.schedule`.
        warmup: share of the updates over which the rate rises to `lr`, in [0, 1).
        optimizer: `"sgd"` or `"adamw"`.
        weight_decay: decay of AdamW: each update shrinks the weights by the rate times it; 0 for SGD.
        dropout: probability that an input of the classifier is set to 0 in training, in [0, 1).
        noise: standard deviation, in grey levels, of the Gaussian noise that a network such as `unet` learns
            to remove; 0 for classifiers.

    Raises:
        ConfigError: naming the value and what it may be.
    """

    data: str = "digits"
    train_subset: int | None = None
    resample: bool = False
    tested_on: TestedOn = "test"
    model: str = "small"
    architecture: str = ""
    width: float = 0.5
    batch_norm: bool = True
    epochs: int = 40
    batch_size: int = 256
    lr: float = 0.1
    momentum: float = 0.8
    l2: float = 0.0
    precision: Precision = "float32"
    channels_last: bool = True
    augmentation: Augmentation = "none"
    schedule: Schedule = "constant"
    warmup: float = 0.0
    optimizer: Optimizer = "sgd"
    weight_decay: float = 0.0
    dropout: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        check_types(self)
        positive = "a positive number"
        require(
            self.train_subset is None or self.train_subset > 0, "train_subset", self.train_subset, positive
        )
        if self.resample and self.train_subset is None:
            raise ConflictError(
                "resample is True; it draws a part of the training images: set train_subset too"
            )
        require(0 < self.width < inf, "width", self.width, positive)
        require(self.epochs > 0, "epochs", self.epochs, positive)
        require(self.batch_size > 0, "batch_size", self.batch_size, positive)
        require(0 < self.lr < inf, "lr", self.lr, positive)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
        require(0 <= self.l2 < inf, "l2", self.l2, "at least 0")
        for name in ("warmup", "dropout"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1")
        for name in ("weight_decay", "noise"):
            require(0 <= getattr(self, name) < inf, name, getattr(self, name), "at least 0")
        if self.optimizer == "sgd" and self.weight_decay:
            raise ConflictError(f"weight_decay is {self.weight_decay}; it is of adamw: for sgd, set l2")
        if self.optimizer == "adamw" and self.l2:
            raise ConflictError(f"l2 is {self.l2}; it is of sgd: for adamw, set weight_decay")

    @property
    def is_user_loop(self) -> bool:
        """Whether a training loop of the user's own makes the runs, as many epochs as it likes."""
        return self.data == USER_LOOP

    def without(self, *names: str) -> tuple[object, ...]:
        """All values but those named: equal for settings that differ in the named ones alone.

        >>> Setting(lr=0.1).without("lr") == Setting(lr=0.01).without("lr") != Setting().without("l2")
        True
        """
        return tuple(getattr(self, field.name) for field in fields(Setting) if field.name not in names)
