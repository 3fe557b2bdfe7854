"""Correlated initializers for JAX: `init(key, shape, dtype, out_sharding)` as in `jax.nn.initializers`.

    flax.linen.Conv(64, (3, 3), kernel_init=correlated_kaiming_normal("exponential:0.3"))
    flax.nnx.Conv(32, 64, (3, 3), kernel_init=correlated_kaiming_normal("exponential:0.3"), rngs=rngs)
    initialize_equinox(model, correlated_kaiming_normal("exponential:0.3"), key=key)

Each filter is drawn as w = s D C z with z ~ N(0, I), by the formulas of the functions of the same names in
`corrinit`: only the random numbers are JAX's. Needs `corrinit[jax]`, and no torch.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from corrinit._correlation import SpatialCorrelation
from corrinit._correlation_source import CorrelationSource
from corrinit._filters import (
    Channels,
    FanMode,
    Nonlinearity,
    correlate,
    correlation_of_kernels,
    gain_of,
    require_deviation,
    require_kernel,
)
from corrinit._scale import TensorScale, resolve_scale, signal_scale
from corrinit.errors import CorrelationError, UnfitTensorError, missing_library

# pyright: reportMissingImports=false
try:
    import jax
    import jax.numpy as jnp
except ModuleNotFoundError as error:
    raise missing_library("corrinit.jax", error) from error

if TYPE_CHECKING:
    from jax.nn.initializers import Initializer
    from jax.typing import ArrayLike

Axes = int | Sequence[int]
Model = TypeVar("Model")


def correlated_normal(
    correlation: CorrelationSource,
    std: float = 1.0,
    *,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> Initializer:
    """An initializer of Gaussian filters whose taps have the covariance std² D R D.

    Drawn in float32 (float64 for float64 weights), then cast. With R = I and d = 1 the values are those of
    `jax.random.normal`, times std.

    Args:
        correlation: R and d: a `SpatialCorrelation` of the kernel, or text such as `"exponential:0.3"`, a
            preset or the path of a file: whatever `corrinit.initialize` takes for all sizes or for one.
        std: standard deviation of the taps, root mean square over a filter.
        in_axis: the axis, or axes, of the inputs. By default a weight is (k_1, ..., k_d, in / groups, out),
            as in Flax; Equinox's, (out, in / groups, k_1, ..., k_d), needs `in_axis=1, out_axis=0`.
        out_axis: of the outputs. All axes that are neither, nor of a batch, are taps, in row-major order.
        batch_axis: of weights side by side, such as the members of an ensemble.
        dtype: of the weights where the initializer is not told; default: JAX's.

    Returns:
        `init(key, shape, dtype=None, out_sharding=None)`. To compile it, `shape` and `dtype` are static.

    Raises:
        CorrelationError: if there is no such correlation; the initializer, if the weight has no taps, or
            another kernel than R, or is not real.

    >>> init = correlated_normal("exponential:0.3")
    >>> init(jax.random.key(0), (3, 3, 16, 32), jnp.bfloat16).dtype.name
    'bfloat16'
    """
    require_deviation(std)
    return _initializer(correlation, lambda R, channels: std, in_axis, out_axis, batch_axis, dtype)


def correlated_kaiming_normal(
    correlation: CorrelationSource,
    a: float = 0,
    mode: FanMode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    *,
    scale: TensorScale | None = None,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> Initializer:
    """Kaiming initialization with correlated taps: s = g / √(n ⟨D R D, M⟩).

    With R = I and d = 1 the values are those of `variance_scaling(2, "fan_in", "normal")` in
    `jax.nn.initializers`. They have the variance of `he_normal`, which cuts its tails off at two deviations.

    Args:
        correlation: as in `correlated_normal`.
        a: negative slope of the leaky ReLU.
        mode: `"fan_in"` keeps the scale of the signal, `"fan_out"` that of the gradient. As in JAX, channels
            are counted from the shape: of a grouped convolution the inputs of a group, and all outputs.
        nonlinearity: sets the gain g: a name that torch's `calculate_gain` knows, or the function itself,
            such as `jax.nn.gelu`.
        scale: M, the second moments of the inputs within a patch: `"he"` for I, `"paper"`, the default, for
            1, or M itself, see `corrinit.signal_scale`.
        in_axis: as in `correlated_normal`.
        out_axis: as in `correlated_normal`.
        batch_axis: as in `correlated_normal`.
        dtype: as in `correlated_normal`.

    >>> init = correlated_kaiming_normal("exponential:0.3", scale="he")
    >>> round(float(init(jax.random.key(0), (3, 3, 32, 64)).std()), 2)  # √(2 / (9 × 32))
    0.08
    """
    resolve_scale(scale)  # refuses what is none here, not at the first layer
    Channels(0, 0).of(mode)
    with jax.ensure_compile_time_eval():  # a layer may be built while it is traced
        gain = gain_of(nonlinearity, a)

    def std(R: SpatialCorrelation, channels: Channels) -> float:
        return signal_scale(R, channels.of(mode), gain=gain, scale=scale)

    return _initializer(correlation, std, in_axis, out_axis, batch_axis, dtype)


def correlated_xavier_normal(
    correlation: CorrelationSource,
    gain: float = 1.0,
    *,
    scale: TensorScale | None = None,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> Initializer:
    """Xavier initialization with correlated taps: n = (n_in + n_out) / 2, `glorot_normal` where R = I.

    Args:
        correlation: as in `correlated_normal`.
        gain: g.
        scale: M, as in `correlated_kaiming_normal`.
        in_axis: as in `correlated_normal`.
        out_axis: as in `correlated_normal`.
        batch_axis: as in `correlated_normal`.
        dtype: as in `correlated_normal`.
    """
    resolve_scale(scale)

    def std(R: SpatialCorrelation, channels: Channels) -> float:
        return signal_scale(R, (channels.inputs + channels.outputs) / 2, gain=gain, scale=scale)

    return _initializer(correlation, std, in_axis, out_axis, batch_axis, dtype)


def initialize_equinox(model: Model, init: Initializer, *, key: ArrayLike) -> Model:
    """A model with weights drawn anew in its Equinox convolutions, transposed ones among them.

    Each layer draws with a key of its own, folded from `key` and where the layer is in the model, so that the
    others do not change its weights. Biases and all other layers are those of `model`.

    Args:
        model: a pytree of Equinox modules, such as one `equinox.nn.Conv2d`; it is left as it is.
        init: of weights whose channels are last, as all of JAX's are by default.
        key: a random key.

    Raises:
        CorrelationError: if a layer is wrapped in `equinox.nn.WeightNorm`, which keeps the old magnitudes
            elsewhere; or as `init`.

    >>> import equinox
    >>> conv = equinox.nn.Conv2d(3, 8, 3, key=jax.random.key(0))
    >>> drawn = initialize_equinox(conv, correlated_normal("default"), key=jax.random.key(1))
    >>> bool((drawn.weight != conv.weight).all()), bool((drawn.bias == conv.bias).all())
    (True, True)
    """
    try:
        from equinox import nn, tree_at
    except ModuleNotFoundError as error:
        raise missing_library("initialize_equinox", error) from error

    def is_layer(node: object) -> bool:
        return isinstance(node, (nn.Conv, nn.ConvTranspose, nn.WeightNorm))

    def drawn(path: tuple[Any, ...], node: Any) -> Any:
        if not is_layer(node):
            return node
        name = jax.tree_util.keystr(path)
        if isinstance(node, nn.WeightNorm):
            raise UnfitTensorError(
                f"layer {name} is wrapped in WeightNorm, which would keep its old magnitudes: draw the "
                "weights first, then wrap the layer"
            )
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        outputs, inputs, *taps = node.weight.shape
        weight = init(jax.random.fold_in(key, number), (*taps, inputs, outputs), node.weight.dtype)
        return tree_at(lambda layer: layer.weight, node, jnp.moveaxis(weight, (-1, -2), (0, 1)))

    return jax.tree_util.tree_map_with_path(drawn, model, is_leaf=is_layer)


def _initializer(
    correlation: CorrelationSource,
    std: Callable[[SpatialCorrelation, Channels], float],
    in_axis: Axes,
    out_axis: Axes,
    batch_axis: Axes,
    dtype: Any,
) -> Initializer:
    correlation_of = correlation_of_kernels(correlation)

    def init(key: ArrayLike, shape: Sequence[int], dtype: Any = dtype, out_sharding: Any = None) -> jax.Array:
        shape = tuple(map(operator.index, shape))
        precision, dtype = _types(dtype)
        inputs, outputs, batch = (_axes(shape, axes) for axes in (in_axis, out_axis, batch_axis))
        taps = _taps(shape, (*inputs, *outputs, *batch))
        R = correlation_of(tuple(shape[axis] for axis in taps))
        deviation = std(R, Channels(_size(shape, inputs), _size(shape, outputs)))

        def draw(key: ArrayLike) -> jax.Array:
            independent = jax.random.normal(key, shape, precision)
            return (_correlated(independent, R, taps) * deviation).astype(dtype)

        if out_sharding is None:
            return draw(key)
        return jax.sharding.auto_axes(draw, out_sharding=out_sharding)(key)  # pyright: ignore[reportReturnType]

    return init


def _correlated(independent: jax.Array, R: SpatialCorrelation, taps: tuple[int, ...]) -> jax.Array:
    """D C z of filters whose taps are these axes."""
    front = range(len(taps))
    # TPUs and GPUs would else round the factors of a product to 8 or 11 bits.
    tensordot = partial(jnp.tensordot, precision=jax.lax.Precision.HIGHEST)
    return jnp.moveaxis(correlate(jnp.moveaxis(independent, taps, front), R, tensordot), front, taps)


def _types(dtype: Any) -> tuple[Any, Any]:
    """What to draw in, and what to cast to."""
    dtype = jax.dtypes.canonicalize_dtype(float if dtype is None else dtype)
    if not jnp.issubdtype(dtype, np.floating):
        raise UnfitTensorError(f"the weight is of type {dtype}; weights are drawn as real numbers")
    return (jnp.float64 if dtype == jnp.float64 else jnp.float32), dtype


def _axes(shape: tuple[int, ...], axes: Axes) -> tuple[int, ...]:
    """The axes that are meant, counted from the front."""
    chosen = (axes,) if isinstance(axes, int) else tuple(axes)
    if any(not -len(shape) <= axis < len(shape) for axis in chosen):
        raise UnfitTensorError(f"the weight has shape {shape}; it has no axis {axes}", shape=shape)
    return tuple(axis % len(shape) for axis in chosen)


def _taps(shape: tuple[int, ...], others: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(others)) < len(others):
        raise CorrelationError(f"in_axis, out_axis and batch_axis are {others}; no axis is two of them")
    taps = tuple(axis for axis in range(len(shape)) if axis not in others)
    require_kernel(shape, tuple(shape[axis] for axis in taps), "jax.nn.initializers.he_normal")
    return taps


def _size(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return int(np.prod([shape[axis] for axis in axes], dtype=int))
