"""The state of a signal between two steps, and what the steps without weights do to it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

import numpy as np

from corrinit._arrays import as_array, is_array
from corrinit._signal.activations import Activation, Dual, is_homogeneous, mean_square
from corrinit._signal.contrast import EQUAL, SHARES, relative
from corrinit._signal.field import Array, Field
from corrinit._signal.fields import PairField
from corrinit._signal.report import StepSignal
from corrinit._signal.windows import Windows


@dataclass(frozen=True, eq=False)
class Latent:
    """The Gaussian that an activation was applied to, x = φ(μ + m + z): pooling needs it.

    Args:
        field: moments of z.
        offset: μ, the same in all images.
        activation: φ.
        contrasts: c, so that z and m are √c times that in an image, see `corrinit._signal.contrast`.
        maximum: m, what the maxima of z over windows have in common.
    """

    field: Field
    offset: float
    activation: Activation
    contrasts: Array
    maximum: float = 0.0

    def mean_squares(self, power: Array) -> Array:
        """E[φ(μ + √c (m + √v z))²] for each v, and each of the contrasts."""
        deviations = np.sqrt(np.outer(np.maximum(power, 0.0), self.contrasts))
        offsets = self.offset + np.sqrt(self.contrasts) * self.maximum
        return mean_square(self.activation, deviations, offsets + np.zeros_like(deviations))


@dataclass(frozen=True, eq=False)
class Signal:
    """A signal on its way through a model.

    Args:
        field: its second moments over positions.
        channels: how many there are.
        mean: E[x], over channels; 0 for what weights of mean zero have just made.
        broad: moments of what two images have in common, by displacement, mean square 1. Layers smooth it as
            they smooth a signal, while activations, unlike a signal, leave it as it is.
        alike: mean square correlation, less the means of the channels, between positions of different images;
            its inverse is the number of directions in which such inputs differ.
        latent: what was activated, if that was the last step.
        contrasts: c, of images of different strength, see `corrinit._signal.contrast`.
    """

    field: Field
    channels: int
    broad: Field
    mean: float = 0.0
    alike: float = 0.0
    latent: Latent | None = None
    contrasts: Array = dataclasses.field(default_factory=lambda: EQUAL)

    @property
    def mean_square(self) -> float:
        """E[x²]."""
        return self.field.mean_square

    @property
    def centred_power(self) -> float:
        """E[x²] less the mean square of the channels' means."""
        return max(self.mean_square - self.field.between(), 0.0)

    @property
    def effective_channels(self) -> float:
        """1 / (q + (1 − q)/C) with q = alike: C random combinations of what differs in 1/q directions."""
        return 1 / (self.alike + (1 - self.alike) / max(self.channels, 1))

    def row(self, name: str, operation: str) -> StepSignal:
        """The signal in numbers."""
        return StepSignal(
            name,
            operation,
            self.channels,
            self.mean_square,
            self.centred_power,
            self.field.neighbours(),
            self.effective_channels,
        )


def weighted(
    signal: Signal, windows: Windows | None, coefficients: Array, channels: int, bias: float
) -> Signal:
    """After a layer whose weights have the second moments C = n s² D R D within a filter."""
    if windows is None:
        field, broad, factor = signal.field.times(float(coefficients[0, 0])), signal.broad, 1.0
    else:
        field = signal.field.convolved(windows, coefficients)
        broad, factor = _smoothed(signal, signal.field.centred(), windows, coefficients)
    # Outputs differ in no more directions than the inputs do, few channels included.
    alike = min(factor / signal.effective_channels, 1.0)
    return Signal(
        field.plus(bias) if bias else field, channels, broad, 0.0, alike, contrasts=signal.contrasts
    )


def activated(signal: Signal, activation: Activation) -> Signal:
    """After an elementwise function; the signal before it is taken to be Gaussian over the weights."""
    field = signal.field.less_mean(signal.mean**2) if signal.mean else signal.field
    return _activate(signal, Latent(field, signal.mean, activation, signal.contrasts))


