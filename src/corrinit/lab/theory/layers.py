"""Section 4: Table 1 and what lies between its cases, as printed, by algebra and in random networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from corrinit._correlation import SpatialCorrelation
from corrinit.lab.document.blocks import Table
from corrinit.lab.theory.inputs import KERNEL, Setting
from corrinit.theory import StackMeasurement, measure_stack, variance
from corrinit.theory.samples import Array

DEPTH = 6
TORUS = (8, 8)
_INPUT_CHANNELS = 256
CHANNELS = 64
LEVEL = 0.99
HE = 2 / 9
"""n s² of He's scale for 3×3 kernels."""

INDEPENDENT = SpatialCorrelation.identity(KERNEL)
ALIKE = SpatialCorrelation(np.ones((9, 9)), KERNEL)


@dataclass(frozen=True, eq=False)
class Case:
    """One cell of Table 1 at He's scale: E[y_l²] / E[y_1²] by layer, shape (depth,) each.

    Args:
        name: A, B, C or D.
        weights: how correlated: "perfectly" or "not".
        inputs: likewise.
        printed_table: Table 1 as printed, relative to Var[y_1].
        printed_equation: Eqs. (14) and (16).
        algebra: the recursion of `corrinit.theory.variance`.
        measured: mean over random networks.
        half_width: of its confidence interval of level 0.99.
    """

    name: str
    weights: str
    inputs: str
    printed_table: Array
    printed_equation: Array
    algebra: Array
    measured: Array
    half_width: Array


def cases(networks: int = 120) -> tuple[Case, ...]:
    """The four cases, 3×3 kernels, networks of 64 channels."""
    perfect, none = "perfectly", "not"
    identical, independent = variance.identical_field(TORUS), variance.independent_field(TORUS)
    cells = (
        ("A", perfect, perfect, ALIKE, identical),
        ("B", none, perfect, INDEPENDENT, identical),
        ("C", perfect, none, ALIKE, independent),
        ("D", none, none, INDEPENDENT, independent),
    )
    results = []
    for seed, (name, weights, inputs, correlation, field) in enumerate(cells):
        generator = torch.Generator().manual_seed(seed)
        pixels = (1, 1) if field is identical else TORUS
        images = torch.randn(2, _INPUT_CHANNELS, *pixels, generator=generator)
        measured = measure_stack(
            images.expand(-1, -1, *TORUS).contiguous(),
            correlation,
            channels=CHANNELS,
            depth=DEPTH,
            std=(HE / CHANNELS) ** 0.5,
            networks=networks,
            seed=seed,
        )
        ratio, error = measured.relative_moments()
        both = name == "A"
        results.append(
            Case(
                name,
                weights,
                inputs,
                variance.printed_moments(9, DEPTH, HE, correlated=both, as_table=True),
                variance.printed_moments(9, DEPTH, HE, correlated=both),
                variance.output_moments(variance.propagate(field, correlation, DEPTH), HE),
                ratio,
                float(stats.t.ppf((1 + LEVEL) / 2, networks - 1)) * error,
            )
        )
    return tuple(results)


