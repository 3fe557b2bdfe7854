"""The evidence for the errata of Section 3, a single filter."""

from __future__ import annotations

import numpy as np

from corrinit.lab.document.blocks import Table
from corrinit.lab.theory import assumptions as loosened
from corrinit.lab.theory import few_samples as reach
from corrinit.lab.theory import many_samples as descents
from corrinit.lab.theory.inputs import Setting, gaussian
from corrinit.theory import Samples, descend, dynamics

D = np.array([0.0, 0.5])
RATE = 0.1


def equation_4(_: Setting) -> tuple[Table, ...]:
    """One update of w_1 four ways."""
    samples = Samples.symmetric(D)
    rows = []
    for start in ([0.5, 0.2], [1.0, 0.2], [1.0, -0.2], [0.5, 0.0]):
        w0, w1 = start
        exact = descend(samples, [start], RATE, 1).weights[1, 0, 0, 1]
        ninth = w1 - 2 * RATE * (2 * (1 - w0) + w1 * D[1]) * D[1]
        ways = (
            exact,
            dynamics.theorem_update(start, D, RATE)[1],
            ninth,
            dynamics.printed_update(start, D, RATE)[1],
        )
        rows.append((f"({w0:g}, {w1:g})", *(f"{way:.4f}" for way in ways)))
    return (
        Table(
            "w_1 after one update, d = (0, 0.5), λ = 0.1",
            ("start w", "exact gradient", "corrected Eq. (4)", "Eq. (9) in Eq. (1)", "Eq. (4) as printed"),
            tuple(rows),
        ),
    )


def equation_9(_: Setting) -> tuple[Table, ...]:
    """The sum of gradients, the line printed above Eq. (9), and Eq. (9)."""
    samples = Samples.symmetric(D).inputs[0]
    w, d = np.array([0.5, 0.2]), D[1]
    residuals = (np.array([1.0, 0.0]) - w) @ samples.T
    exact = 2 * (residuals * samples[:, 1]).sum()
    half = len(samples) / 2
    above = 2 * half * (2 * (1 - w[0]) + w[1] * d) * -d + 2 * half * (2 * (1 - w[0]) - w[1] * d) * d
    ninth = -2 * len(samples) * (2 * (1 - w[0]) + w[1] * d) * d
    right = -2 * len(samples) * w[1] * d**2
    return (
        Table(
            "Negative gradient of w_1, summed over the 4 samples, at w = (0.5, 0.2)",
            ("exact", "the line above Eq. (9)", "Eq. (9)", "−2|S| w_i d_i²"),
            (tuple(f"{value:.4f}" for value in (exact, above, ninth, right)),),
        ),
    )


def positive_coordinates(_: Setting) -> tuple[Table, ...]:
    """How many of the theorem's samples have a negative coordinate."""
    rows = []
    for p in (2, 4, 9):
        inputs = Samples.symmetric([0.0] + [0.1] * (p - 1)).inputs[0]
        rows.append((str(p), str(len(inputs)), f"{(inputs < 0).any(axis=1).mean():.3f}"))
    return (
        Table("Samples of Theorem 3.1", ("p", "samples", "share with a negative coordinate"), tuple(rows)),
    )


def small_distances(_: Setting) -> tuple[Table, ...]:
    """Correlation of the two taps of the theorem's samples, with w* along (1, 1)."""
    turn = np.array([[1.0, -1.0], [1.0, 1.0]]) / np.sqrt(2)
    rows = []
    for d in ((0.0, 0.1), (0.1, 0.1), (0.5, 0.1), (0.0, 0.5)):
        taps = Samples.symmetric(d).inputs[0] @ turn.T
        moment = (taps[:, 0] * taps[:, 1]).mean() / np.square(taps).mean()
        rows.append((f"{d[0]:g}", f"{d[1]:g}", f"{np.corrcoef(taps.T)[0, 1]:.3f}", f"{moment:.3f}"))
    return (
        Table(
            "Two taps, w* along (1, 1)",
            ("d_0", "d_1", "correlation of the taps", "second-moment correlation"),
            tuple(rows),
        ),
    )


