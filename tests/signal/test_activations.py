import numpy as np
import pytest
import torch
from torch import nn

from corrinit import _signal as signal
from corrinit._signal.activations import Dual
from corrinit._tracing import TensorFunction
from corrinit._tracing.elementwise import acts_elementwise
from corrinit.errors import PlanError
from corrinit.theory.variance import relu_correlation

GAINS = {
    nn.ReLU(): 2**0.5,
    nn.LeakyReLU(0.2): (2 / 1.04) ** 0.5,
    nn.GELU(): 1.5335,
    nn.SiLU(): 1.6765,
    nn.Mish(): 1.4868,
    nn.Hardswish(): 1.7367,
    nn.ELU(): 1.2452,
    nn.SELU(): 1.0,
    nn.Tanh(): 1.5925,
    nn.Identity(): 1.0,
}


def gain(activation):
    return signal.gain(TensorFunction(activation))


def name(activation):
    """The same in every process, unlike the text of a built-in function."""
    return getattr(activation, "__name__", type(activation).__name__)


@pytest.mark.parametrize("activation", GAINS, ids=lambda module: type(module).__name__)
def test_gains(activation):
    assert gain(activation) == pytest.approx(GAINS[activation], abs=5e-5)


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU(), nn.Tanh(), torch.sin], ids=name)
def test_gains_are_those_of_gauss_hermite_quadrature(activation):
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    values = activation(torch.from_numpy(nodes)).numpy()
    power = weights @ values**2 / np.sqrt(2 * np.pi)
    assert gain(activation) == pytest.approx(power**-0.5, rel=1e-6)


def test_a_callable_has_a_gain_like_a_module():
    assert gain(lambda x: x * torch.sigmoid(1.702 * x)) == pytest.approx(gain(nn.GELU()), rel=0.01)
    assert gain(nn.PReLU(init=0.2)) == pytest.approx(gain(nn.LeakyReLU(0.2)))


@pytest.mark.parametrize("function", [lambda x: x.sum(), lambda x: x.view(2, -1, 7), lambda x: 0 * x])
def test_what_is_no_activation_is_refused(function):
    with pytest.raises(PlanError):
        gain(function)


def test_an_activation_is_looked_at_without_its_hooks():
    activation, called = nn.ReLU(inplace=True), []
    activation.register_forward_hook(lambda *_: called.append(1))
    gain(activation)
    assert called == []


def test_the_dual_of_relu_is_the_arc_cosine_kernel():
    correlations, dual = np.linspace(-1, 1, 201), Dual(lambda values: np.maximum(values, 0))
    assert np.abs(2 * dual(correlations) - relu_correlation(correlations)).max() < 5e-4


@pytest.mark.parametrize("activation", [nn.GELU(), torch.tanh, nn.ELU()], ids=name)
@pytest.mark.parametrize(("deviation", "offset"), [(1.0, 0.0), (0.4, 0.7), (2.0, -1.0)])
def test_duals_are_those_of_quadrature_in_two_dimensions(activation, deviation, offset):
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    both = np.outer(weights, weights) / (2 * np.pi)
    dual = Dual(TensorFunction(activation), deviation, offset)
    for correlation in (-0.7, 0.0, 0.3, 0.95):
        second = correlation * nodes[:, None] + np.sqrt(1 - correlation**2) * nodes[None, :]
        first, second = (
            activation(torch.from_numpy(offset + deviation * z)).numpy() for z in (nodes[:, None], second)
        )
        assert float(dual(np.array(correlation))) == pytest.approx((both * first * second).sum(), abs=5e-4)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (torch.relu, True),
        (lambda x: x * torch.sigmoid(x), True),
        (lambda x: x.clamp(0, 6), True),
        (lambda x: x, False),
        (lambda x: x.cumsum(0), False),
        (lambda x: x - x.mean(), False),
        (lambda x: x / x.norm(), False),
        (lambda x: torch.softmax(x, 1), False),
        (lambda x: x.flatten(1), False),
        (lambda x: x + torch.rand(x.shape), False),
        (lambda x: 1 / 0, False),
    ],
)
def test_elementwise_functions_are_known_by_trying(function, expected):
    assert acts_elementwise(function) is expected
