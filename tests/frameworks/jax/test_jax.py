import jax

from corrinit._correlation_source import resolve


def test_something():
    assert jax.numpy.zeros(3).sum() == 0
    assert resolve("exponential:0.3")
