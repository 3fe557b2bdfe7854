"""Keras, on any backend: train a small network from filters whose taps are correlated, save it and load it.

    pip install 'corrinit[keras]' jax
    KERAS_BACKEND=jax python examples/keras_stripes.py

Ends with the correlation asked for beside that of the weights before training, and with the loss that falls.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np

import corrinit
from corrinit.keras import CorrelatedKaimingNormal

R = corrinit.SpatialCorrelation(corrinit.kernels.exponential((3, 3), mean=0.3))


def network() -> keras.Model:
    """A convolution, a depthwise one, another, and a linear classifier."""
    correlated = CorrelatedKaimingNormal(R, scale="he", seed=0)
    depthwise = CorrelatedKaimingNormal(R, scale="he", layout="depthwise", seed=0)
    options = {"padding": "same", "activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras.layers.Conv2D(32, 3, kernel_initializer=correlated, **options),
            keras.layers.DepthwiseConv2D(3, depthwise_initializer=depthwise, **options),
            keras.layers.Conv2D(32, 3, kernel_initializer=correlated, name="last", **options),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )


def stripes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy stripes of four directions, shape (count, 16, 16, 1), and which direction each has."""
    random = np.random.default_rng(0)
    labels = random.integers(4, size=count)
    y, x = np.mgrid[:16, :16]
    angles = labels[:, None, None] * np.pi / 4
    phases = random.uniform(0, 2 * np.pi, (count, 1, 1))
    images = np.sin(x * np.cos(angles) + y * np.sin(angles) + phases)
    images = images + random.normal(0, 0.5, images.shape)
    return images[..., None].astype(np.float32), labels


def main() -> None:
    """Compare what was asked with what was drawn, then train, save and load."""
    keras.utils.set_random_seed(0)
    model = network()
    kernel = keras.ops.convert_to_numpy(model.get_layer("last").kernel)  # (3, 3, in, out)
    drawn = corrinit.estimate({"conv.weight": kernel.transpose(3, 2, 0, 1)})
    print("distance of two taps   asked   drawn")
    for asked, found in zip(R.profile(), drawn.profile(), strict=True):
        print(f"{asked.distance:20.2f}   {asked.correlation:5.2f}   {found.correlation:5.2f}")

    images, labels = stripes(256)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss)
    before = model.evaluate(images, labels, verbose=0)
    model.fit(images, labels, epochs=8, batch_size=32, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        loaded = keras.saving.load_model(Path(folder) / "model.keras")
    after = loaded.evaluate(images, labels, verbose=0)
    print(f"loss {before:.2f} at first, {after:.2f} after training, saving and loading")


if __name__ == "__main__":
    main()
