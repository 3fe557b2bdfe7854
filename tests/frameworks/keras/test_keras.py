"""The initializers in layers and models of Keras, on the backend that KERAS_BACKEND names."""

import doctest
import json
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from sampling import assert_sampled

import corrinit.keras
from corrinit import CorrInitError, SpatialCorrelation, kernels
from corrinit.keras import CorrelatedKaimingNormal, CorrelatedNormal, CorrelatedXavierNormal

EXPONENTIAL = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3, metric="cityblock"))
WEIGHTED = EXPONENTIAL.with_deviations(kernels.centre_weighted((3, 3), width=0.8))
ALL = (CorrelatedNormal, CorrelatedKaimingNormal, CorrelatedXavierNormal)


def values(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def channels_first(kernel):
    """(k_1, ..., k_d, in, out) as (out, in, k_1, ..., k_d)."""
    return np.moveaxis(values(kernel), (-1, -2), (0, 1))


def of_size(size):
    return SpatialCorrelation(kernels.exponential(size, length_scale=1.0), size)


def test_the_backend_is_the_one_asked_for():
    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]


@pytest.mark.statistical
@pytest.mark.parametrize("correlation", [EXPONENTIAL, WEIGHTED, SpatialCorrelation.identity((3, 3))])
def test_weights_have_the_correlation_and_the_deviations_asked_for(correlation):
    """False alarms: see `assert_sampled`."""
    layer = layers.Conv2D(64, 3, kernel_initializer=CorrelatedNormal(correlation, 0.1, seed=0))
    layer.build((None, 8, 8, 64))
    assert_sampled(channels_first(layer.kernel), correlation, 0.1)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("layer", "channels", "kind", "size"),
    [
        (layers.Conv1D, 32, "conv", (5,)),
        (layers.Conv2D, 32, "conv", (3, 2)),
        (layers.Conv3D, 32, "conv", (2, 3, 2)),
        (layers.Conv1DTranspose, 32, "transposed", (5,)),
        (layers.Conv2DTranspose, 32, "transposed", (3, 2)),
        (layers.Conv3DTranspose, 32, "transposed", (2, 3, 2)),
    ],
)
def test_layers_of_any_number_of_axes(layer, channels, kind, size):
    """False alarms: see `assert_sampled`."""
    init = CorrelatedKaimingNormal(of_size(size), scale="he", layout=kind, seed=0)
    made = layer(64, size, kernel_initializer=init)
    made.build((None, *(8 for _ in size), channels))
    std = np.sqrt(2 / (channels * np.prod(size)))
    assert_sampled(channels_first(made.kernel), of_size(size), std)


@pytest.mark.statistical
@pytest.mark.parametrize("layer", [layers.DepthwiseConv1D, layers.DepthwiseConv2D, layers.SeparableConv2D])
def test_depthwise_layers_have_one_input(layer):
    """False alarms: see `assert_sampled`."""
    axes = 1 if layer is layers.DepthwiseConv1D else 2
    size = (3,) * axes
    init = CorrelatedKaimingNormal(of_size(size), scale="he", layout="depthwise", seed=0)
    arguments = (4, size) if layer is layers.SeparableConv2D else (size,)
    made = layer(*arguments, depth_multiplier=2, depthwise_initializer=init)
    made.build((None, *(8 for _ in size), 1024))
    kernel = made.depthwise_kernel if layer is layers.SeparableConv2D else made.kernel
    assert kernel.shape == (*size, 1024, 2)
    assert_sampled(channels_first(kernel), of_size(size), np.sqrt(2 / 3**axes))


@pytest.mark.statistical
def test_a_grouped_layer_has_the_inputs_of_a_group():
    """False alarms: see `assert_sampled`."""
    init = CorrelatedKaimingNormal(EXPONENTIAL, scale="he", seed=0)
    layer = layers.Conv2D(256, 3, groups=4, kernel_initializer=init)
    layer.build((None, 8, 8, 64))
    assert_sampled(channels_first(layer.kernel), EXPONENTIAL, np.sqrt(2 / (16 * 9)))


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("init", "variance"),
    [
        (CorrelatedKaimingNormal(EXPONENTIAL, seed=0), 2 / (32 * EXPONENTIAL.total)),
        (CorrelatedKaimingNormal(EXPONENTIAL, mode="fan_out", scale="he", seed=0), 2 / (128 * 9)),
        (CorrelatedKaimingNormal(EXPONENTIAL, 1.0, scale="he", seed=0), 1 / (32 * 9)),
        (CorrelatedKaimingNormal(EXPONENTIAL, nonlinearity="tanh", scale="he", seed=0), 25 / 9 / (32 * 9)),
        (CorrelatedKaimingNormal(EXPONENTIAL, nonlinearity="gelu", scale="he", seed=0), 1.5335**2 / (32 * 9)),
        (
            CorrelatedKaimingNormal(EXPONENTIAL, scale=EXPONENTIAL, seed=0),
            2 / 32 / EXPONENTIAL.inner(EXPONENTIAL),
        ),
        (CorrelatedXavierNormal(EXPONENTIAL, scale="he", seed=0), 2 / ((32 + 128) * 9)),
        (CorrelatedXavierNormal(EXPONENTIAL, 3.0, seed=0), 18 / ((32 + 128) * EXPONENTIAL.total)),
    ],
)
def test_the_scale_keeps_the_signal(init, variance):
    """False alarms: see `assert_sampled`."""
    assert_sampled(channels_first(init((3, 3, 32, 128))), EXPONENTIAL, np.sqrt(variance))


