"""What the theory page says: sections of text, figures and tables, computed in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from matplotlib.figure import Figure as Plot

from corrinit.lab.document.blocks import Figure, Section, Table, figure_svg
from corrinit.lab.theory import assumptions as loosened
from corrinit.lab.theory import few_samples as reach
from corrinit.lab.theory import layers as signal
from corrinit.lab.theory import many_samples as descent
from corrinit.lab.theory import plots
from corrinit.lab.theory.errata import Erratum
from corrinit.lab.theory.filter_errata import FILTER_ERRATA
from corrinit.lab.theory.inputs import Setting
from corrinit.lab.theory.layer_errata import LAYER_ERRATA

ERRATA: tuple[Erratum, ...] = (*FILTER_ERRATA, *LAYER_ERRATA)


@dataclass(frozen=True)
class Contents:
    """Part of the theory page.

    Args:
        sections: of the page.
        plots: the drawings by file name, for export.
        tables: the tables by name, for the documents.
    """

    sections: tuple[Section, ...]
    plots: dict[str, Plot] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def __add__(self, other: Contents) -> Contents:
        return Contents(self.sections + other.sections, self.plots | other.plots, self.tables | other.tables)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: for tensors as small as these, a second costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def single_filter(setting: Setting) -> Contents:
    """Section 3 of the paper: Figures 2 and 3, and the assumptions loosened."""
    within_reach, spectrum, time = reach.reach(setting), descent.spectrum(setting), descent.over_time(setting)
    drawn = {
        "figure-2": plots.reach_figure(within_reach, reach.simulated_distances(setting)),
        "figure-3": plots.two_weights_figure(descent.two_weights()),
        "figure-3-patches": plots.patches_figure(spectrum, time),
    }
    tables = {
        "reach": reach.reach_table(within_reach),
        "kinds": reach.kinds_table(setting),
        "rectified": reach.rectified_table([reach.rectified(setting, n) for n in (1, 4, 8, 32)]),
        "dead": reach.dead_table(setting),
        "spectrum": descent.spectrum_table(spectrum),
        "over-time": descent.over_time_table(time),
        "leaning": loosened.leaning_table(),
        "random-sets": loosened.random_sets_table(),
        "noise": loosened.noise_table(),
        "active-concentrated": loosened.active_table(0.1),
        "active-spread": loosened.active_table(0.5),
        "zig-zag": loosened.zigzag_table(setting),
    }
    few = Section(
        "Fewer samples than weights",
        (
            "Gradient descent moves a filter only within w(0) + span(X): it ends at the projection of w(0) "
            "on the filters that fit the samples. What is orthogonal to all samples stays as it was drawn. "
            "If w(0) and w* are independent, E‖w(∞) − w*‖² = tr P⊥(S + R): the start's covariance S and "
            "the optimum's R add up, so which start is better does not depend on w*, but on how much of S "
            "the samples cannot reach.",
            f"Real patches, here of {setting.name} with inputs in [0, 1], are smooth, so they reach the "
            "directions in which correlated starts vary most. At equal scale the correlated start ends "
            "nearer to w*. Its error on unseen patches is larger for few samples and smaller for more; and "
            "a smaller start beats both.",
        ),
        (
            Figure(
                "Figure 2: what the samples cannot reach",
                figure_svg(drawn["figure-2"]),
                "Left: with one sample, every start moves along X until w·X = y, wherever w* is. Middle "
                "and right: expected values over random sets of real patches, starts of He's scale; dots "
                "are simulated, ± 2 standard errors.",
            ),
            tables["reach"],
            tables["kinds"],
            tables["rectified"],
            tables["dead"],
        ),
    )
    enough = Section(
        "Enough samples",
        (
            "While all samples are active, w(t) − w* = (I − 2λH)ᵗ (w(0) − w*) with H = E[X Xᵀ]. Theorem "
            "3.1 is the case H = diag(1 + d_0², d_1², …): Eq. (3) is right, Eq. (4) is w_i ← w_i (1 − 2λ "
            "d_i²).",
            "Correlated inputs have one fast direction and many slow ones. A correlated start puts its "
            "error where descent is fast, which is why it gets nearer sooner, whatever w* is.",
        ),
        (
            Figure(
                "Figure 3: two weights, two samples",
                figure_svg(drawn["figure-3"]),
                "Left: tap coordinates, one dot per update, from a start along w* (blue) and one across "
                "(red). Middle: the same, turned so that w* is an axis. Right: the gap of the second start "
                "in either direction; the printed Eq. (4) drives the tap away.",
            ),
            Figure(
                "The same on real patches",
                figure_svg(drawn["figure-3-patches"]),
                "Top: eigenvectors of H of 3×3 patches with h / h_max, fast to slow. Bottom left: the gap "
                "left along each of them at half the largest stable learning rate, dark to light. Middle "
                "and right: expected distance and loss of independent and correlated starts of equal "
                "scale.",
            ),
            tables["spectrum"],
            tables["over-time"],
        ),
    )
    assumptions = Section(
        "The assumptions, loosened",
        ("What becomes of Theorem 3.1 where its assumptions fail, measured.",),
        tuple(
            tables[name]
            for name in (
                "leaning",
                "random-sets",
                "noise",
                "active-concentrated",
                "active-spread",
                "zig-zag",
            )
        ),
    )
    return Contents((few, enough, assumptions), drawn, tables)


def layers(setting: Setting) -> Contents:
    """Section 4 of the paper: Table 1, what lies between its cases, and real images."""
    cases, images = signal.cases(), signal.real_images(setting)
    drawn = {
        "table-1": plots.cases_figure(cases),
        "real-images": plots.real_images_figure(images, float(setting.correlation.matrix.sum())),
    }
    tables = {
        "table-1": signal.cases_table(cases),
        "table-1-layer-2": signal.cases_table(cases, 2),
        "between": signal.between_table(setting),
        "real-images": signal.real_images_table(setting, images),
    }
    section = Section(
        "The signal through layers",
        (
            "E[y²] = n s² ⟨R, M⟩ E[x²], with R the correlation of the taps and M that of the inputs of a "
            "patch. M changes from layer to layer: ReLU outputs have a mean, and correlated taps correlate "
            "neighbouring outputs, whose patches overlap. So case (C) of Table 1 tends to case (A) with "
            "depth.",
            "Of the two scales in use, He's (M = I) makes correlated weights amplify real images layer by "
            "layer; the paper's (M = 1) is nearly right in depth and too small in the first layers.",
        ),
        (
            Figure(
                "Table 1, drawn",
                figure_svg(drawn["table-1"]),
                "Variance relative to the first layer at He's scale, 3×3 kernels, 64 channels; bars are 99 % "
                "confidence intervals, mostly smaller than the dots.",
            ),
            tables["table-1-layer-2"],
            tables["table-1"],
            tables["between"],
            Figure(
                f"{setting.name} images through correlated layers",
                figure_svg(drawn["real-images"]),
                "Correlated weights of mean 0.26. Algebra from the mean second moments of the images, "
                "which takes them as alike everywhere; dots are random networks.",
            ),
            tables["real-images"],
        ),
    )
    return Contents((section,), drawn, tables)


def errata_section() -> Contents:
    """The errata in short; their evidence is computed by `corrinit theory errata`."""
    table = Table(
        "Errata",
        ("place", "kind", "printed", "right", "what it changes", "shown by"),
        tuple((e.place, e.kind, e.printed, e.right, e.consequence, e.command) for e in ERRATA),
    )
    return Contents((Section("Where the paper is wrong", (), (table,)),))
