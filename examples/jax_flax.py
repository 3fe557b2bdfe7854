"""Flax: train a small network from filters whose taps are correlated.

    pip install 'corrinit[jax]' flax optax
    python examples/jax_flax.py

Ends with the correlation asked for beside that of the weights before training, and with the loss that falls.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import corrinit
from corrinit.jax import correlated_kaiming_normal

R = corrinit.SpatialCorrelation(corrinit.kernels.exponential((3, 3), mean=0.3))


class Network(nnx.Module):
    """Three convolutions, global average pooling and a linear classifier."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        init = correlated_kaiming_normal(R, scale="he")
        self.convolutions = nnx.List(
            nnx.Conv(channels, 32, (3, 3), kernel_init=init, rngs=rngs) for channels in (1, 32, 32)
        )
        self.head = nnx.Linear(32, 4, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits, shape (images, 4)."""
        for convolution in self.convolutions:
            images = nnx.relu(convolution(images))
        return self.head(images.mean((1, 2)))


def stripes(count: int) -> tuple[jax.Array, jax.Array]:
    """Noisy stripes of four directions, shape (count, 16, 16, 1), and which direction each has."""
    random = np.random.default_rng(0)
    labels = random.integers(4, size=count)
    y, x = np.mgrid[:16, :16]
    angles = labels[:, None, None] * np.pi / 4
    phases = random.uniform(0, 2 * np.pi, (count, 1, 1))
    waves = np.sin(x * np.cos(angles) + y * np.sin(angles) + phases)
    images = waves + random.normal(0, 0.5, waves.shape)
    return jnp.asarray(images[..., None], jnp.float32), jnp.asarray(labels)


@nnx.jit
def step(model: Network, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array) -> jax.Array:
    """One step of training; returns the loss before it."""

    def loss(model: Network) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    value, gradient = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradient)
    return value


def main() -> None:
    """Compare what was asked with what was drawn, then train."""
    model = Network(nnx.Rngs(0))
    kernel = np.asarray(model.convolutions[1].kernel[...])  # (3, 3, in, out)
    drawn = corrinit.estimate({"conv.weight": kernel.transpose(3, 2, 0, 1)})
    print("distance of two taps   asked   drawn")
    for asked, found in zip(R.profile(), drawn.profile(), strict=True):
        print(f"{asked.distance:20.2f}   {asked.correlation:5.2f}   {found.correlation:5.2f}")

    images, labels = stripes(256)
    optimizer = nnx.Optimizer(model, optax.adam(2e-3), wrt=nnx.Param)
    losses = [float(step(model, optimizer, images, labels)) for _ in range(30)]
    print(f"loss {losses[0]:.2f} at first, {losses[-1]:.2f} after {len(losses)} steps")


if __name__ == "__main__":
    main()
