"""Errata of Sections 4 and 5, the signal through layers and Algorithm 1."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from corrinit._correlation import SpatialCorrelation
from corrinit.kernels import exponential, tap_offsets
from corrinit.lab.document.blocks import Table
from corrinit.lab.theory import layers as signal
from corrinit.lab.theory.errata import Erratum
from corrinit.lab.theory.inputs import KERNEL, Setting, gaussian
from corrinit.theory import measure_stack, variance


@cache
def _cases() -> tuple[signal.Case, ...]:
    return signal.cases(networks=60)


def table_1(_: Setting) -> tuple[Table, ...]:
    """All four cases at layers 3 and 6."""
    return signal.cases_table(_cases(), 3), signal.cases_table(_cases())


def case_c(_: Setting) -> tuple[Table, ...]:
    """Perfectly correlated weights, uncorrelated inputs, layer by layer."""
    case = _cases()[2]
    layers = variance.propagate(variance.independent_field(signal.TORUS), signal.ALIKE, signal.DEPTH)
    mean_only = 9 + 72 / np.pi
    rows = [
        (
            str(i + 1),
            "9",
            f"{mean_only if i else 9:.2f}",
            f"{layer.amplification:.2f}",
            f"{layer.inputs.mean:.2f}",
            f"{signal.number(case.measured[i])} ± {signal.number(case.half_width[i])}",
            signal.number(case.algebra[i]),
        )
        for i, layer in enumerate(layers)
    ]
    return (
        Table(
            "Case (C), k = 3: amplification ⟨R, M⟩ of each layer",
            (
                "layer",
                "paper",
                "ReLU mean alone",
                "algebra",
                "mean of M",
                "E[y_l²]/E[y_1²], random networks",
                "algebra of that",
            ),
            tuple(rows),
        ),
    )


def equation_14(_: Setting) -> tuple[Table, ...]:
    """Growth per layer at He's scale, measured, beside k² and k⁴ and the factor between (13) and (15)."""
    correlated, uncorrelated = _cases()[0], _cases()[1]
    growth = [case.measured[1] / case.measured[0] for case in (correlated, uncorrelated)]
    return (
        Table(
            "From layer 1 to layer 2 at He's scale, k = 3",
            ("quantity", "as printed", "right", "measured"),
            (
                (
                    "case (A), first line of Eq. (14)",
                    "k²/2 · 2/k² = 1",
                    "k⁴/2 · 2/k² = 9",
                    f"{growth[0]:.2f}",
                ),
                ("Eq. (13) ÷ Eq. (15)", "k = 3", "k² = 9", f"{growth[0] / growth[1]:.2f}"),
                (
                    "Eqs. (14), (16) at l = 1",
                    "growth to the power 1",
                    "growth to the power 0",
                    f"{correlated.measured[0]:g}",
                ),
            ),
        ),
    )


def variance_range(setting: Setting) -> tuple[Table, ...]:
    """2/⟨R, M⟩ for weights with negative correlations on real images."""
    parity = tap_offsets(KERNEL).sum(axis=1)
    alternating = (-1.0) ** (parity[:, None] - parity[None, :])
    weights = {
        "independent": signal.INDEPENDENT,
        "mean 0.26": setting.correlation,
        "alternating signs": SpatialCorrelation(exponential(KERNEL, length_scale=2.0) * alternating),
    }
    inputs = variance.patch_correlation(variance.measured_field(setting.images), KERNEL)
    rows = [
        (name, f"{R.mean:.2f}", f"{R.inner(inputs):.2f}", f"{2 / R.inner(inputs):.3f}", "0.025 to 0.222")
        for name, R in weights.items()
    ]
    return (
        Table(
            f"The variance that keeps the signal of {setting.name} images, one channel, k = 3",
            ("weights", "mean of R", "⟨R, M⟩", "2/⟨R, M⟩", "[2/k⁴, 2/k²]"),
            tuple(rows),
        ),
    )


def algorithm_1(setting: Setting) -> tuple[Table, ...]:
    """Algorithm 1 taken at its word."""
    rng = np.random.default_rng(61)
    drawn = gaussian(rng, setting.correlation.matrix, (100_000,))
    sums = drawn.sum(axis=1)
    try:
        np.matmul(setting.correlation.root, rng.normal(size=KERNEL))
        product = "works"
    except ValueError:
        product = "is not defined"
    images = torch.ones(2, signal.CHANNELS, 5, 5)
    scale = (1 / (signal.CHANNELS * setting.correlation.matrix.sum())) ** 0.5
    signals = [
        measure_stack(
            images,
            setting.correlation,
            channels=signal.CHANNELS,
            depth=signal.DEPTH,
            std=gain * scale,
            networks=100,
            seed=9,
        ).second_moments.mean(axis=0)[-1]
        / gain**2
        for gain in (1.0, 2**0.5)
    ]
    return (
        Table(
            "Algorithm 1 at its word, 3×3, R of mean 0.26",
            ("step", "what it says", "measured"),
            (
                ("2, 3", "C (9×9) times a 3×3 matrix", product),
                ("4, 5", "filters for which “Var” is negative, so that the scale is not a number",
                 f"{(sums < 0).mean():.3f}"),
                ("4, 5", "the scale of filters where it is a number, 5 % to 95 % quantile, ÷ √(1/ΣR)",
                 " to ".join(f"{q:.2f}" for q in np.sqrt(setting.correlation.matrix.sum())
                             / np.sqrt(np.quantile(sums[sums > 0], (0.95, 0.05))))),
                ("5", f"signal in layer {signal.DEPTH}, identical inputs, no gain √2", f"{signals[0]:.3f}"),
                ("5", f"signal in layer {signal.DEPTH}, identical inputs, gain √2", f"{signals[1]:.3f}"),
            ),
            "Signal: E[y²]/g² in units of the input, so that He's gain g = √2 keeps it at 1.",
        ),
    )  # fmt: skip


