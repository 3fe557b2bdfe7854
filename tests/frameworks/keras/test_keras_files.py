"""What Keras writes, read without building the model and compared with its kernels."""

import keras
import numpy as np
import pytest
from damaged_files import mutations, outcome

from corrinit._weights import named_weights


def weights_of(source, **options):
    return {name: np.array(weight) for name, weight in named_weights(source, **options)}


def network():
    layers = keras.layers
    inside = keras.Sequential(
        [layers.Conv2D(12, 3, name="first"), layers.DepthwiseConv2D(5, depth_multiplier=2)], name="inside"
    )
    x = given = keras.Input((20, 20, 3))
    for layer in (
        layers.Conv2D(16, 3, padding="same"),
        layers.BatchNormalization(),
        layers.SeparableConv2D(24, 3, depth_multiplier=2, name="separable"),
        inside,
        layers.Conv2DTranspose(6, 4, strides=2, name="up"),
        layers.Conv2D(8, (1, 7), groups=2, use_bias=False),
    ):
        x = layer(x)
    x = layers.Reshape((-1, 8))(x)
    return keras.Model(given, layers.Dense(4)(layers.Conv1D(8, 9, name="along")(x)))


def kernels(model):
    """The kernels of the convolutions, by their layers, as (out, in, …)."""
    found = {}
    for layer in model._flatten_layers(include_self=False):
        for weight in () if getattr(layer, "layers", None) else layer.weights:
            value = keras.ops.convert_to_numpy(weight)
            if "kernel" in weight.name and value.ndim > 2:
                kind = f"{type(layer).__name__} {weight.name}".lower()
                inputs_last = "transpose" in kind or ("depthwise" in kind and "pointwise" not in kind)
                source = (-2, -1) if inputs_last else (-1, -2)
                found[f"{layer.name}.{weight.name}"] = np.moveaxis(value, source, (0, 1))
    return found


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return network()


@pytest.mark.parametrize("ending", ["keras", "weights.h5", "h5"])
def test_kernels_are_those_of_the_model(model, tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    (model.save_weights if ending == "weights.h5" else model.save)(path)
    expected, found = kernels(model), weights_of(path)
    assert len(found) == len(expected) == 8
    for name, weight in found.items():
        np.testing.assert_array_equal(weight, expected[".".join(name.split(".")[-2:])])


def test_layers_come_in_the_order_of_the_model(model, tmp_path):
    model.save(tmp_path / "a.keras")
    layers = [name.split(".")[-2] for name in weights_of(tmp_path / "a.keras")]
    named = [layer for layer in layers if "conv" not in layer]
    assert named == ["separable", "separable", "first", "up", "along"]


def test_weights_in_shards(model, tmp_path):
    model.save_weights(tmp_path / "a.weights.json", max_shard_size=1e-5)
    assert len(list(tmp_path.glob("*.h5"))) > 2
    found, expected = weights_of(tmp_path / "a.weights.json"), kernels(model)
    digests = [sorted(weight.tobytes() for weight in weights.values()) for weights in (found, expected)]
    assert digests[0] == digests[1]


def test_the_suffix_does_not_matter(model, tmp_path):
    model.save(tmp_path / "a.keras")
    (tmp_path / "a.keras").rename(tmp_path / "a.pt")
    assert len(weights_of(tmp_path / "a.pt")) == 8


def test_models_with_the_state_of_an_optimizer(model, tmp_path):
    other = keras.models.clone_model(model)
    other.compile("adam", "mse")
    other.fit(np.zeros((2, 20, 20, 3)), np.zeros((2, *other.output_shape[1:])), verbose=0)
    other.save(tmp_path / "a.keras")
    assert len(weights_of(tmp_path / "a.keras")) == 8


def test_half_precision(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(16, 3, dtype="bfloat16")])
    model.layers[0]._kernel.assign(np.random.default_rng(0).normal(size=(3, 3, 4, 16)))
    model.save(tmp_path / "a.keras")
    (found,) = weights_of(tmp_path / "a.keras").values()
    ((_, expected),) = kernels(model).items()
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_subclasses_and_layers_in_lists(tmp_path):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.stem = keras.layers.Conv2D(8, 3, name="a_stem")
            self.blocks = [keras.layers.DepthwiseConv2D(3, depth_multiplier=2) for _ in range(2)]

        def call(self, x):
            x = self.stem(x)
            for block in self.blocks:
                x = block(x)
            return x

    model = Own()
    model(np.zeros((1, 12, 12, 3), np.float32))
    model.save_weights(tmp_path / "a.weights.h5")
    shapes = sorted(weight.shape for weight in weights_of(tmp_path / "a.weights.h5").values())
    assert shapes == [(8, 2, 3, 3), (8, 3, 3, 3), (16, 2, 3, 3)]


def test_damaged_archives_end_in_one_line(model, tmp_path):
    model.save(tmp_path / "a.keras")
    content = (tmp_path / "a.keras").read_bytes()
    for damaged in mutations(content, 150):
        (tmp_path / "b.keras").write_bytes(damaged)
        outcome(tmp_path / "b.keras")
