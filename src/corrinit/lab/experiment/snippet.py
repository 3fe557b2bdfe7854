"""The line that a user pastes to initialize a network as an arm of a comparison was."""

from __future__ import annotations

from corrinit._method_info import method_info
from corrinit.lab.experiment.config import Initialization


def line_of_code(arm: Initialization) -> str:
    """Python that initializes `model`; `images` are a batch of training images as the network gets them.

    >>> line_of_code(Initialization("correlated", "paper", strength=0.5))
    'corrinit.initialize(model, method="correlated", strength=0.5, seed=0)'
    >>> line_of_code(Initialization("orthogonal", "he"))
    'corrinit.initialize(model, method="orthogonal", scale="he", seed=0)'
    >>> line_of_code(Initialization("recipe=2026.1"))
    'corrinit.initialize(model, recipe="2026.1", seed=0)'
    """
    arm = arm.canonical
    options = dict(arm.options)
    if arm.scale == arm.own_scale and not arm.rules:  # roles share the scale that is named
        options.pop("scale", None)
    words = [f"{name}={_written(value)}" for name, value in options.items()]
    if any(method_info(method).needs_images or scale == "measured" for method, scale in arm.parts):
        words.append("images=images")
    return f"corrinit.initialize({', '.join(['model', *words, 'seed=0'])})"


def _written(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {_written(each)}' for key, each in value.items()) + "}"
    if not isinstance(value, str):
        return f"{value:g}"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
