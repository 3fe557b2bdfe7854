"""Models of the user's own: built by a function in a module or file that is named on the command line."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from corrinit.errors import FactoryError


def is_factory(model: str) -> bool:
    """Whether a model is named as a factory is, `MODULE:FACTORY` or `PATH.py:FACTORY`."""
    return ":" in model


def build_model(factory: str) -> nn.Module:
    """Build the model of `MODULE:FACTORY` or `PATH.py:FACTORY`, a function without arguments.

    The module is imported as Python would, so its code is run. `timm:NAME` and `torchvision:NAME` are the
    models of these libraries by their own names, without trained weights.

    Raises:
        ConfigError: if there is no such factory, it fails, or what it returns is no module.
    """
    where, _, name = factory.rpartition(":")
    if where in _LIBRARIES:
        return _from_library(where, name)
    if not where or not name.isidentifier():
        raise FactoryError(f"the factory is {factory!r}; write MODULE:FACTORY or PATH.py:FACTORY")
    try:
        module = _import(where)
    except (Exception, SystemExit) as error:  # the module is the user's, and may do anything
        raise FactoryError(f"{where} cannot be imported: {_one_line(error)}") from error
    make = getattr(module, name, None)
    if not callable(make):
        public = ", ".join(sorted(each for each in vars(module) if not each.startswith("_"))[:20]) or "none"
        raise FactoryError(f"{where} has no callable {name}; its names: {public}")
    try:
        model = make()
    except (Exception, SystemExit) as error:
        raise FactoryError(f"{factory} failed: {_one_line(error)}; it is called without arguments") from error
    if not isinstance(model, nn.Module):
        raise FactoryError(f"{factory} returned {type(model).__name__}; a factory returns a torch.nn.Module")
    return model


def require_outputs(model: nn.Module, image_shape: tuple[int, ...], classes: int) -> None:
    """Check that a model, in training and in evaluation, gives a score for each class; it is as it was.

    Args:
        model: to be tried on two blank images.
        image_shape: (C, H, W).
        classes: the number of scores that are needed.

    Raises:
        ConfigError: if it fails, or returns anything else than a tensor of shape (N, classes).
    """
    modes = {module: module.training for module in model.modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            for training in (False, True):
                _require_scores(model.train(training), image_shape, classes)
    finally:
        model.load_state_dict(state)
        for module, training in modes.items():
            module.training = training


def _require_scores(model: nn.Module, image_shape: tuple[int, ...], classes: int) -> None:
    mode = "training" if model.training else "evaluation"
    try:
        scores = model(torch.zeros(2, *image_shape))
    except Exception as error:  # the code is the user's, and may raise anything
        raise FactoryError(
            f"the model fails in {mode} on images of shape {image_shape}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(scores, torch.Tensor):
        raise FactoryError(
            f"the model returned {type(scores).__name__} in {mode}; it needs to return its scores alone, a "
            f"tensor of shape (N, {classes}), in training and in evaluation"
        )
    if tuple(scores.shape) != (2, classes):
        raise FactoryError(
            f"the model returned shape {tuple(scores.shape)} in {mode} for 2 images; the data has {classes} "
            f"classes, so it needs to return (2, {classes}): give its last layer {classes} outputs",
            shape=tuple(scores.shape),
        )


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits that tell architectures apart: modules as printed, parameters by name and shape.

    >>> fingerprint(nn.Linear(2, 3)) == fingerprint(nn.Linear(2, 3)) != fingerprint(nn.Linear(3, 3))
    True
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    return hashlib.sha256(f"{model}{shapes}".encode()).hexdigest()[:16]


_LIBRARIES: dict[str, Callable[[ModuleType, str], nn.Module]] = {
    "timm": lambda timm, name: timm.create_model(name, pretrained=False),
    "torchvision": lambda torchvision, name: torchvision.models.get_model(
        name, weights=None, **({"weights_backbone": None} if _has_backbone(torchvision, name) else {})
    ),
}
"""How libraries of models make one of a name."""


def _from_library(library: str, name: str) -> nn.Module:
    try:
        module = importlib.import_module(library)
    except Exception as error:  # torchvision's operators may not fit the torch that is installed
        raise FactoryError(f"{library} cannot be imported: {_one_line(error)}") from error
    try:
        return _LIBRARIES[library](module, name)
    except Exception as error:
        raise FactoryError(f"{library} makes no model {name!r}: {_one_line(error)}") from error


def _has_backbone(torchvision: ModuleType, name: str) -> bool:
    builder = torchvision.models.get_model_builder(name)
    return "weights_backbone" in inspect.signature(builder).parameters


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _import(where: str) -> ModuleType:
    if not where.endswith(".py"):
        if "" not in sys.path:
            sys.path.insert(0, "")  # as `python -m` does; an installed command lacks it
        return importlib.import_module(where)
    path = Path(where).resolve(strict=True)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as `python PATH.py` does
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
