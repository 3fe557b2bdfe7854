"""transformers: models built from a configuration; what was loaded from a checkpoint stays as it is.

    model = AutoModelForImageClassification.from_config(config)
    corrinit.initialize(model)

is all that a model needs that is there, and `from_pretrained` instead of `from_config` has only the layers
drawn that the checkpoint lacks. Here is what else transformers asks for: a function that makes the model anew
for each training, and one that initializes a module in the `_init_weights` of a model of one's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd
from typing_extensions import Unpack

from corrinit._correlation_source import CorrelationSource
from corrinit._layers import is_loaded, why_kept
from corrinit._layers.weight_storage import stored_weight
from corrinit._planning import PlanOptions, initialize
from corrinit._planning.recipes import Scale
from corrinit._tracing import Activation
from corrinit.errors import MissingLibraryError

Model = TypeVar("Model", bound=nn.Module)


def model_init(
    build: Callable[..., Model], *, seed: int | None = None, **options: Unpack[PlanOptions]
) -> Callable[[Any], Model]:
    """What `Trainer(model_init=...)` takes: a function that builds a model and initializes it.

        Trainer(model_init=corrinit.transformers.model_init(lambda: ResNetForImageClassification(config)))

    Args:
        build: makes the model; called without arguments, or with the trial of a hyperparameter search if it
            takes one.
        seed: root seed; default: one number from torch's global generator, which the trainer sets to the
            `seed` of its arguments before it calls.
        options: those of `corrinit.plan`.

    Raises:
        MissingLibraryError: if transformers is not installed, or does not mark what it has loaded.
    """
    _require_marks()
    takes_trial = any(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in inspect.signature(build).parameters.values()
    )

    def initialized(trial: Any = None) -> Model:
        model = build(trial) if takes_trial else build()
        initialize(model, seed=seed, **options)
        return model

    return initialized


def init_module(
    module: nn.Module,
    *,
    method: str = "correlated",
    correlation: CorrelationSource = None,
    scale: Scale | None = None,
    nonlinearity: str | Activation | None = None,
) -> bool:
    """Initialize one convolution or linear layer, for use in the `_init_weights` of a model.

        def _init_weights(self, module):
            if not corrinit.transformers.init_module(module, scale="he"):
                super()._init_weights(module)

    The weight is drawn and the bias set to zero, each unless transformers has loaded it
    (`_is_hf_initialized`). A module alone has no name and no place in a model, so the seed is
    a number from torch's global generator, and no recipe applies: stem and head are drawn like all others.

    Args:
        module: any module of a model.
        method: how convolutions are drawn, see `corrinit.plan`; linear layers are Kaiming normal.
        correlation: R of the taps, see `corrinit.plan`.
        scale: `"he"` or `"paper"`; default: the method's own.
        nonlinearity: the activation whose gain the layer gets; default: ReLU.

    Returns:
        Whether weight and bias are as they should be now; False for modules of other kinds.

    Raises:
        PlanError: if the layer cannot be drawn as asked; it is as it was.
        MissingLibraryError: see `model_init`.
    """
    _require_marks()
    if not isinstance(module, (_ConvNd, nn.Linear)) or (stored := stored_weight(module)) is None:
        return False
    if not is_loaded(stored.parameter):
        if why_kept(module) is not None:
            return False
        # memory that is still unset may hold a constant, which nobody means
        initialize(
            module,
            method=method,
            correlation=correlation,
            scale=scale,
            nonlinearity=nonlinearity,
            keep_constants=False,
        )
    if module.bias is not None and not is_loaded(module.bias):
        with torch.no_grad():
            module.bias.zero_()
    return True


@cache
def _require_marks() -> None:
    """Check that the transformers which is installed marks the parameters that it has loaded."""
    remedy = 'pip install --upgrade "transformers>=5"'
    try:
        found = version("transformers")
    except PackageNotFoundError:
        raise MissingLibraryError(f"corrinit.transformers needs transformers: {remedy}") from None
    if int(found.partition(".")[0]) < 5:
        raise MissingLibraryError(
            f"transformers {found} does not mark the parameters that it has loaded, which could be drawn "
            f"anew unnoticed: {remedy}"
        )
