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
        source: where it was published.
    """

    own_scale: str | None = None
    needs_images: bool = False
    uses_correlation: bool = False
    source: str = ""


_GLOROT = "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks"

BUILT_IN: dict[str, MethodInfo] = {
    "kaiming_normal": MethodInfo(own_scale="he", source="He et al. 2015, Delving deep into rectifiers"),
    "correlated": MethodInfo(
        own_scale="paper",
        uses_correlation=True,
        source="Schneider, Correlated initialization for correlated data, Algorithm 1",
    ),
    "pytorch_default": MethodInfo(
        source="PyTorch, torch.nn.modules.conv; LeCun et al. 1998, Efficient backprop"
    ),
    "kaiming_uniform": MethodInfo(own_scale="he", source="He et al. 2015, Delving deep into rectifiers"),
    "xavier_normal": MethodInfo(source=_GLOROT),
    "xavier_uniform": MethodInfo(source=_GLOROT),
    "truncated_normal": MethodInfo(source="Liu et al. 2022, A ConvNet for the 2020s; timm's trunc_normal_"),
    "orthogonal": MethodInfo(
        source="Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics of learning"
    ),
    "delta_orthogonal": MethodInfo(
        source="Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs"
    ),
    "dirac": MethodInfo(source="Zagoruyko & Komodakis 2017, DiracNets; torch.nn.init.dirac_"),
    "lsuv": MethodInfo(needs_images=True, source="Mishkin & Matas 2016, All you need is a good init"),
    "convolutional_covariance": MethodInfo(
        own_scale="he",
        source="Trockman, Willmott & Kolter 2023, Understanding the covariance structure of conv. filters",
    ),
    "patch_whitening": MethodInfo(
        needs_images=True,
        source="Coates & Ng 2011, The importance of encoding versus training; Jordan 2024, 94 % on CIFAR-10",
    ),
    "centre_weighted": MethodInfo(
        own_scale="he",
        source="after Trockman et al. 2023, Understanding the covariance structure of conv. filters",
    ),
    "natural_whitening": MethodInfo(
        source="whitening after Coates & Ng 2011 and Jordan 2024; colours after Ohta, Kanade & Sakai 1980"
    ),
    "mode_orthogonal": MethodInfo(
        own_scale="paper",
        uses_correlation=True,
        source="after Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs",
    ),
    "correlated_uniform": MethodInfo(
        own_scale="paper",
        uses_correlation=True,
        source="after Schneider, Correlated initialization for correlated data, Algorithm 1",
    ),
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