@pytest.mark.statistical
def test_independent_taps_have_the_variance_of_he_normal():
    """The ratio of two variances of n values each: 6 √(4 / n), which 2 in 1e9 exceed."""
    shape = (3, 3, 64, 64)
    ours = values(CorrelatedKaimingNormal(SpatialCorrelation.identity((3, 3)), seed=0)(shape))
    theirs = values(keras.initializers.HeNormal(seed=0)(shape))
    assert abs(np.log(ours.var() / theirs.var())) < 6 * np.sqrt(4 / ours.size)


def test_the_same_seed_gives_the_same_weights_on_every_backend():
    weight = values(CorrelatedNormal("exponential:0.3", 1.0, seed=3)((3, 3, 1, 1))).ravel()
    np.testing.assert_allclose(weight[:3], (0.3952634, 0.4608267, 0.8412053), rtol=1e-6)


def convolutions(seed):
    init = CorrelatedKaimingNormal("exponential:0.3", seed=seed)
    return [layers.Conv2D(4, 3, padding="same", kernel_initializer=init) for _ in range(3)]


def shared(seed):
    return keras.Sequential([keras.Input((8, 8, 4)), *convolutions(seed)])


def distinct(model):
    first, *others = [values(layer.kernel) for layer in model.layers]
    return not any((first == other).any() for other in others)


@pytest.mark.parametrize("seed", [None, 0])
def test_layers_that_share_an_initializer_differ(seed):
    model = shared(seed)
    assert distinct(model)
    assert distinct(keras.models.clone_model(model))
    assert distinct(keras.Sequential.from_config(model.get_config()))


@pytest.mark.parametrize("seed", [None, 0])
def test_they_differ_in_a_model_that_is_built_when_it_is_first_used(seed):
    images = np.zeros((2, 8, 8, 4), np.float32)
    original = keras.Sequential(convolutions(seed))
    called, fitted = (keras.Sequential.from_config(original.get_config()) for _ in range(2))
    called(images)
    fitted.compile("sgd", "mse")
    fitted.fit(images, images, verbose=0)
    original(images)
    assert all(map(distinct, (original, called, fitted)))


def test_a_seed_gives_the_same_model_again():
    one, again, other = shared(0), shared(0), shared(1)
    for a, b, c in zip(one.layers, again.layers, other.layers, strict=True):
        np.testing.assert_array_equal(values(a.kernel), values(b.kernel))
        assert not (values(a.kernel) == values(c.kernel)).any()
    clones = [keras.models.clone_model(one) for _ in range(2)]
    np.testing.assert_array_equal(*(values(clone.layers[1].kernel) for clone in clones))


def test_without_a_seed_keras_decides():
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        weights.append(values(CorrelatedKaimingNormal()((3, 3, 2, 2))))
    weights.append(values(CorrelatedKaimingNormal()((3, 3, 2, 2))))
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not (weights[0] == weights[2]).any()


M = SpatialCorrelation(kernels.exponential((3, 3), mean=0.5), provenance={"source": "images"})
LINE = kernels.exponential((3,), length_scale=1.0)


@pytest.mark.parametrize(
    "init",
    [
        CorrelatedKaimingNormal(),
        CorrelatedKaimingNormal("exponential:0.3+centre:0.8", 0.1, "fan_out", scale="he", seed=2),
        CorrelatedKaimingNormal("resnet10-cifar10", scale=M, seed=2),
        CorrelatedKaimingNormal(WEIGHTED, scale=M.matrix, layout="depthwise", seed=2),
        CorrelatedKaimingNormal([EXPONENTIAL, of_size((5, 5))], nonlinearity=keras.activations.gelu, seed=2),
        CorrelatedNormal(SpatialCorrelation.separable([LINE, LINE]), 0.3, layout="transposed", seed=2),
        CorrelatedXavierNormal(EXPONENTIAL, 2.0, scale=M, seed=-2),
    ],
)
def test_the_configuration_holds_all(init):
    config = json.loads(json.dumps(init.get_config()))
    assert config == init.get_config()
    again = type(init).from_config(config)
    assert again.get_config() == config
    wrapped = keras.initializers.deserialize(json.loads(json.dumps(keras.initializers.serialize(init))))
    assert type(wrapped) is type(init)
    if init.seed is not None:
        drawn, copy = (values(each((3, 3, 4, 6))) for each in (init, again))
        np.testing.assert_array_equal(drawn, copy)