def _activate(signal: Signal, latent: Latent) -> Signal:
    field, offset, activation = latent.field, latent.offset + latent.maximum, latent.activation
    variance = field.mean_square
    dual = Dual(activation, math.sqrt(max(variance, 0.0)), offset)
    if dual.mean_square <= 0:
        return replace(signal, field=field.times(0.0), mean=0.0, latent=latent)
    if variance <= 0:
        return replace(signal, field=field.plus(dual.mean_square), mean=dual.mean, latent=latent)
    same: Callable[[Array], Array] = lambda rho: dual(rho) / dual.mean_square  # noqa: E731
    if offset == 0 and is_homogeneous(activation):
        ratio = dual.mean_square / variance
        after, mean = field.mapped(same, lambda v: v * ratio), dual.mean
    else:
        of_images = latent.mean_squares(np.array([variance]))[0]
        power = float(SHARES @ of_images)
        after = field.mapped(same, _power_map(latent, field.power, power))
        # what an image of mean contrast has, which the mean over images differs from as its mean square does
        mean = dual.mean * math.sqrt(power / dual.mean_square)
        signal = replace(signal, contrasts=relative(of_images))
    alike = _alike_after(signal, field, after, same)
    return replace(signal, field=after, mean=mean, alike=alike, latent=latent)


def _power_map(latent: Latent, power: Array, middle: float) -> Callable[[Array], Array]:
    """E[φ(μ + √v z)²], mean over images, as a function of v; positions near a border have a smaller v."""
    low, high = float(power.min()), float(power.max())
    if high - low <= 1e-6 * high:
        return lambda v: np.full_like(v, middle)
    at = np.linspace(low, high, 6)
    return lambda v: np.interp(v, at, latent.mean_squares(at) @ SHARES)


def _alike_after(signal: Signal, before: Field, after: Field, same: Callable[[Array], Array]) -> float:
    """alike, times the square of what is left of small differences of the correlation between images."""
    common, common_after = (f.between() / max(f.mean_square, 1e-300) for f in (before, after))
    if common >= 1 or common_after >= 1:
        return signal.alike
    step = 0.05
    low, high = same(np.clip(np.array([common - step, common + step]), -1, 1))
    slope = (high - low) / (min(common + step, 1) - max(common - step, -1))
    return min(signal.alike * (slope * (1 - common) / (1 - common_after)) ** 2, 1.0)


def _smoothed(signal: Signal, centred: Field, windows: Windows, coefficients: Array) -> tuple[Field, float]:
    """`broad` after weights of second moments C, and what `alike` is multiplied by: tr(C B C B) / ⟨C, M⟩².

    The correlation of two patches of different images is a weighted sum over pairs of their positions. With B
    for what the images have in common and the centred M for one image, that sum varies by tr(C B C B), in
    units of the power ⟨C, M⟩ of the outputs.
    """
    broad = signal.broad.convolved(windows, coefficients)
    scale = broad.mean_square
    if scale <= 0:
        return broad, 1.0
    within = float((coefficients * centred.window_moments(windows)).sum()) / max(centred.mean_square, 1e-300)
    product = coefficients @ signal.broad.window_moments(windows)
    shared = float((product * product.T).sum())
    return broad.times(1 / scale), shared / within**2 if within > 0 else 1.0


def max_pooled(signal: Signal, windows: Windows) -> Signal:
    """After max pooling: the maximum of k correlated Gaussians is taken to be a Gaussian.

    A window is a common part and k independent ones, z_i = √ρ g + √(1 − ρ) e_i with ρ its mean correlation;
    so its maximum has mean √(1 − ρ) m_k and variance ρ + (1 − ρ) s_k², with the mean and variance of the
    maximum of k independent ones. Maxima of two windows covary like the means of the windows. An activation
    that grows with its argument commutes with the maximum, so it is applied afterwards.
    """
    latent = signal.latent or Latent(
        signal.field.less_mean(signal.mean**2), signal.mean, lambda values: values, signal.contrasts
    )
    count = (windows.positions >= 0).sum(axis=1)
    k = prod(windows.taps)
    means = averaged_field(latent.field, windows, count)
    power, pooled = latent.field.mean_square, means.mean_square
    if power <= 0 or k == 1:
        return averaged(signal, windows, None)
    within = float(np.clip((k * pooled / power - 1) / (k - 1), 0, 1))
    mean, variance = _maximum(k)
    maximum = latent.maximum + math.sqrt(power * (1 - within)) * mean
    scale = (within + (1 - within) * variance) * power / pooled
    # The variance of the maximum is not that of the mean of a window; what is shared by two windows is.
    field = means.with_power(means.power * scale)
    broad, factor = _smoothed(signal, latent.field.centred(), windows, np.full((k, k), 1 / k**2))
    pooled_signal = replace(signal, broad=broad, alike=min(signal.alike * factor / scale**2, 1.0))
    return _activate(pooled_signal, replace(latent, field=field, maximum=maximum))


