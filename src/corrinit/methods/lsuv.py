"""Layer-sequential unit variance: orthonormal, then scaled until each convolution's outputs have variance 1.

The layers are scaled in order of execution, each on what the scaled ones before it make of a batch of
training images. As biases are zero, one division is exact; the paper, which allows for them, repeats it.
The paper also scales linear layers; here those are alike under every method.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from corrinit.errors import NeedsImagesError
from corrinit.methods import orthogonal
from corrinit.methods.images import rescale_in_order
from corrinit.methods.method import Convolution, Method, independent_taps


def _to_unit_variance(model: nn.Module, convolutions: Sequence[Convolution], images: Tensor) -> None:
    rescale_in_order(model, convolutions, images, _factor)


def _factor(convolution: Convolution, inputs: Tensor, outputs: Tensor) -> float:
    variance = outputs.double().var(correction=0).item()
    if not 0 < variance < math.inf:
        raise NeedsImagesError(
            f"its outputs on {len(outputs)} images have variance {variance}, which "
            "no factor brings to 1; give images that differ, standardized by channel",
            layer=convolution.name,
        )
    return 1 / math.sqrt(variance)


METHOD = Method(
    name="lsuv",
    source="Mishkin & Matas 2016, All you need is a good init",
    std=orthogonal.own_std,
    draw=orthogonal.draw,
    correlation=independent_taps,
    adapt=_to_unit_variance,
)