def network():
    init = CorrelatedKaimingNormal(WEIGHTED, scale="he", seed=0)
    depthwise = CorrelatedKaimingNormal(WEIGHTED, scale="he", layout="depthwise", seed=0)
    up = CorrelatedKaimingNormal(WEIGHTED, scale="he", layout="transposed", seed=0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(32, 3, activation="relu", kernel_initializer=init),
            layers.DepthwiseConv2D(3, activation="relu", depthwise_initializer=depthwise),
            layers.Conv2DTranspose(32, 3, activation="relu", kernel_initializer=up),
            layers.Conv2D(64, 3, activation="relu", kernel_initializer=init),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def test_a_model_trains_and_is_saved_with_its_initializers(tmp_path):
    model = network()
    assert_sampled(channels_first(model.layers[3].kernel), WEIGHTED, np.sqrt(2 / (32 * 9)))
    images = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype(np.float32)
    labels = np.arange(16) % 10
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.evaluate(images, labels, verbose=0)
    model.train_on_batch(images, labels)
    assert model.evaluate(images, labels, verbose=0) < before
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(values(one), values(other))
    init = loaded.layers[0].kernel_initializer
    assert init.get_config() == model.layers[0].kernel_initializer.get_config()
    assert_sampled(channels_first(init((3, 3, 32, 64))), WEIGHTED, np.sqrt(2 / (32 * 9)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_drawn_in_single_precision_and_cast_last(dtype):
    single, half = (CorrelatedNormal(seed=0)((3, 3, 4, 4), kind) for kind in ("float32", dtype))
    assert keras.backend.standardize_dtype(half.dtype) == dtype
    np.testing.assert_array_equal(values(half), values(keras.ops.cast(single, dtype)))


def test_mixed_precision():
    layer = layers.Conv2D(4, 3, kernel_initializer=CorrelatedKaimingNormal(), dtype="mixed_bfloat16")
    layer.build((None, 8, 8, 4))
    assert layer.kernel.dtype == "float32"


def test_large_separable_kernels_are_mixed_axis_by_axis():
    line = kernels.exponential((21,), length_scale=2.0)
    deviations = kernels.centre_weighted((21, 21), width=3.0)
    axes = SpatialCorrelation.separable([line, line], deviations=deviations)
    dense = SpatialCorrelation(axes.matrix, deviations=deviations)
    by_axes, at_once = (values(CorrelatedNormal(R, 1.0, seed=0)((21, 21, 2, 3))) for R in (axes, dense))
    np.testing.assert_allclose(by_axes, at_once, rtol=0, atol=1e-5)


R = SpatialCorrelation.identity((3, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CorrelatedNormal("exponentail:0.3"), "correlation: there is no file exponentail:0.3"),
        (lambda: CorrelatedNormal(std=-1.0), "std is -1.0; it must be"),
        (
            lambda: CorrelatedNormal(layout="oihw"),
            "layout is 'oihw'; it is 'conv', 'depthwise' or 'transposed'",
        ),
        (lambda: CorrelatedNormal(seed=0.5), "seed is 0.5; it must be an integer"),
        (lambda: CorrelatedKaimingNormal(mode="fan_avg"), "mode is 'fan_avg'"),
        (lambda: CorrelatedKaimingNormal(scale="natural"), "'natural' is one of a model"),
        (lambda: CorrelatedXavierNormal(scale="lecun"), "scale is 'lecun'"),
        (lambda: CorrelatedKaimingNormal(nonlinearity="jelu"), "nonlinearity is 'jelu'; it is 'leaky_relu'"),
        (lambda: CorrelatedKaimingNormal(nonlinearity="get"), "nonlinearity is 'get'; it is 'leaky_relu'"),
        (lambda: CorrelatedKaimingNormal(nonlinearity="softmax"), "is not elementwise"),
        (lambda: CorrelatedNormal(R)((64, 32)), "use keras.initializers.HeNormal for others"),
        (lambda: CorrelatedNormal(R)((32,)), "use keras.initializers.HeNormal for others"),
        (lambda: CorrelatedNormal(R)((5, 5, 8, 8)), "needs 25×25: use .resize((5, 5))"),
        (lambda: CorrelatedNormal(R)((3, 3, 8, 8), "int32"), "of type int32; weights are drawn as real"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(CorrInitError, match=re.escape(message)) as refused:
        make()
    assert "\n" not in str(refused.value)


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_without_keras_the_message_is_the_line_to_paste():
    ended = run("import sys; sys.modules['keras'] = None; import corrinit.keras")
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert 'MissingLibraryError: corrinit.keras needs keras: pip install "corrinit[keras]"' in last


def test_torch_is_imported_by_its_backend_alone():
    ended = run("import corrinit.keras, sys; sys.exit('torch' in sys.modules)")
    assert ended.returncode == (os.environ["KERAS_BACKEND"] == "torch"), ended.stderr


def test_examples_of_the_docstrings():
    assert doctest.testmod(corrinit.keras).failed == 0