def averaged_field(field: Field, windows: Windows, count: Array | None) -> Field:
    """Moments of the mean over the windows; over what lies inside the map if the counts are given."""
    k = prod(windows.taps)
    pooled = field.convolved(windows, np.full((k, k), 1 / k**2))
    return pooled if count is None else pooled.scaled_by_position(k / count)


def averaged(signal: Signal, windows: Windows, count: Array | None) -> Signal:
    """After average pooling."""
    field, k = averaged_field(signal.field, windows, count), prod(windows.taps)
    broad, factor = _smoothed(signal, signal.field.centred(), windows, np.full((k, k), 1 / k**2))
    alike = min(signal.alike * factor, 1.0)
    return replace(signal, field=field, broad=broad, alike=alike, latent=None)


def pooled_to_one(signal: Signal, size: tuple[int, ...]) -> Signal:
    """After the mean over all positions; `size` is what is left of the map."""
    within, between = signal.field.within(), signal.field.between()
    field = PairField(np.array([[within]]), np.array([[between]]), size)
    before, after = signal.centred_power, max(within - between, 1e-300)
    alike = min(signal.alike * (signal.broad.within() * before / after) ** 2, 1.0)
    return replace(signal, field=field, broad=one_position(size), alike=alike, latent=None)


def flattened(signal: Signal) -> Signal:
    """Positions become features: products of two images are means over equal positions."""
    positions = prod(signal.field.size)
    if isinstance(signal.field, PairField):
        between = float(signal.field.cross.diagonal().mean())
    else:
        between = signal.field.between()
    field = PairField(np.array([[signal.mean_square]]), np.array([[between]]), ())
    # What two images have in common, averaged over positions: less the less it is broad.
    common = signal.broad.combined(signal.broad, np.multiply).within()
    return replace(
        signal, field=field, channels=signal.channels * positions, broad=one_position(()),
        alike=signal.alike * common, latent=None,
    )  # fmt: skip


def one_position(size: tuple[int, ...]) -> Field:
    """A signal of mean square 1 at one position, nothing in common between images."""
    return PairField(np.ones((1, 1)), np.zeros((1, 1)), size)


def normalized(
    signal: Signal, kind: str, groups: int, eps: float, gamma: float, beta: float, beta_mean: float
) -> Signal:
    """After a normalization, with the mean square of its γ and β.

    Args:
        signal: what is normalized.
        kind: of the normalization; `layer_norm` over the channels at each position.
        groups: channels that share a mean and a deviation in a group norm.
        eps: added to the variance.
        gamma: mean square of γ.
        beta: mean square of β.
        beta_mean: mean of β.
    """
    field = signal.field
    if kind == "batch_norm":
        field = field.centred()
        field = field.times(1 / (field.mean_square + eps))
    elif kind in ("layer_norm", "rms_norm"):
        field = field.less_mean(signal.mean**2) if kind == "layer_norm" and signal.mean else field
        field = field.scaled_by_position(1 / np.sqrt(np.maximum(field.power, 0) + eps))
    else:
        field = field.less_mean(signal.mean**2 * (1 - 1 / groups)) if signal.mean else field
        field = field.centred(1 / groups, own=True)
        field = field.times(1 / (field.mean_square + eps))
    field = field.times(gamma)
    return replace(
        signal,
        field=field.plus(beta) if beta else field,
        mean=beta_mean,
        latent=None,
        contrasts=signal.contrasts if kind == "batch_norm" else EQUAL,
    )