def slips(_: Setting) -> tuple[Table, ...]:
    """Misprints that change nothing, and conditions that are not said."""
    return (
        Table(
            "Misprints",
            ("place", "printed", "meant"),
            (
                ("before Eq. (6)", "a_0 = 1 + d_0", "X_0 = 1 + d_0, that is a_0 = d_0"),
                ("after Eq. (6)", "a_(d−1)", "a_(p−1)"),
                ("Eqs. (7) to (9), left side", "−∇ f(X, w)", "−Σ ∇ f(X, w), the sum over S"),
                (
                    "before Eq. (9)",
                    "samples of S_(+,i) with X_i = −d_i",
                    "X_i = +d_i; both halves are summed",
                ),
                ("Eq. (11)", "Var(aX) = a² X", "Var(aX) = a² Var(X)"),
                ("after Eq. (13)", "x_(i−1,j) has zero mean and is symmetric", "y_(i−1,j)"),
                ("Section 4", "x_l = f(y_(l−1)), y_l = W_l x_l", "y_(l+1) = W_l x_l, as in Eq. (13)"),
            ),
        ),
        Table(
            "Conditions left out",
            ("place", "said", "holds"),
            (
                (
                    "Section 3.1",
                    "the weights do not impact direction at all",
                    "true of one sample; the sum over several weighs them by their errors, which depend on w",
                ),
                (
                    "Section 3.1, d_0 = 1",
                    "all samples are active",
                    "half of them have X_0 = 0 and lie at w*·X = 0, the border of being active",
                ),
                (
                    "Section 3.1, assumption 1",
                    "inputs symmetric about their mean",
                    "after ReLU inputs are not negative, and many are 0",
                ),
                (
                    "Section 4",
                    "perfectly correlated inputs stay so in every layer",
                    "needs circular or no padding; zeros around the map reach its borders layer by layer",
                ),
                (
                    "Conclusions",
                    "larger variance in updates",
                    "derived is the variance of outputs",
                ),
            ),
        ),
    )


LAYER_ERRATA = (
    Erratum(
        "table-1",
        "Table 1",
        "wrong",
        "(A) η k^(2l); (B), (C), (D) η k^l, with η = Var[y_1] (Var[w]/2)^l",
        "(A) Var[y_1] (k⁴ Var[w]/2)^(l−1); (B), (D) Var[y_1] (k² Var[w]/2)^(l−1)",
        "Eqs. (14) and (16) have k⁴ and k² per layer; the table halves the exponents. Starting from "
        "Var[y_1], l − 1 layers follow, not l.",
        "As printed, case (D) at He's scale would shrink by k in every layer, against He. “The squared "
        "value” holds for the factor k^(2l), not for the variance.",
        table_1,
    ),
    Erratum(
        "case-c",
        "Table 1, case (C)",
        "wrong",
        "Uncorrelated inputs, perfectly correlated weights: k² per layer, as in (B) and (D).",
        "k² in the first layer only; then ⟨R, M⟩ with M from ReLU outputs, which rises layer by layer to k⁴.",
        "ReLU outputs have a mean, E[x]²/E[x²] = 1/π, so the cross terms E[x_t x_t′] E[w_t w_t′] do not "
        "vanish. And correlated weights correlate neighbouring outputs, whose patches overlap.",
        "Correlated weights raise the variance whatever the inputs are: (C) becomes (A) with depth. That "
        "the scale must be smaller holds more widely than the paper says.",
        case_c,
    ),
    Erratum(
        "equation-14",
        "Eqs. (14), (16) and the text after (15)",
        "misprint",
        "Var[y_(i+1)] = k² E[x²] E[w²]; the only difference is the factor k; exponent l",
        "k⁴ E[x²] E[w²]; the factor is k²; exponent l − 1",
        "Eq. (13) has k⁴ and Eq. (15) k²; a product from y_1 to y_l has l − 1 factors.",
        "None beyond Table 1.",
        equation_14,
    ),
    Erratum(
        "variance-range",
        "Section 4, first paragraph",
        "needs a condition",
        "The variance of a weight should lie in [2/k⁴, 2/k²].",
        "Var[w] = 2/(n_in ⟨R, M⟩). For one channel that interval holds if R and M have no negative entries.",
        "⟨R, M⟩ can fall below k², to 0, where filters cancel what their inputs share. The paper itself "
        "reports 20 % to 50 % negative correlations. He's value has the number of channels, 2/(n_in k²).",
        "For filters whose neighbouring taps have opposite signs the variance must be larger than He's, "
        "not smaller.",
        variance_range,
    ),
    Erratum(
        "algorithm-1",
        "Algorithm 1",
        "wrong",
        "S_unCorr is k×k; Var(S_corr) = Σ S_corr; S_sca = 1/√(Var n_in); return S_sca",
        "z ~ N(0, I) with k² entries; w = √(2 / (n_in ΣR)) C z; return w",
        "C is k²×k². “Var” is the sum of one random sample, negative half of the time; the text before it "
        "(Eq. 17) means the expectation ΣR. The scale alone is returned. He's gain √2 is missing, though "
        "He's scaling is announced.",
        "The experiments must have used something else. Without the gain, each layer halves the signal; "
        "with batch normalization that is a larger effective learning rate.",
        algorithm_1,
    ),
    Erratum(
        "slips",
        "Sections 3 and 4",
        "misprint",
        "Seven slips of notation, and five statements that lack a condition, below.",
        "As listed.",
        "Read in context.",
        "None.",
        slips,
    ),
)
