"""The initializers alone: their distribution, JAX's grammar, and what they refuse."""

import doctest
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import initializers
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sampling import assert_sampled

import corrinit.jax
from corrinit import CorrInitError, SpatialCorrelation, kernels, load_correlation, save_correlation
from corrinit.jax import correlated_kaiming_normal, correlated_normal, correlated_xavier_normal
from corrinit.presets import load_preset

KEY = jax.random.key(0)
EXPONENTIAL = SpatialCorrelation(kernels.exponential((3, 3), mean=0.3, metric="cityblock"))
WEIGHTED = EXPONENTIAL.with_deviations(kernels.centre_weighted((3, 3), width=0.8))
INDEPENDENT = SpatialCorrelation.identity((3, 3))


def channels_first(weight):
    """(k_1, ..., k_d, in, out) as (out, in, k_1, ..., k_d)."""
    return np.moveaxis(np.asarray(weight, np.float64), (-1, -2), (0, 1))


def of_size(size):
    return SpatialCorrelation(kernels.exponential(size, length_scale=1.0), size)


@pytest.mark.statistical
@pytest.mark.parametrize("correlation", [EXPONENTIAL, WEIGHTED, INDEPENDENT], ids=["R", "DRD", "I"])
def test_weights_have_the_correlation_and_the_deviations_asked_for(correlation):
    """False alarms: see `assert_sampled`."""
    weight = correlated_normal(correlation, 0.1)(KEY, (3, 3, 64, 64))
    assert_sampled(channels_first(weight), correlation, 0.1)


@pytest.mark.statistical
@pytest.mark.parametrize("size", [(5,), (3, 5), (2, 3, 2)], ids=["1-d", "not square", "3-d"])
def test_kernels_of_any_number_of_axes(size):
    """False alarms: see `assert_sampled`."""
    weight = correlated_normal(of_size(size))(KEY, (*size, 40, 50))
    assert_sampled(channels_first(weight), of_size(size), 1.0)


@pytest.mark.statistical
def test_axes_say_where_the_channels_are():
    """False alarms: see `assert_sampled`."""
    R = of_size((2, 3))
    first = correlated_kaiming_normal(R, scale="he", in_axis=1, out_axis=0)(KEY, (64, 32, 2, 3))
    assert_sampled(first, R, np.sqrt(2 / (32 * 6)))
    ensemble = correlated_kaiming_normal(R, scale="he", batch_axis=0)(KEY, (2, 2, 3, 32, 64))
    for weight in ensemble:
        assert_sampled(channels_first(weight), R, np.sqrt(2 / (32 * 6)))
    assert not np.array_equal(*ensemble)
    among = correlated_kaiming_normal(R, scale="he", in_axis=(0, 2), out_axis=4)(KEY, (4, 2, 8, 3, 64))
    assert_sampled(
        np.moveaxis(np.asarray(among), 4, 0).swapaxes(1, 2).reshape(64, 2, 32, 3).swapaxes(1, 2), R
    )


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("init", "variance"),
    [
        (correlated_kaiming_normal(EXPONENTIAL, scale="he"), 2 / (32 * 9)),
        (correlated_kaiming_normal(EXPONENTIAL), 2 / (32 * EXPONENTIAL.total)),
        (
            correlated_kaiming_normal(EXPONENTIAL, scale=EXPONENTIAL),
            2 / (32 * EXPONENTIAL.inner(EXPONENTIAL)),
        ),
        (correlated_kaiming_normal(EXPONENTIAL, mode="fan_out", scale="he"), 2 / (128 * 9)),
        (correlated_kaiming_normal(EXPONENTIAL, 1.0, scale="he"), 1 / (32 * 9)),
        (correlated_kaiming_normal(EXPONENTIAL, nonlinearity="tanh", scale="he"), (5 / 3) ** 2 / (32 * 9)),
        (correlated_kaiming_normal(EXPONENTIAL, nonlinearity=jax.nn.gelu, scale="he"), 1.5335**2 / (32 * 9)),
        (correlated_xavier_normal(EXPONENTIAL, scale="he"), 2 / ((32 + 128) * 9)),
        (correlated_xavier_normal(EXPONENTIAL, 3.0), 18 / ((32 + 128) * EXPONENTIAL.total)),
    ],
    ids=["he", "paper", "M", "fan_out", "a", "tanh", "gelu", "xavier", "xavier, gain"],
)
def test_the_scale_keeps_the_signal(init, variance):
    """False alarms: see `assert_sampled`."""
    assert_sampled(channels_first(init(KEY, (3, 3, 32, 128))), EXPONENTIAL, np.sqrt(variance))


