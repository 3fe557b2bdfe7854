"""What `torch.nn.Conv2d` starts from: uniform taps in ±1 / √fan_in, which is `kaiming_uniform_` with a = √5.

Of the weights only: biases are zero, as under every method.
"""

import math

from corrinit.methods.method import Convolution, Method, independent_taps


def _std(convolution: Convolution) -> float:
    """1 / √(3 fan_in), with the fan-in that PyTorch counts: of a transposed convolution, its fan-out."""
    return 1 / math.sqrt(3 * math.prod(convolution.shape[1:]))


METHOD = Method(
    name="pytorch_default",
    source="PyTorch, torch.nn.modules.conv; LeCun et al. 1998, Efficient backprop",
    std=_std,
    draw="uniform",
    correlation=independent_taps,
)
