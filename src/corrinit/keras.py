"""Correlated initializers for Keras 3, on each of its backends.

    keras.layers.Conv2D(64, 3, kernel_initializer=CorrelatedKaimingNormal("exponential:0.3"))
    keras.layers.DepthwiseConv2D(
        7, depthwise_initializer=CorrelatedKaimingNormal("centre:0.8", layout="depthwise")
    )
    keras.layers.Conv2DTranspose(
        32, 4, kernel_initializer=CorrelatedKaimingNormal("exponential:0.3", layout="transposed")
    )

Each filter is drawn as w = s D C z with z ~ N(0, I), by the formulas of the functions of the same names in
`corrinit`. The random numbers are numpy's, so that a seed gives the same weights on every backend.

A layer tells its initializer the shape of the weight and no more, and shapes of different layers look alike:
hence `layout`. It is saved with the model; before `keras.saving.load_model`, import this module. Needs
`corrinit[keras]` and a backend of Keras.
"""

from __future__ import annotations

import hashlib
import operator
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from corrinit._correlation import SpatialCorrelation
from corrinit._correlation_source import CorrelationFamily, CorrelationSource, resolve
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
from corrinit.errors import ConfigError, CorrelationError, UnfitTensorError, missing_library

# pyright: reportMissingImports=false
try:
    import keras
except ModuleNotFoundError as error:
    raise missing_library("corrinit.keras", error) from error

Layout = Literal["conv", "depthwise", "transposed"]
"""How a layer stores its weight: `(k_1, ..., k_d, in / groups, out)` in `Conv1D` to `Conv3D`, `(..., in,
multiplier)` in `DepthwiseConv1D`, `DepthwiseConv2D` and as `depthwise_initializer` of `SeparableConv`,
`(..., out, in)` in `Conv1DTranspose` to `Conv3DTranspose`."""


