"""The line that a user pastes to initialize a network as an arm of a comparison was."""

from __future__ import annotations

from corrinit.lab.config import Initialization
from corrinit.method_info import method_info


def line_of_code(arm: Initialization) -> str:
    """Python that initializes `model`; `images` are a batch of training images as the network gets them.

    >>> line_of_code(Initialization("correlated", "correlated", strength=0.5))
    'corrinit.initialize(model, strength=0.5, seed=0)'
    >>> line_of_code(Initialization("orthogonal", "he"))
    'corrinit.methods.initialize(model, "orthogonal", scale="he", seed=0)'
    """
    arm = arm.canonical
    options = []
    if arm.depends_on_correlation and arm.correlation != "default":
        options.append(f"correlation={_quoted(arm.correlation)}")
    if arm.depends_on_correlation and arm.strength != 1:
        options.append(f"strength={arm.strength:g}")
    if arm.method == "correlated" and arm.scale == arm.own_scale and ":layers" not in arm.correlation:
        return f"corrinit.initialize({', '.join(['model', *options, 'seed=0'])})"
    if arm.scale not in ("own", arm.own_scale):
        options.append(f'scale="{arm.scale}"')
    if method_info(arm.method).needs_images or arm.scale == "measured":
        options.append("images=images")
    return (
        f"corrinit.methods.initialize({', '.join(['model', f'{_quoted(arm.method)}', *options, 'seed=0'])})"
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
