"""Layers and training steps of Flax and Equinox."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sampling import assert_sampled

from corrinit import CorrInitError, SpatialCorrelation, kernels
from corrinit.jax import correlated_kaiming_normal, initialize_equinox

SOURCE = "exponential:0.3+centre:0.8"
R = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3, metric="cityblock")).with_deviations(
    kernels.centre_weighted((3, 3), width=0.8)
)
KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (16, 8, 8, 3))
LABELS = jnp.arange(16) % 10


def init():
    return correlated_kaiming_normal(SOURCE, scale="he")


def kaiming(channels):
    return np.sqrt(2 / (9 * channels))


def channels_first(weight):
    return np.moveaxis(np.asarray(weight, np.float64), (-1, -2), (0, 1))


def loss_of(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(64, (3, 3), kernel_init=init())(x))
        x = nn.relu(nn.Conv(64, (3, 3), kernel_init=init())(x))
        x = nn.relu(nn.Conv(64, (3, 3), feature_group_count=64, kernel_init=init())(x))
        return nn.Dense(10)(x.mean((1, 2)))


def test_flax_linen():
    model = Linen()
    parameters = jax.jit(model.init)(KEY, IMAGES)
    kernel = parameters["params"]["Conv_1"]["kernel"]
    assert_sampled(channels_first(kernel), R, kaiming(64))
    assert parameters["params"]["Conv_2"]["kernel"].shape == (3, 3, 1, 64)
    depthwise = parameters["params"]["Conv_2"]["kernel"]
    assert abs(np.log(jnp.mean(depthwise**2) * 9 / 2)) < 6 * np.sqrt(2 / 64)  # 64 filters, at least
    loss = lambda parameters: loss_of(model.apply(parameters, IMAGES))  # noqa: E731
    before, gradient = jax.value_and_grad(loss)(parameters)
    after = loss(jax.tree.map(lambda p, g: p - 0.01 * g, parameters, gradient))
    assert after < before


@pytest.mark.parametrize("flipped", [False, True])
def test_transposed_convolutions_of_flax(flipped):
    axes = {"in_axis": -1, "out_axis": -2} if flipped else {}
    layer = nn.ConvTranspose(
        128,
        (3, 3),
        transpose_kernel=flipped,
        kernel_init=correlated_kaiming_normal(SOURCE, scale="he", **axes),
    )
    kernel = layer.init(KEY, jnp.zeros((1, 4, 4, 32)))["params"]["kernel"]
    assert kernel.shape == ((3, 3, 128, 32) if flipped else (3, 3, 32, 128))
    assert_sampled(channels_first(kernel), R, kaiming(32))


def test_one_and_three_axes_in_flax():
    for size in ((5,), (3, 3, 3)):
        layer = nn.Conv(64, size, kernel_init=correlated_kaiming_normal("exponential:0.3", scale="he"))
        kernel = layer.init(KEY, jnp.zeros((1, *(8 for _ in size), 64)))["params"]["kernel"]
        family = correlated_kaiming_normal("exponential:0.3", scale="he")(KEY, kernel.shape)
        assert kernel.shape == (*size, 64, 64) == family.shape
        assert np.corrcoef(channels_first(kernel).reshape(64 * 64, -1).T)[0, 1] > 0.2


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 64, (3, 3), kernel_init=init(), rngs=rngs)
        self.body = nnx.Conv(64, 64, (3, 3), kernel_init=init(), param_dtype=jnp.bfloat16, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.body(nnx.relu(self.stem(x)))).mean((1, 2)))


def test_flax_nnx():
    model = Nnx(nnx.Rngs(0))
    kernel = model.body.kernel[...]
    assert kernel.dtype == jnp.bfloat16
    assert_sampled(channels_first(kernel), R, kaiming(64))
    loss = lambda model: loss_of(model(IMAGES))  # noqa: E731
    before, gradient = nnx.value_and_grad(loss)(model)
    optimizer = nnx.Optimizer(model, optax.sgd(0.01), wrt=nnx.Param)
    optimizer.update(model, gradient)
    assert loss(model) < before


class Equinox(eqx.Module):
    stem: eqx.nn.Conv2d
    body: list[eqx.nn.Conv2d]
    up: eqx.nn.ConvTranspose2d
    head: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 5)
        self.stem = eqx.nn.Conv2d(3, 64, 3, padding=1, key=keys[0])
        self.body = [eqx.nn.Conv2d(64, 64, 3, padding=1, key=key) for key in keys[1:3]]
        self.up = eqx.nn.ConvTranspose2d(64, 64, 3, key=keys[3])
        self.head = eqx.nn.Linear(64, 10, key=keys[4])

    def __call__(self, x):
        for layer in (self.stem, *self.body, self.up):
            x = jax.nn.relu(layer(x))
        return self.head(x.mean((1, 2)))


def test_equinox():
    original = Equinox(jax.random.key(3))
    model = initialize_equinox(original, init(), key=KEY)
    for layer in (*model.body, model.up):
        assert_sampled(layer.weight, R, kaiming(64))
    assert not (model.body[0].weight == model.body[1].weight).any()
    assert (model.head.weight == original.head.weight).all()
    assert (model.stem.bias == original.stem.bias).all()
    loss = lambda model: loss_of(jax.vmap(model)(IMAGES.transpose(0, 3, 1, 2)))  # noqa: E731
    before, gradient = eqx.filter_value_and_grad(loss)(model)
    after = loss(eqx.apply_updates(model, jax.tree.map(lambda g: -0.01 * g, gradient)))
    assert after < before


def test_layers_of_equinox_draw_by_their_place():
    model = Equinox(jax.random.key(3))
    shorter = eqx.tree_at(lambda model: model.body, model, model.body[:1])
    whole, part = (initialize_equinox(each, init(), key=KEY) for each in (model, shorter))
    assert (whole.up.weight == part.up.weight).all()
    compiled = eqx.filter_jit(initialize_equinox)(model, init(), key=KEY)
    np.testing.assert_allclose(compiled.stem.weight, whole.stem.weight, rtol=1e-5, atol=1e-7)


def test_a_grouped_layer_of_equinox_has_the_inputs_of_a_group():
    layer = eqx.nn.Conv2d(2048, 2048, 3, groups=2048, key=KEY)
    assert_sampled(initialize_equinox(layer, init(), key=KEY).weight, R, kaiming(1))


@pytest.mark.statistical
def test_any_initializer_of_jax_will_do_for_equinox():
    """The variance of n values: 6 √(2 / n) on a logarithmic scale, which 2 in 1e9 exceed."""
    layer = eqx.nn.Conv1d(64, 128, 3, key=KEY)
    weight = initialize_equinox(layer, jax.nn.initializers.he_normal(), key=KEY).weight
    assert abs(np.log(weight.var() * 64 * 3 / 2)) < 6 * np.sqrt(2 / weight.size)


def test_a_weight_normalized_layer_is_refused():
    layer = eqx.nn.WeightNorm(eqx.nn.Conv2d(3, 8, 3, key=KEY))
    with pytest.raises(CorrInitError, match=r"WeightNorm.*draw the weights first, then wrap"):
        initialize_equinox([layer], init(), key=KEY)
