"""Initializers by name: how the weights of a convolution are drawn, and at which standard deviation.

`corrinit.plan` and `corrinit.initialize` take these names; the rules of a plan name a method for each layer.
Where a method is named for a whole model it fills the convolutions, those of a single tap among them; linear
layers and biases are alike under every method. All methods that start from Gaussian draws start from the same
ones. Any can be run at its own scale, at He's, or at that of the correlated method: the control that
separates what correlation does from what a smaller scale does.

A package adds methods through the entry point group `corrinit.methods`, each a `Method` under its name, which
declares whether it draws with R.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import entry_points

from corrinit._method_info import ENTRY_POINTS
from corrinit.errors import ConflictError, PluginError, UnknownNameError
from corrinit.methods import (
    centre_weighted,
    convolutional_covariance,
    correlated,
    correlated_uniform,
    delta_orthogonal,
    dirac,
    kaiming_normal,
    kaiming_uniform,
    lsuv,
    mode_orthogonal,
    natural_whitening,
    orthogonal,
    patch_whitening,
    pytorch_default,
    truncated_normal,
    xavier_normal,
    xavier_uniform,
)
from corrinit.methods.method import Convolution, Method

__all__ = ["ENTRY_POINTS", "METHODS", "Convolution", "Method", "find", "needs_images", "require_scale"]

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        kaiming_normal,
        correlated,
        pytorch_default,
        kaiming_uniform,
        xavier_normal,
        xavier_uniform,
        truncated_normal,
        orthogonal,
        delta_orthogonal,
        dirac,
        lsuv,
        convolutional_covariance,
        patch_whitening,
        centre_weighted,
        natural_whitening,
        mode_orthogonal,
        correlated_uniform,
    )
}
"""The methods that come with the package, by name."""


def find(name: str) -> Method:
    """The method of a name: one of `METHODS`, which no entry point can replace, or that of an entry point.

    Raises:
        ConfigError: if there is none, with the nearest names; or if an entry point gives no method.
    """
    if name in METHODS:
        return METHODS[name]
    added = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if name not in added:
        known = [*METHODS, *added]
        near = get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise UnknownNameError(f"no initialization method is called {name!r}; {hint}")
    try:
        method = added[name].load()
    except Exception as error:  # whatever a module does when it is imported
        raise PluginError(
            f"the initialization method {name!r} cannot be loaded from its entry point "
            f"{added[name].value}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(method, Method):
        raise PluginError(
            f"the entry point {added[name].value} of the initialization method {name!r} gives "
            f"{type(method).__name__}; it needs a corrinit.methods.Method"
        )
    return method


def needs_images(method: str, scale: str | None = None) -> bool:
    """Whether a method at a scale has to see training images before it is done.

    >>> needs_images("lsuv"), needs_images("orthogonal"), needs_images("orthogonal", "measured")
    (True, False, True)
    """
    return scale == "measured" or find(method).adapt is not None


def require_scale(method: str, scale: str | None) -> Method:
    """The method of a name, if it can be had at a scale.

    Raises:
        ConfigError: if there is no such method, or it states no correlation of its taps, which the scales
            `"measured"` and `"natural"` need.
    """
    chosen = find(method)
    if scale in ("measured", "natural") and chosen.correlation is None:
        raise ConflictError(
            f'{method} states no correlation of its taps, which the scale "{scale}" needs; '
            'use its own, "he" or "paper"'
        )
    return chosen
