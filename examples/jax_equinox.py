"""Equinox: draw the filters of a finished model anew, and train it.

    pip install 'corrinit[jax]' equinox optax
    python examples/jax_equinox.py

Ends with the correlation asked for beside that of the weights before training, and with the loss that falls.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

import corrinit
from corrinit.jax import correlated_kaiming_normal, initialize_equinox

R = corrinit.SpatialCorrelation(corrinit.kernels.exponential((3, 3), mean=0.3))


def network(key: jax.Array) -> eqx.nn.Sequential:
    """Three convolutions, global average pooling and a linear classifier, as Equinox initializes them."""
    keys = jax.random.split(key, 4)
    layers = []
    for channels, each in zip((1, 32, 32), keys, strict=False):
        layers += [eqx.nn.Conv2d(channels, 32, 3, padding=1, key=each), eqx.nn.Lambda(jax.nn.relu)]
    pooled = eqx.nn.Lambda(lambda maps: maps.mean((1, 2)))
    return eqx.nn.Sequential([*layers, pooled, eqx.nn.Linear(32, 4, key=keys[3])])


def stripes(count: int) -> tuple[jax.Array, jax.Array]:
    """Noisy stripes of four directions, shape (count, 1, 16, 16), and which direction each has."""
    random = np.random.default_rng(0)
    labels = random.integers(4, size=count)
    y, x = np.mgrid[:16, :16]
    angles = labels[:, None, None] * np.pi / 4
    phases = random.uniform(0, 2 * np.pi, (count, 1, 1))
    waves = np.sin(x * np.cos(angles) + y * np.sin(angles) + phases)
    images = waves + random.normal(0, 0.5, waves.shape)
    return jnp.asarray(images[:, None], jnp.float32), jnp.asarray(labels)


def main() -> None:
    """Compare what was asked with what was drawn, then train."""
    init = correlated_kaiming_normal(R, scale="he")
    model = initialize_equinox(network(jax.random.key(0)), init, key=jax.random.key(1))
    drawn = corrinit.estimate({"conv.weight": np.asarray(model.layers[2].weight)})
    print("distance of two taps   asked   drawn")
    for asked, found in zip(R.profile(), drawn.profile(), strict=True):
        print(f"{asked.distance:20.2f}   {asked.correlation:5.2f}   {found.correlation:5.2f}")

    images, labels = stripes(256)
    optimizer = optax.adam(2e-3)

    @eqx.filter_jit
    def step(model, state):
        def loss(model):
            logits = jax.vmap(model)(images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, gradient = eqx.filter_value_and_grad(loss)(model)
        updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(model, updates), state, value

    state, losses = optimizer.init(eqx.filter(model, eqx.is_inexact_array)), []
    for _ in range(30):
        model, state, value = step(model, state)
        losses.append(float(value))
    print(f"loss {losses[0]:.2f} at first, {losses[-1]:.2f} after {len(losses)} steps")


if __name__ == "__main__":
    main()
