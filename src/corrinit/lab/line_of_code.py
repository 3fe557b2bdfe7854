"""The line that a user pastes to initialize a network as an arm of a comparison was."""

from __future__ import annotations

from corrinit.lab.config import Initialization
from corrinit.method_info import method_info
from corrinit.presets import preset_names


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
        options.append(f"correlation={_correlation(arm.correlation)}")
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


def _correlation(source: str) -> str:
    name, _, detail = source.partition(":")
    if source in preset_names():
        return f"corrinit.presets.load_preset({_quoted(source)})"
    if name in preset_names():
        layers = f"for layer in corrinit.presets.preset_layers({_quoted(name)})"
        return f"[corrinit.presets.load_preset({_quoted(name)}, layer) {layers}]"
    if detail and _is_number(detail):
        return f"corrinit.SpatialCorrelation(corrinit.kernels.{name}((3, 3), mean={detail}), (3, 3))"
    return f"corrinit.load_correlation({_quoted(source)})"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
