"""Experiments on what the paper says in words, without a table or figure: all of them are ours.

Sections 1 and 6.2 and footnote 2 speak of networks without batch norm, of regularization, of long and short
training, of correlations beyond those of trained networks, of uniform draws, of Figure 6 for CIFAR-10, of R
per layer and of where filters are centred. Each is run as the paper's tables are, every correlated row with
its two controls, and the layers of the runs are watched (`corrinit.lab.runs.layers`).
"""

from __future__ import annotations

from dataclasses import replace

from corrinit.lab.experiment.config import Initialization
from corrinit.lab.paper.experiments import (
    CORRELATED,
    INDEPENDENT,
    Column,
    Experiment,
    Row,
    controls,
    experiments,
)

Other = tuple[str, bool | float | str]

VGG, RESNET = Column("vgg8", "cifar10"), Column("resnet10", "cifar10")
BOTH = (VGG, RESNET)
RATES = (0.005, 0.1)

LENGTHS = (10, 20, 40, 80)
"""Epochs at the scale of the paper; at that of `mini`, 5 to 40."""

REGULARIZATIONS: dict[str, tuple[float, tuple[Other, ...]]] = {
    "none": (0.0, ()),
    "λ = 0.001": (0.001, ()),
    "dropout 0.5": (0.0, (("dropout", 0.5),)),
    "crop-and-flip": (0.0, (("augmentation", "crop_flip"),)),
}
"""λ and other settings by name."""


def _two_by_two(suffix: str = "", *others: Other, l2: float = 0.0, epochs: int = 40) -> tuple[Row, ...]:
    """Correlated and independent taps, each at both scales."""
    correlated = Row(f"correlated{suffix}", CORRELATED, l2=l2, epochs=epochs, others=others)
    independent = replace(correlated, label=f"uncorrelated{suffix}", initialization=INDEPENDENT)
    return (correlated, independent, *controls(correlated))


def _with_controls(*arms: tuple[str, Initialization]) -> tuple[Row, ...]:
    """Rows of arms, independent taps, and the controls of those that are correlated."""
    rows = [Row(label, arm) for label, arm in arms]
    return (*rows, Row("uncorrelated", INDEPENDENT), *(control for row in rows for control in controls(row)))


def _per_layer(preset: str) -> tuple[str, Initialization]:
    return f"R per layer of {preset}", replace(CORRELATED, correlation=f"{preset}:layers")


WORDS: tuple[Experiment, ...] = (
    Experiment(
        "no-batch-norm",
        "Without batch norm",
        BOTH,
        _two_by_two("", ("batch_norm", False)),
        RATES,
        note="“Non-correlated initialization can drastically reduce gradient flow across layers and might "
        "require longer training … in the absence of batch normalization” (Section 1).",
    ),
    Experiment(
        "regularization",
        "Regularization, each for as many epochs",
        (VGG,),
        tuple(
            row
            for name, (l2, others) in REGULARIZATIONS.items()
            for row in _two_by_two(f", {name}", *others, l2=l2)
        ),
        note="“L2 regularization makes weights more uniform, i.e., it increases their correlation” "
        "(Section 6). Unlike in Table 2, networks with and without are trained equally long.",
    ),
    Experiment(
        "training-length",
        "Gain against the length of training",
        (VGG,),
        tuple(row for epochs in LENGTHS for row in _two_by_two(f", {epochs} epochs", epochs=epochs)),
        note="Epochs are those of the scale of the paper; other scales train for a share of them.",
    ),
    Experiment(
        "strong-correlation",
        "Correlations beyond those of trained networks",
        (VGG,),
        _with_controls(
            *((f"α = {strength}", replace(CORRELATED, strength=strength)) for strength in (2.0, 3.0))
        ),
        note="“Increasing correlations beyond the level found in trained networks might be beneficial” "
        "(Section 6.2). What is no correlation matrix any more is replaced by the nearest one.",
    ),
    Experiment(
        "uniform",
        "Uniform draws",
        (VGG,),
        (
            Row("correlated, uniform", Initialization("correlated_uniform", "paper")),
            Row("uncorrelated, uniform", Initialization("kaiming_uniform", "he")),
            Row("independent taps, same scale, uniform", Initialization("kaiming_uniform", "paper")),
            Row("same correlation, He's scale, uniform", Initialization("correlated_uniform", "he")),
            *_two_by_two(),
        ),
        note="“A uniform distribution may also be used” (Section 2). Of correlated taps the ranks are "
        "correlated, so that each is uniform.",
    ),
    Experiment(
        "figure6-cifar10",
        "Figure 6 for CIFAR-10: gradient sign changes, gradient magnitude and accuracy over training",
        (RESNET,),
        _two_by_two(),
        RATES,
        note="“CIFAR-10 behaves similarly for ResNet” (Section 6.2).",
    ),
    Experiment(
        "centre-weighted",
        "Taps that vary most in the centre",
        BOTH,
        _with_controls(
            ("independent, centre-weighted", Initialization("centre_weighted")),
            (
                "correlated, centre-weighted",
                replace(CORRELATED, correlation="exponential:0.26+centre:0.8"),
            ),
        ),
        note="Locality by the variance of the taps instead of their correlation (Schneider 2021, "
        "Locality-promoting representation learning).",
    ),
    *(
        Experiment(
            "per-layer",
            "Footnote 2: R per layer",
            (column,),
            _with_controls(
                _per_layer(preset), (f"R of {preset}, pooled", replace(CORRELATED, correlation=preset))
            ),
        )
        for column, preset in ((VGG, "vgg8-cifar10"), (RESNET, "resnet10-cifar10"))
    ),
)

WORD_NAMES = tuple(dict.fromkeys(experiment.name for experiment in WORDS))
"""What can be reproduced beside the paper's figures and tables, each alone or all as `words`."""


def planned(name: str) -> tuple[Experiment, ...]:
    """The experiments of a name: of a figure or table, of `all` of these, of one here, or of all `words`.

    Raises:
        ConfigError: if nothing is called so.

    >>> [len(planned(name)) for name in ("per-layer", "words", "figure4")]
    [2, 9, 1]
    """
    if name == "words":
        return WORDS
    return tuple(each for each in WORDS if each.name == name) or experiments(name)


def is_of_the_paper(name: str) -> bool:
    """Whether the runs of a name are those of the paper's figures and tables, which its claims are about."""
    return not watches_layers(name)


def watches_layers(name: str) -> bool:
    """Whether the layers of the runs of a name are watched."""
    return name == "words" or name in WORD_NAMES
