"""Xavier uniform: independent uniform taps at the mean of fan-in and fan-out."""

from corrinit.methods import kaiming_uniform, xavier_normal
from corrinit.methods.method import Method

METHOD = Method(
    name="xavier_uniform",
    source=xavier_normal.METHOD.source,
    std=xavier_normal.METHOD.std,
    draw=kaiming_uniform.METHOD.draw,
)
