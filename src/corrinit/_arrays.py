"""Arrays of whatever library as numpy arrays. Torch is asked only where somebody has imported it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn
    from typing_extensions import TypeIs

Array: TypeAlias = NDArray[Any]


def is_module(value: object) -> TypeIs[nn.Module]:
    """Whether it is a module of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def is_tensor(value: object) -> TypeIs[Tensor]:
    """Whether it is a tensor of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_array(value: object) -> bool:
    """Whether it has a shape, a type and values: arrays of numpy and JAX, tensors, variables of Keras."""
    return not isinstance(value, np.generic) and all(
        hasattr(value, name) for name in ("shape", "dtype", "__array__")
    )


def as_array(values: object) -> Array:
    """Values as a numpy array, without a copy where they lie in memory as numpy has them.

    Types of floating point that numpy lacks become float32, which holds them exactly.

    >>> as_array([1.0, 2.0])
    array([1., 2.])
    """
    if not is_tensor(values):
        array = np.asarray(values)
        return array.astype(np.float32) if array.dtype.name in _WIDENED else array
    whole = getattr(values, "full_tensor", None)  # of a distributed tensor
    tensor = (values if whole is None else whole()).detach().cpu()
    return (tensor.float() if str(tensor.dtype).removeprefix("torch.") in _WIDENED else tensor).numpy()


_WIDENED = (
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3fnuz",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
)
