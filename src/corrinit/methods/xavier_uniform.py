"""Xavier uniform: independent uniform taps at the mean of fan-in and fan-out."""

from corrinit.methods import xavier_normal
from corrinit.methods.method import Method, independent_taps

METHOD = Method(
    name="xavier_uniform",
    source=xavier_normal.METHOD.source,
    std=xavier_normal.own_std,
    draw="uniform",
    correlation=independent_taps,
)
