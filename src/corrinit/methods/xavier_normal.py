"""Xavier normal: independent Gaussian taps at the mean of fan-in and fan-out."""

import math

from corrinit.methods.method import Convolution, Method, independent_taps


def own_std(convolution: Convolution) -> float:
    """√(2 / (fan_in + fan_out)), as `torch.nn.init.xavier_normal_` with gain 1."""
    outputs, inputs, *kernel_size = convolution.shape
    return math.sqrt(2 / ((inputs + outputs) * math.prod(kernel_size)))


METHOD = Method(
    name="xavier_normal",
    source="Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks",
    std=own_std,
    draw="normal",
    correlation=independent_taps,
)