def added(first: Signal, second: Signal) -> Signal:
    """The sum of two signals that are independent but for the means of their channels."""
    field = first.field.combined(second.field, np.add)
    product = 2 * first.mean * second.mean
    total = first.centred_power + second.centred_power
    share = first.centred_power / total if total > 0 else 0.5
    # Correlations add in proportion to power; their fluctuations have the same cause, the images.
    alike = (share * math.sqrt(first.alike) + (1 - share) * math.sqrt(second.alike)) ** 2
    larger = first if share >= 0.5 else second
    return Signal(
        field.plus(product) if product else field,
        first.channels,
        larger.broad,
        first.mean + second.mean,
        alike,
        contrasts=_joint([first, second], [1.0, 1.0]),
    )


def multiplied(signal: Signal, gate: Signal) -> Signal:
    """The product with an independent signal of the same size, or with one number per channel."""
    if prod(gate.field.size) == 1 and prod(signal.field.size) > 1:
        field = signal.field.times(gate.mean_square, gate.field.between())
    else:
        field = signal.field.combined(gate.field, np.multiply)
    channels = max(signal.channels, gate.channels)
    return replace(signal, field=field, channels=channels, mean=signal.mean * gate.mean, latent=None)


def concatenated(signals: list[Signal]) -> Signal:
    """Channels side by side: moments are means over the channels."""
    total = sum(signal.channels for signal in signals)
    shares = [signal.channels / total for signal in signals]
    field = signals[0].field.times(shares[0])
    for signal, share in zip(signals[1:], shares[1:], strict=True):
        field = field.combined(signal.field.times(share), np.add)
    mean = sum(share * signal.mean for signal, share in zip(signals, shares, strict=True))
    alike = sum(share * math.sqrt(signal.alike) for signal, share in zip(signals, shares, strict=True)) ** 2
    return Signal(field, total, signals[0].broad, mean, alike, contrasts=_joint(signals, shares))


def _joint(signals: list[Signal], shares: list[float]) -> Array:
    """Contrasts of several signals of the same images together, each as strong as it is."""
    powers = [s * signal.mean_square * signal.contrasts for s, signal in zip(shares, signals, strict=True)]
    return relative(np.sum(powers, axis=0))


def scaled(signal: Signal, square: float, mean: float) -> Signal:
    """Times a factor of this mean square and mean."""
    return replace(signal, field=signal.field.times(square), mean=signal.mean * mean, latent=None)


def shifted(signal: Signal, square: float, mean: float) -> Signal:
    """Plus a constant of this mean square and mean."""
    field = signal.field.plus(square + 2 * signal.mean * mean)
    return replace(signal, field=field, mean=signal.mean + mean, latent=None)


def dropped(signal: Signal, p: float, whole_channels: bool) -> Signal:
    """After dropout in training: E[x²] grows to E[x²] / (1 − p), what two values share does not."""
    if not 0 < p < 1:
        return replace(signal, latent=None) if p else signal
    if whole_channels:
        return replace(signal, field=signal.field.times(1 / (1 - p), 1.0), latent=None)
    return replace(signal, field=signal.field.with_power(signal.field.power / (1 - p)), latent=None)


@lru_cache(maxsize=32)
def _maximum(k: int) -> tuple[float, float]:
    """Mean and variance of the maximum of k independent standard normals.

    >>> [round(value, 4) for value in _maximum(2)]  # 1/√π and 1 − 1/π
    [0.5642, 0.6817]
    """
    z = np.linspace(-9, 9, 7201)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    step = z[1] - z[0]
    below = np.cumsum(density) * step - density * step / 2
    weights = k * np.clip(below, 0, 1) ** (k - 1) * density * step
    weights /= weights.sum()
    mean = float(weights @ z)
    return mean, float(weights @ (z - mean) ** 2)


def parameter_moments(values: object, default: float) -> tuple[float, float]:
    """Mean square and mean of a parameter; of `default` where there is none to look at."""
    if not is_array(values) or getattr(values, "is_meta", False):
        return default**2, default
    array = as_array(values).astype(np.float64)
    return (float(np.square(array).mean()), float(array.mean())) if array.size else (default**2, default)