def number(value: float) -> str:
    """Three significant digits, without exponents for large values."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cases_table(results: tuple[Case, ...], layer: int = DEPTH) -> Table:
    """Table 1, side by side."""
    rows = [
        (
            f"({case.name})",
            case.inputs,
            case.weights,
            number(case.printed_table[layer - 1]),
            number(case.printed_equation[layer - 1]),
            number(case.algebra[layer - 1]),
            f"{number(case.measured[layer - 1])} ± {number(case.half_width[layer - 1])}",
        )
        for case in results
    ]
    return Table(
        f"Table 1 at layer {layer}: variance relative to the first layer, k = 3, He's scale",
        (
            "case",
            "inputs correlated",
            "weights correlated",
            "Table 1",
            "Eqs. (14), (16)",
            "algebra",
            "random networks",
        ),
        tuple(rows),
        f"E[y_l²] / E[y_1²]. Networks of {CHANNELS} channels with circular padding; ± is the half-width of "
        f"the {LEVEL:.0%} confidence interval of the mean.",
    )


def between_table(setting: Setting) -> Table:
    """⟨R, M⟩ by layer for weights and inputs between the extremes."""
    weights = {"independent": INDEPENDENT, "mean 0.26": setting.correlation, "all equal": ALIKE}
    fields = {
        "independent pixels": variance.independent_field((16, 16)),
        "exponential, ℓ = 1": variance.exponential_field((16, 16), 1.0),
        "exponential, ℓ = 4": variance.exponential_field((16, 16), 4.0),
        f"{setting.name}, standardized": variance.measured_field(setting.images),
        "identical pixels": variance.identical_field((16, 16)),
    }
    rows = []
    for inputs, field in fields.items():
        for name, correlation in weights.items():
            layers = variance.propagate(field, correlation, DEPTH)
            rows.append(
                (
                    inputs,
                    name,
                    *(f"{layers[i].amplification:.2f}" for i in (0, 1, 2, DEPTH - 1)),
                    *(f"{layers[i].inputs.mean:.2f}" for i in (1, DEPTH - 1)),
                )
            )
    return Table(
        "Between the cases: ⟨R, M⟩ and the correlation of the inputs, by layer",
        (
            "inputs",
            "weights",
            "⟨R, M⟩, layer 1",
            "layer 2",
            "layer 3",
            f"layer {DEPTH}",
            "mean of M, layer 2",
            f"mean of M, layer {DEPTH}",
        ),
        tuple(rows),
        "Algebra, limit of wide layers. ⟨R, M⟩ = 9 is He's assumption, ΣR (27.72 at mean 0.26, 81 for "
        "equal taps) the paper's.",
    )


@dataclass(frozen=True, eq=False)
class RealImages:
    """The signal of real images through correlated layers.

    Args:
        predicted: from the mean second moments of the images, by algebra.
        amplification: ⟨R, M⟩ with M measured in random networks, shape (depth,).
        correlation: mean of that M, shape (depth,).
        he: E[y_l²] / 2E[x²] at He's scale, shape (depth,).
        paper: the same at the paper's scale.
        kept: the same at the predicted scale of each layer.
    """

    predicted: tuple[variance.LayerSignal, ...]
    amplification: Array
    correlation: Array
    he: Array
    paper: Array
    kept: Array


def real_images(setting: Setting, networks: int = 12) -> RealImages:
    """Real images, correlated weights of mean 0.26: which scale keeps the signal at which depth."""
    correlation = setting.correlation
    predicted = variance.propagate(variance.measured_field(setting.images), correlation, DEPTH)
    images = torch.tensor(setting.images[:32], dtype=torch.float32)
    widths = [images.shape[1]] + [CHANNELS] * (DEPTH - 1)

    def measure(stds: list[float]) -> StackMeasurement:
        return measure_stack(
            images, correlation, channels=CHANNELS, depth=DEPTH, std=stds, networks=networks, seed=7
        )

    power = 2 * float(images.square().mean())
    he, paper = ([(growth / n) ** 0.5 for n in widths] for growth in (HE, 2 / correlation.matrix.sum()))
    kept = [layer.keeping_scale(n) for layer, n in zip(predicted, widths, strict=True)]
    measured = [measure(stds) for stds in (he, paper, kept)]
    inside = [variance.patch_correlation(field, KERNEL) for field in measured[0].input_fields]
    signals = [part.second_moments.mean(axis=0) / power for part in measured]
    return RealImages(
        predicted,
        np.array([correlation.inner(m) for m in inside]),
        np.array([m.mean for m in inside]),
        *signals,
    )


def real_images_table(setting: Setting, result: RealImages) -> Table:
    """Which scale keeps the signal of real images, layer by layer."""
    rows = [
        (
            str(i + 1),
            f"{layer.inputs.mean:.2f}",
            f"{result.correlation[i]:.2f}",
            f"{layer.amplification:.2f}",
            f"{result.amplification[i]:.2f}",
            f"{layer.keeping_scale(1):.3f}",
            f"{result.he[i]:.3g}",
            f"{result.paper[i]:.3g}",
            f"{result.kept[i]:.3g}",
        )
        for i, layer in enumerate(result.predicted)
    ]
    return Table(
        f"The scale that keeps the signal of {setting.name} images, correlated weights of mean 0.26",
        (
            "layer",
            "mean of M: algebra",
            "mean of M: measured",
            "⟨R, M⟩: algebra",
            "⟨R, M⟩: measured",
            "s √n that keeps",
            "signal at He's scale",
            "at the paper's",
            "at s of this table",
        ),
        tuple(rows),
        "Signal: E[y²] / 2E[x²] of the images, 1 where it is kept; mean over random networks. He's scale "
        f"has s √n = {np.sqrt(HE):.3f} in every layer, the paper's "
        f"{np.sqrt(2 / setting.correlation.matrix.sum()):.3f}.",
    )