@pytest.mark.statistical
def test_depthwise_kernels_have_one_input():
    """False alarms: see `assert_sampled`."""
    weight = correlated_kaiming_normal(EXPONENTIAL, scale="he")(KEY, (3, 3, 1, 4096))
    assert_sampled(channels_first(weight), EXPONENTIAL, np.sqrt(2 / 9))


def test_independent_taps_are_those_of_jax():
    for shape in ((3, 3, 16, 32), (1, 1, 16, 32)):
        R = SpatialCorrelation.identity(shape[:2])
        ours = correlated_kaiming_normal(R)(KEY, shape)
        theirs = initializers.variance_scaling(2.0, "fan_in", "normal")(KEY, shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        ours = correlated_xavier_normal(R)(KEY, shape)
        theirs = initializers.variance_scaling(1.0, "fan_avg", "normal")(KEY, shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.statistical
def test_independent_taps_have_the_variance_of_he_normal():
    """The ratio of two variances of n values each: 6 √(4 / n), which 2 in 1e9 exceed."""
    shape = (3, 3, 64, 64)
    ours, theirs = correlated_kaiming_normal(INDEPENDENT)(KEY, shape), initializers.he_normal()(KEY, shape)
    assert abs(np.log(ours.var() / theirs.var())) < 6 * np.sqrt(4 / ours.size)


@pytest.mark.parametrize("name", ["exponential:0.3", "centre:0.8", "resnet10-cifar10"])
def test_a_correlation_may_be_text(name):
    given = load_preset(name) if ":" not in name else corrinit.jax.correlation_of_kernels(name)((3, 3))
    named, whole = (correlated_normal(source)(KEY, (3, 3, 4, 5)) for source in (name, given))
    np.testing.assert_array_equal(named, whole)


def test_a_correlation_may_be_a_file(tmp_path):
    save_correlation(tmp_path / "R.safetensors", WEIGHTED)
    assert load_correlation(tmp_path / "R.safetensors") == WEIGHTED
    from_file = correlated_normal(tmp_path / "R.safetensors")(KEY, (3, 3, 4, 5))
    np.testing.assert_array_equal(from_file, correlated_normal(WEIGHTED)(KEY, (3, 3, 4, 5)))


def test_each_key_gives_other_weights():
    init = correlated_kaiming_normal("default")
    one, again, other = (init(jax.random.key(seed), (3, 3, 4, 5)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not (one == other).any()
    old_style = init(jax.random.PRNGKey(1), (3, 3, 4, 5))
    np.testing.assert_array_equal(one, old_style)


def test_it_can_be_compiled():
    init, shape = correlated_kaiming_normal("exponential:0.3"), (3, 3, 16, 32)
    compiled = jax.jit(init, static_argnums=(1, 2))(KEY, shape, jnp.float32)
    np.testing.assert_allclose(compiled, init(KEY, shape), rtol=1e-5, atol=1e-7)
    several = jax.vmap(lambda key: init(key, shape))(jax.random.split(KEY, 3))
    np.testing.assert_allclose(several[1], init(jax.random.split(KEY, 3)[1], shape), rtol=1e-5, atol=1e-7)
    assert jax.eval_shape(lambda: init(KEY, shape)).shape == shape


def test_made_while_a_function_is_traced():
    def drawn(key):
        return correlated_kaiming_normal("default", nonlinearity=jax.nn.silu)(key, (3, 3, 4, 5))

    np.testing.assert_allclose(jax.jit(drawn)(KEY), drawn(KEY), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_drawn_in_single_precision_and_cast_last(dtype):
    init, shape = correlated_kaiming_normal("exponential:0.3"), (3, 3, 8, 8)
    assert init(KEY, shape, dtype).dtype == dtype
    np.testing.assert_array_equal(init(KEY, shape, dtype), init(KEY, shape).astype(dtype))
    assert correlated_kaiming_normal("default", dtype=dtype)(KEY, shape).dtype == dtype


def test_double_precision():
    with jax.enable_x64(True):
        weight = correlated_normal(EXPONENTIAL)(KEY, (3, 3, 64, 64), jnp.float64)
        assert weight.dtype == jnp.float64
        independent = jax.random.normal(KEY, (3, 3, 64, 64), jnp.float64).reshape(9, -1)
        np.testing.assert_allclose(weight.reshape(9, -1), EXPONENTIAL.root @ independent, rtol=0, atol=1e-14)
        assert correlated_normal(EXPONENTIAL)(KEY, (3, 3, 4, 4)).dtype == jnp.float64


def test_large_separable_kernels_are_mixed_axis_by_axis():
    line = kernels.exponential((21,), length_scale=2.0)
    d = kernels.centre_weighted((21, 21), width=3.0)
    axes = SpatialCorrelation.separable([line, line], deviations=d)
    dense = SpatialCorrelation(axes.matrix, deviations=d)
    by_axes, at_once = (correlated_normal(R)(KEY, (21, 21, 2, 3)) for R in (axes, dense))
    np.testing.assert_allclose(by_axes, at_once, rtol=0, atol=1e-5)


def test_sharding():
    init, shape = correlated_kaiming_normal("exponential:0.3"), (3, 3, 8, 16)
    whole = init(KEY, shape)
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        for key in (KEY, jax.random.key(0)):
            sharded = init(key, shape, out_sharding=P(None, None, None, "x"))
            assert sharded.sharding == NamedSharding(mesh, P(None, None, None, "x"))
            np.testing.assert_allclose(sharded, whole, rtol=1e-5, atol=1e-7)
        compiled = jax.jit(lambda key: init(key, shape, None, P(None, None, "x")))(KEY)
        np.testing.assert_allclose(compiled, whole, rtol=1e-5, atol=1e-7)


R = SpatialCorrelation.identity((3, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: correlated_normal("exponentail:0.3"),
            "correlation: there is no file exponentail:0.3.*did you",
        ),
        (lambda: correlated_normal(np.eye(9)), "correlation: it is of type ndarray; give a Spatial"),
        (lambda: correlated_normal("resnet10-cifar10:layers"), "several of one kernel size.*give each layer"),
        (lambda: correlated_normal(R, -1.0), "std is -1.0; it must be"),
        (lambda: correlated_kaiming_normal(R, mode="fan_avg"), "mode is 'fan_avg'; it is 'fan_in' or"),
        (lambda: correlated_kaiming_normal(R, scale="natural"), "'natural' is one of a model"),
        (lambda: correlated_xavier_normal(R, scale="lecun"), "scale is 'lecun'; it is 'he'"),
        (
            lambda: correlated_kaiming_normal(R, nonlinearity="gelu"),
            "'gelu'; it is .* or the function itself",
        ),
        (lambda: correlated_kaiming_normal(R, nonlinearity=jnp.sum), "is not elementwise"),
        (
            lambda: correlated_kaiming_normal(R, nonlinearity=jnp.zeros_like),
            "mean square 0.0; it has no gain",
        ),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_made(make, message):
    with pytest.raises(CorrInitError, match=message) as refused:
        make()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("init", "shape", "message"),
    [
        (
            correlated_normal(R),
            (64, 32),
            "(64, 32); one of a convolution .* use jax.nn.initializers.he_normal",
        ),
        (correlated_normal(R), (32,), "the weight has shape (32,); it has no axis -2"),
        (correlated_normal(R), (5, 5, 8, 8), "5×5 kernel needs 25×25: use .resize((5, 5))"),
        (correlated_normal(R), (8, 8, 3, 3), "8×8 kernel needs 64×64: use .resize((8, 8))"),
        (correlated_normal([R, of_size((5, 5))]), (7, 7, 8, 8), "7×7 .* only of 3×3, 5×5; give one"),
        (correlated_normal(R, in_axis=-1), (3, 3, 8, 8), "no axis is two of them"),
        (correlated_kaiming_normal(R), (3, 3, 0, 8), "0 input channels"),
        (correlated_normal(R, dtype=jnp.int32), (3, 3, 8, 8), "of type int32; weights are drawn as real"),
        (correlated_normal(R, dtype=jnp.complex64), (3, 3, 8, 8), "of type complex64"),
    ],
)
def test_a_weight_that_does_not_fit_is_refused(init, shape, message):
    pattern = ".*".join(re.escape(part) for part in message.split(".*"))
    with pytest.raises(CorrInitError, match=pattern) as refused:
        init(KEY, shape)
    assert "\n" not in str(refused.value)


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_without_jax_the_message_is_the_line_to_paste():
    ended = run("import sys; sys.modules['jax'] = None; import corrinit.jax")
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert 'MissingLibraryError: corrinit.jax needs jax: pip install "corrinit[jax]"' in last


def test_without_equinox_the_message_is_the_line_to_paste():
    ended = run(
        "import sys; sys.modules['equinox'] = None\n"
        "from corrinit.jax import *; initialize_equinox(None, correlated_normal('default'), key=None)"
    )
    last = ended.stderr.splitlines()[-1]
    assert "MissingLibraryError: initialize_equinox needs equinox: pip install equinox" in last


def test_torch_is_not_needed():
    assert run("import corrinit.jax, sys; assert 'torch' not in sys.modules").returncode == 0


def test_examples_of_the_docstrings():
    assert doctest.testmod(corrinit.jax).failed == 0