class _CorrelatedInitializer(keras.initializers.Initializer):
    """What the initializers share: R, where the channels are, and other random numbers for each call."""

    layout: Layout
    seed: int | None

    def __init__(self, correlation: CorrelationSource, layout: Layout, seed: int | None) -> None:
        if layout not in get_args(Layout):
            raise CorrelationError(f"layout is {layout!r}; it is 'conv', 'depthwise' or 'transposed'")
        self._correlation_of = correlation_of_kernels(correlation)
        self.correlation = resolve(correlation)
        self.layout = layout
        self.seed = seed if seed is None else _seed(seed)
        # Keras too takes the seed of an initializer without one from Python's generator.
        self._root = random.getrandbits(63) if seed is None else self.seed
        self._calls = 0
        self._place: str | None = ""

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Draw a weight: other values at each call, so that layers that share an initializer differ.

        Args:
            shape: of the weight, as `layout` says.
            dtype: floating; default: Keras's `floatx`.

        Raises:
            CorrelationError: if the weight has no taps, another kernel than R, or is not real.
        """
        shape, dtype = tuple(map(operator.index, shape)), _floating(dtype)
        size = shape[:-2]
        require_kernel(shape, size, "keras.initializers.HeNormal")
        R = self._correlation_of(size)
        std = self._std(R, _channels(shape, self.layout))
        # Each layer of a model that is made from a configuration has an initializer that was never called.
        self._place = _current_layer() if self._place is None else self._place
        key = f"{self._root}:{self._place}:{self._calls}"
        generator = np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest(), "big"))
        precision = np.float64 if dtype == "float64" else np.float32
        independent = generator.standard_normal(shape, precision)
        filters = correlate(independent.astype(np.float64, copy=False), R, np.tensordot) * std
        weight = keras.ops.convert_to_tensor(filters.astype(precision), dtype)
        self._calls += 1
        return weight

    def _std(self, R: SpatialCorrelation, channels: Channels) -> float:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes an equal initializer of; R as numbers, or by the name of its family."""
        given = self.correlation
        named = isinstance(given, CorrelationFamily)
        return {
            "correlation": given.name if named else [_as_numbers(R) for R in given],
            "layout": self.layout,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> _CorrelatedInitializer:
        """An initializer from its configuration.

        In a layer it draws by the name of the layer too: layers that shared an initializer before the model
        was saved or cloned each have one now, and still differ.
        """
        config = dict(config)
        if isinstance(given := config.get("correlation"), list):
            config["correlation"] = [_from_numbers(fields) for fields in given]
        if isinstance(scale := config.get("scale"), Mapping):
            config["scale"] = _from_numbers(scale)
        elif isinstance(scale, list):
            config["scale"] = np.array(scale)
        made = cls(**config)
        made._place = None  # to be found at its first call
        return made


@keras.saving.register_keras_serializable("corrinit")
class CorrelatedNormal(_CorrelatedInitializer):
    """Gaussian filters whose taps have the covariance std² D R D.

    Args:
        correlation: R and d: a `SpatialCorrelation` of the kernel, or text such as `"exponential:0.3"`, a
            preset or the path of a file: whatever `corrinit.initialize` takes for all sizes or for one.
        std: standard deviation of the taps, root mean square over a filter.
        layout: where the weight has its channels, by the kind of the layer, see `Layout`.
        seed: the same one gives the same weights, call by call; default: taken from Python's generator, which
            `keras.utils.set_random_seed` seeds.

    Raises:
        CorrelationError: if there is no such correlation or layout, or `std` is negative or not finite.
        ConfigError: if the seed is no integer.
    """

    def __init__(
        self,
        correlation: CorrelationSource = "default",
        std: float = 0.05,
        *,
        layout: Layout = "conv",
        seed: int | None = None,
    ) -> None:
        super().__init__(correlation, layout, seed)
        self.std = require_deviation(std)

    def _std(self, R: SpatialCorrelation, channels: Channels) -> float:
        return self.std

    def get_config(self) -> dict[str, Any]:
        """See `keras.initializers.Initializer`."""
        return {**super().get_config(), "std": self.std}


@keras.saving.register_keras_serializable("corrinit")
class CorrelatedKaimingNormal(_CorrelatedInitializer):
    """Kaiming initialization with correlated taps: s = g / √(n ⟨D R D, M⟩).

    With R = I and d = 1 these are independent values of the variance of `HeNormal`, which cuts its tails off
    at two deviations.

    Args:
        correlation: as in `CorrelatedNormal`.
        a: negative slope of the leaky ReLU.
        mode: `"fan_in"` keeps the scale of the signal, `"fan_out"` that of the gradient. Of a grouped
            convolution these are the inputs of a group, and all outputs.
        nonlinearity: sets the gain g: a name that torch's `calculate_gain` knows, another activation of Keras
            by name, or a function.
        scale: M, the second moments of the inputs within a patch: `"he"` for I, `"paper"`, the default, for
            1, or M itself, see `corrinit.signal_scale`.
        layout: as in `CorrelatedNormal`.
        seed: as in `CorrelatedNormal`.

    >>> initializer = CorrelatedKaimingNormal("exponential:0.3", scale="he", seed=0)
    >>> first, second = (keras.ops.convert_to_numpy(initializer((3, 3, 32, 64))) for _ in range(2))
    >>> round(float(first.std()), 2), bool((first == second).any())  # √(2 / (9 × 32))
    (0.08, False)
    """

    mode: FanMode
    scale: TensorScale | None

    def __init__(
        self,
        correlation: CorrelationSource = "default",
        a: float = 0,
        mode: FanMode = "fan_in",
        nonlinearity: Nonlinearity = "leaky_relu",
        *,
        scale: TensorScale | None = None,
        layout: Layout = "conv",
        seed: int | None = None,
    ) -> None:
        super().__init__(correlation, layout, seed)
        resolve_scale(scale)  # refuses what is none here, not at the first layer
        Channels(0, 0).of(mode)
        self.a, self.mode, self.nonlinearity = a, mode, nonlinearity
        self.scale = scale
        self._gain = _gain(nonlinearity, a)

    def _std(self, R: SpatialCorrelation, channels: Channels) -> float:
        return signal_scale(R, channels.of(self.mode), gain=self._gain, scale=self.scale)

    def get_config(self) -> dict[str, Any]:
        """See `keras.initializers.Initializer`."""
        named = self.nonlinearity
        if callable(named):
            named = keras.activations.serialize(named)
        scale = _scale_as_numbers(self.scale)
        return {**super().get_config(), "a": self.a, "mode": self.mode, "nonlinearity": named, "scale": scale}


@keras.saving.register_keras_serializable("corrinit")
class CorrelatedXavierNormal(_CorrelatedInitializer):
    """Xavier initialization with correlated taps: n = (n_in + n_out) / 2, as `GlorotNormal` where R = I.

    Args:
        correlation: as in `CorrelatedNormal`.
        gain: g.
        scale: M, as in `CorrelatedKaimingNormal`.
        layout: as in `CorrelatedNormal`.
        seed: as in `CorrelatedNormal`.
    """

    scale: TensorScale | None

    def __init__(
        self,
        correlation: CorrelationSource = "default",
        gain: float = 1.0,
        *,
        scale: TensorScale | None = None,
        layout: Layout = "conv",
        seed: int | None = None,
    ) -> None:
        super().__init__(correlation, layout, seed)
        resolve_scale(scale)
        self.gain, self.scale = gain, scale

    def _std(self, R: SpatialCorrelation, channels: Channels) -> float:
        return signal_scale(R, (channels.inputs + channels.outputs) / 2, gain=self.gain, scale=self.scale)

    def get_config(self) -> dict[str, Any]:
        """See `keras.initializers.Initializer`."""
        return {**super().get_config(), "gain": self.gain, "scale": _scale_as_numbers(self.scale)}


def _current_layer() -> str:
    """The path of the layer whose weight is being made, such as "body/conv2d_1"; empty outside of any."""
    return keras.Variable("zeros", (), trainable=False, name="place").path.rpartition("/")[0]


def _channels(shape: tuple[int, ...], layout: Layout) -> Channels:
    if layout == "depthwise":
        return Channels(1, shape[-1])
    return Channels(*shape[-2:]) if layout == "conv" else Channels(shape[-1], shape[-2])


def _gain(nonlinearity: Nonlinearity, slope: float) -> float:
    if isinstance(nonlinearity, str):
        try:
            return gain_of(nonlinearity, slope)
        except CorrelationError:
            if (activation := _activation(nonlinearity)) is None:
                raise
    else:
        activation = nonlinearity
    return gain_of(lambda values: keras.ops.convert_to_numpy(activation(keras.ops.convert_to_tensor(values))))


def _activation(name: str) -> Callable[[Any], Any] | None:
    try:
        return keras.activations.get(name)
    except ValueError:
        return None


def _floating(dtype: Any) -> str:
    name = keras.backend.standardize_dtype(dtype or keras.config.floatx())
    if "float" not in name:
        raise UnfitTensorError(f"the weight is of type {name}; weights are drawn as real numbers")
    return name


def _seed(seed: object) -> int:
    try:
        if isinstance(seed, bool):
            raise TypeError
        return operator.index(seed)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise ConfigError(f"seed is {seed!r}; it must be an integer") from None


def _as_numbers(R: SpatialCorrelation) -> dict[str, Any]:
    matrices = (
        {"matrix": R.matrix.tolist()} if R.axes is None else {"axes": [axis.tolist() for axis in R.axes]}
    )
    return {
        **matrices,
        "kernel_size": list(R.kernel_size),
        "provenance": dict(R.provenance),
        "deviations": None if R.is_flat else R.deviations.tolist(),
    }


def _from_numbers(fields: Mapping[str, Any]) -> SpatialCorrelation:
    deviations = fields["deviations"]
    if "axes" in fields:
        return SpatialCorrelation.separable(fields["axes"], fields["provenance"], deviations=deviations)
    size = fields["kernel_size"]
    return SpatialCorrelation(fields["matrix"], size, fields["provenance"], deviations=deviations)


def _scale_as_numbers(scale: TensorScale | None) -> Any:
    if isinstance(scale, SpatialCorrelation):
        return _as_numbers(scale)
    return scale.tolist() if isinstance(scale, np.ndarray) else scale