def convexity(setting: Setting) -> tuple[Table, ...]:
    """The loss of one filter on one sample X = 1, w* = 1, and the starts that never train."""
    loss = {w: (1 - max(w, 0.0)) ** 2 for w in (-1.0, 0.0, 1.0)}
    rows = (
        *((f"L(w = {w:g})", f"{value:g}") for w, value in loss.items()),
        ("mean of L(−1) and L(1); a convex L(0) is at most this", f"{(loss[-1.0] + loss[1.0]) / 2:g}"),
    )
    return Table("One weight, one sample", ("quantity", "value"), rows), reach.dead_table(setting)


def initially_active(_: Setting) -> tuple[Table, ...]:
    """A start that is active on all samples and does not stay so."""
    samples, start, rate = Samples.symmetric(D), np.array([4.0, 6.0]), 0.2
    run = descend(samples, start[None], rate, 40)
    closed = dynamics.weights_after(samples.second_moment[0], start, samples.optima[0], rate, run.steps)
    rows = []
    for t in (0, 2, 5, 10, 40):
        real, formula = (", ".join(f"{x:.3f}" for x in w) for w in (run.weights[t, 0, 0], closed[t]))
        rows.append((str(t), f"{run.active[t, 0, 0]} of 4", f"({real})", f"({formula})"))
    return (
        Table(
            "From w(0) = (4, 6), d = (0, 0.5), λ = 0.2",
            ("updates", "active", "simulated w", "corrected theorem"),
            tuple(rows),
        ),
    )


def non_negative(setting: Setting) -> tuple[Table, ...]:
    """Filters that are active on all of eight real patches and have a negative tap all the same."""
    rng = np.random.default_rng(51)
    chosen = setting.patches[rng.integers(0, len(setting.patches), (500, 8))]
    rows = []
    for name, covariance in list(reach.covariances(setting).items())[:2]:
        weights = gaussian(rng, covariance, (500, 40))
        active = (weights @ chosen.swapaxes(1, 2) > 0).all(axis=-1)
        rows.append((name, f"{active.mean():.3f}", f"{(weights[active] < 0).any(axis=-1).mean():.3f}"))
    return (
        Table(
            "Filters and sets of 8 real patches",
            ("filter", "active on all 8", "of these, with a negative tap"),
            tuple(rows),
        ),
    )


def fast_dimensions(setting: Setting) -> tuple[Table, ...]:
    """How long the length of w along w* takes, if w* is not where the samples are."""
    spectrum = descents.spectrum(setting)
    halving = spectrum.halving(spectrum.values)
    rows = [
        (name, f"{spectrum.values[i] / spectrum.values[0]:.3f}", f"{max(halving[i], 1):.0f}")
        for name, i in (
            ("the mean direction of the patches", 0),
            ("the fastest edge", 1),
            ("the roughest filter", 8),
        )
    ]
    return (
        Table(
            "Real patches, λ at half its limit",
            ("w* is", "h / h_max along w*", "updates to halve the gap along w*"),
            tuple(rows),
        ),
    )


def asymmetry(_: Setting) -> tuple[Table, ...]:
    """Samples that lean to one side, and samples drawn at random."""
    return loosened.leaning_table(), loosened.random_sets_table()


def noise(_: Setting) -> tuple[Table, ...]:
    """What noise in y does to the limit, by direction."""
    return (loosened.noise_table(),)


def active_share(_: Setting) -> tuple[Table, ...]:
    """Updates and convergence by the share of active samples, in a concentrated set and in a spread one."""
    return loosened.active_table(0.1), loosened.active_table(0.5)


def zigzag(setting: Setting) -> tuple[Table, ...]:
    """Gradient sign changes by start."""
    return (loosened.zigzag_table(setting),)


def prior(setting: Setting) -> tuple[Table, ...]:
    """The advantage of a correlated start for smooth and for rough optima."""
    smooth, rough = loosened.prior_cancels(setting)
    return (
        Table(
            "E‖w(∞) − w*‖², independent less correlated start of equal scale, 4 real patches",
            ("w* correlated as R", "w* with independent taps"),
            ((f"{smooth:.4f}", f"{rough:.4f}"),),
        ),
    )


def generalization(setting: Setting) -> tuple[Table, ...]:
    """The 2×2 of starts, distance and error on unseen patches."""
    return (reach.reach_table(reach.reach(setting, sets=500)),)
