"""What must be known of an initialization method where it is not loaded, as it needs torch.

Reports, run ids and lines to paste need these facts; a `corrinit.methods.Method` declares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points

ENTRY_POINTS = "corrinit.methods"
"""The group of entry points by which packages add methods."""


@dataclass(frozen=True)
class MethodInfo:
    """What a method declares.

    Args:
        own_scale: what its own scale is called among those that others can be run at; None if it is none.
        needs_images: whether it looks at training images.
        uses_correlation: whether it draws with the R that the caller gives.
    """

    own_scale: str | None = None
    needs_images: bool = False
    uses_correlation: bool = False


BUILT_IN: dict[str, MethodInfo] = {
    "kaiming_normal": MethodInfo(own_scale="he"),
    "correlated": MethodInfo(own_scale="paper", uses_correlation=True),
    "pytorch_default": MethodInfo(),
    "kaiming_uniform": MethodInfo(own_scale="he"),
    "xavier_normal": MethodInfo(),
    "xavier_uniform": MethodInfo(),
    "truncated_normal": MethodInfo(),
    "orthogonal": MethodInfo(),
    "delta_orthogonal": MethodInfo(),
    "dirac": MethodInfo(),
    "lsuv": MethodInfo(needs_images=True),
    "convolutional_covariance": MethodInfo(own_scale="he"),
    "patch_whitening": MethodInfo(needs_images=True),
}
"""What the methods of the package declare, to be known without loading them."""

UNKNOWN = MethodInfo(needs_images=True, uses_correlation=True)
"""Of a method that is not installed. What it might depend on, it is taken to depend on."""


def method_info(name: str) -> MethodInfo:
    """What a method declares; `UNKNOWN` if there is none of the name, or it cannot be loaded.

    A method of an entry point is loaded for it, and no other.

    >>> method_info("lsuv").needs_images, method_info("nowhere") == UNKNOWN
    (True, True)
    """
    return BUILT_IN[name] if name in BUILT_IN else _added(name)


@lru_cache(maxsize=256)  # the installed packages do not change while a process runs
def _added(name: str) -> MethodInfo:
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == name:
            try:
                info = entry.load().info
            except Exception:  # whatever a module does when it is imported; `corrinit.methods.find` tells
                return UNKNOWN
            return info if isinstance(info, MethodInfo) else UNKNOWN
    return UNKNOWN
