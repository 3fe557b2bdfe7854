"""The assumptions of Theorem 3.1, loosened one by one and measured."""

from __future__ import annotations

import numpy as np

from corrinit.lab.document.blocks import Table
from corrinit.lab.theory.few_samples import covariances
from corrinit.lab.theory.inputs import Setting, gaussian, normalized
from corrinit.theory import Samples, descend, dynamics, second_moment, stability_limit
from corrinit.theory.samples import Array


def slowest(moment: Array) -> Array:
    """The smallest eigenvalue of H: the rate of the slowest direction, shape (...)."""
    return np.linalg.eigvalsh(moment).astype(np.float64)[..., 0]


def leaning_table(distance: float = 0.5) -> Table:
    """Assumption 2: samples that lean to one side of w*, each input as large as before."""
    symmetric = Samples.symmetric([0.0, distance])
    start = [[0.6, 0.3]]
    rows = []
    for copies in (1, 2, 4, 9, 99):
        samples = symmetric.leaning(copies)
        descent = descend(samples, start, 0.25, 3000)
        gap = descent.distances[:, 0, 0]
        share = copies / (copies + 1)
        rows.append(
            (
                f"{share:.2f}",
                f"{slowest(samples.second_moment)[0] / slowest(symmetric.second_moment)[0]:.3f}",
                f"{4 * share * (1 - share):.3f}",
                str(int((gap < 0.01).argmax())),
            )
        )
    return Table(
        "Assumption 2: samples that lean to one side",
        (
            "share on one side, π",
            "slowest rate ÷ symmetric",
            "4π(1 − π), for small d",
            "updates to ‖w − w*‖ < 0.01",
        ),
        tuple(rows),
        f"p = 2, d = (0, {distance}): only the number of samples on either side changes. The slowest "
        "direction always becomes slower: the eigenvalues of H spread beyond its diagonal (Schur 1923).",
    )


def random_sets_table(dimensions: int = 4, distance: float = 0.5, sets: int = 4000) -> Table:
    """Assumption 2: as many samples as before, but drawn at random from the symmetric ones."""
    rng = np.random.default_rng(41)
    symmetric = Samples.symmetric([0.0] + [distance] * (dimensions - 1))
    rows = []
    for n in (16, 64, 256):
        drawn = second_moment(symmetric.inputs[0][rng.integers(0, 2**dimensions, (sets, n))])
        ratio = slowest(drawn) / slowest(symmetric.second_moment)[0]
        low, middle, high = np.quantile(ratio, (0.05, 0.5, 0.95))
        rows.append((str(n), f"{middle:.2f}", f"{low:.2f} to {high:.2f}", f"{(ratio > 1 + 1e-9).mean():.3f}"))
    return Table(
        "Assumption 2: samples drawn at random from the symmetric set",
        ("samples", "slowest rate ÷ symmetric, median", "5 % to 95 %", "share of sets that are faster"),
        tuple(rows),
        f"p = {dimensions}, d_0 = 0, d_i = {distance}. The slowest direction decides when the filter has "
        "converged.",
    )


def noise_table(deviation: float = 0.1, repeats: int = 1000) -> Table:
    """Assumption 3: targets with noise of standard deviation σ."""
    rng = np.random.default_rng(42)
    d = np.array([0.0, 0.5, 0.2, 0.1])
    clean = Samples.symmetric(d)
    _, n, p = clean.shape
    many = Samples.noiseless(np.repeat(clean.inputs, repeats, axis=0), clean.optima)
    noisy = many.plus(deviation * rng.normal(size=(repeats, n)))
    descent = descend(noisy, clean.optima, 0.4, 1500, every=1500)
    kept = descent.always_active[:, 0]
    gaps = np.square(descent.weights[-1, kept, 0] - clean.optima).mean(axis=0)
    rates = np.diag(clean.second_moment[0])
    rows = [
        (
            str(i),
            f"{rates[i]:.3g}",
            f"{np.sqrt(deviation**2 / (n * rates[i])):.3f}",
            f"{np.sqrt(gaps[i]):.3f}",
        )
        for i in range(p)
    ]
    return Table(
        f"Assumption 3: noise of standard deviation {deviation} in y",
        ("direction", "h", "σ / √(n h)", "measured deviation of w(∞)"),
        tuple(rows),
        f"{n} samples, {kept.sum()} of {repeats} filters always active. The speed of every direction is "
        "unchanged; the point it converges to moves, most in the slow directions: noise does not cancel "
        "there.",
    )


def active_table(distance: float, starts: int = 5000, updates: int = 400) -> Table:
    """Assumption 4: random starts by the share of samples that are active at first."""
    rng = np.random.default_rng(43)
    samples = Samples.symmetric([distance / 2, distance, distance, distance])
    _, n, p = samples.shape
    weights = rng.normal(size=(starts, p))
    descent = descend(samples, weights, 0.25 * stability_limit(samples), updates, every=2)
    inputs, active = samples.inputs[0], descent.active[0, 0]
    outputs = weights @ inputs.T
    pulls = samples.targets[0] - outputs
    whole, part = pulls @ inputs, (pulls * (outputs > 0)) @ inputs
    ratio = np.linalg.norm(part, axis=1) / np.linalg.norm(whole, axis=1)
    halved = descent.distances[:, 0] < descent.distances[0, 0] / 2
    when = np.where(halved.any(axis=0), descent.steps[halved.argmax(axis=0)], np.inf)
    rows = []
    for low, high in ((0, 0), (1, 4), (5, 8), (9, 12), (13, 15), (16, 16)):
        chosen = (active >= low) & (active <= high)
        median = np.median(when[chosen])
        rows.append(
            (
                str(low) if low == high else f"{low} to {high}",
                f"{chosen.mean():.2f}",
                f"{active[chosen].mean() / n:.2f}",
                f"{np.median(ratio[chosen]):.2f}",
                "∞" if np.isinf(median) else f"{median:.0f}",
                f"{descent.dead[0, chosen].mean():.2f}",
            )
        )
    return Table(
        f"Assumption 4: samples active at the start, d_i = {distance:g}, d_0 = {distance / 2:g}",
        (
            f"active of {n}",
            "share of starts",
            "|S_A| / |S|",
            "first update ÷ all active, median",
            "updates to halve ‖w − w*‖, median",
            "dead",
        ),
        tuple(rows),
        "Random starts. First update: its length, relative to that with all samples active.",
    )


def zigzag_table(setting: Setting, starts: int = 1500, samples: int = 32, updates: int = 20) -> Table:
    """Gradient sign changes of ReLU filters on real patches, by start, learning rate and order of samples."""
    rng = np.random.default_rng(44)
    inputs = normalized(setting.patches[rng.integers(0, len(setting.patches), (1, samples))])
    optima = gaussian(rng, setting.correlation.matrix, (starts,))
    linear = Samples.noiseless(inputs, optima)
    teacher = Samples(linear.inputs, linear.targets.clip(min=0), optima)
    covariance = covariances(setting)
    names = list(covariance)
    weights = np.stack([gaussian(rng, covariance[name], (starts,)) for name in names], axis=1)
    rows = []
    for order in ("batch", "cyclic"):
        limit = stability_limit(teacher, order)
        for fraction in (0.1, 0.45, 0.7, 0.95):
            descent = descend(teacher, weights, fraction * limit, updates, order=order)
            alive = ~descent.dead
            means = [descent.sign_changes[:, alive[:, i], i].mean(axis=0) for i in range(len(names))]
            cells = [f"{m.mean():.4f} ± {2 * m.std() / np.sqrt(len(m)):.4f}" for m in means]
            rows.append((order, f"{fraction:g}", *cells))
    return Table(
        f"Gradient sign changes in the first {updates} updates, filters that are not dead",
        ("samples", "λ ÷ its limit", *names),
        tuple(rows),
        f"{samples} real patches, {starts} teachers; mean over filters ± 2 standard errors. Batch: all "
        "samples in each update, as in Eq. (1); cyclic: one sample after the other.",
    )


def prior_cancels(setting: Setting, n: int = 4) -> tuple[float, float]:
    """E‖w(∞) − w*‖² of the independent less the correlated start, for smooth and for rough optima."""
    sets = setting.sample_sets(500, n, np.random.default_rng(45))
    moments, matrix = second_moment(sets), setting.correlation.matrix
    smooth, rough = (
        float(
            (
                dynamics.expected_error(moments, np.eye(9) + prior, 0.5)
                - dynamics.expected_error(moments, matrix + prior, 0.5)
            ).mean()
        )
        for prior in (matrix, np.eye(9))
    )
    return smooth, rough
