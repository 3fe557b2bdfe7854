"""Errors of correlations: what is none, fits no kernel, or is not there."""

from __future__ import annotations

from corrinit.errors._base import CorrInitError, Page
from corrinit.errors._settings import ConfigError


class CorrelationError(CorrInitError, ValueError):
    """A parameter of a correlation is out of its range, or unknown."""

    page = Page(
        code="C100",
        why="Kernel sizes are positive whole numbers, length scales are positive and finite, a strength is "
        "at least 0, a mean correlation lies where that many taps can share it.",
        fix="Give a value in the range that the message names.",
        example="""
            kernels.exponential((3, 3), mean=1.5)  # wrong
            kernels.exponential((3, 3), mean=0.3)
        """,
    )


class KernelMismatchError(CorrelationError):
    """A correlation is of another kernel than the one it is used for, or none is given for it."""

    page = Page(
        code="C101",
        why="A kernel of k × k taps has a correlation of k² × k² entries.",
        fix="Resize the correlation, give one for each kernel size, use a closed form, which serves every "
        "size, or say what becomes of the layers without one.",
        example="""
            corrinit.initialize(model, correlation=r)  # wrong, if it has 5×5 kernels and r is of 3×3
            corrinit.initialize(model, correlation=[r, r.resize((5, 5))])
            corrinit.initialize(model, correlation=r, missing="resize")
        """,
    )


class NotPositiveSemidefiniteError(CorrelationError):
    """A matrix has a negative eigenvalue, so that no random numbers have it as their correlation."""

    page = Page(
        code="C102",
        why="The variance of any sum of taps would be negative in some direction. Correlations that were "
        "estimated pair by pair, rounded, typed in or made stronger can be so.",
        fix="Project it to the nearest correlation matrix, which says how far it had to move it.",
        example="""
            SpatialCorrelation(matrix)  # wrong
            SpatialCorrelation.nearest(matrix)
        """,
    )


class NotFiniteError(CorrelationError):
    """A matrix or vector holds NaN or infinite values."""

    page = Page(
        code="C103",
        why="Most often a tap never varies, and its correlation was divided by a deviation of 0; or the "
        "weights come from a training that diverged.",
        fix="Take other weights, or let corrinit.estimate compute the correlation: it flags such taps.",
        example="""
            SpatialCorrelation(np.corrcoef(filters.T))  # wrong, if a tap is constant
            corrinit.estimate("weights.safetensors")
        """,
    )


class NotACorrelationError(CorrelationError):
    """A matrix is no correlation, or a vector holds no deviations of its taps."""

    page = Page(
        code="C104",
        why="A correlation is symmetric, with ones in the diagonal and entries from -1 to 1; deviations are "
        "one for each tap, not negative, and relative: their mean square is 1.",
        fix="Divide a covariance by the deviations, or let SpatialCorrelation do it.",
        example="""
            SpatialCorrelation(np.cov(filters.T))  # wrong
            SpatialCorrelation.from_covariance(np.cov(filters.T))
        """,
    )


class CorrelationFileError(CorrelationError):
    """A file is no correlation file, is damaged, or is not there."""

    page = Page(
        code="C105",
        why="Correlation files are safetensors files with metadata, written by save_correlation and corrinit "
        "estimate. Files of weights are others.",
        fix="Estimate a correlation from weights; write a damaged file again from where it came from.",
        example="""
            $ corrinit show resnet.safetensors                        # what is it?
            $ corrinit estimate resnet.safetensors -o R.safetensors
        """,
    )


class UnknownCorrelationError(CorrelationError):
    """What is given as a correlation names none."""

    page = Page(
        code="C106",
        why="A correlation is a SpatialCorrelation, a preset, a closed form with its parameter, the name of "
        "a correlation file, or a list of these.",
        fix="See which presets there are, and write closed forms as NAME:NUMBER.",
        example="""
            corrinit.initialize(model, correlation="exponential")  # wrong
            corrinit.initialize(model, correlation="exponential:0.3")
            corrinit.list_presets()
        """,
    )


class CancelledSignalError(CorrelationError, ConfigError):
    """Filters with this correlation cancel the inputs, so that no scale keeps the signal."""

    page = Page(
        code="C107",
        why="The scale divides by ⟨R, M⟩, the share of the inputs that passes: alternating filters and "
        "smooth inputs leave nothing of it.",
        fix="Use He's scale, which asks for no inputs, or the correlation of the inputs as it was measured.",
        example="""
            corrinit.initialize(model, correlation=r, scale="paper")  # wrong
            corrinit.initialize(model, correlation=r, scale="he")
        """,
    )


class UnfitTensorError(CorrelationError):
    """A tensor is no weight of a convolution that random numbers can be drawn into."""

    page = Page(
        code="C108",
        why="A weight has an axis for outputs, one for inputs and one or more for taps, and holds real "
        "numbers.",
        fix="Use the initializers of your framework for other weights, and name the axes where they lie in "
        "another order.",
        example="""
            corrinit.correlated_normal_(linear.weight, r)  # wrong
            torch.nn.init.kaiming_normal_(linear.weight)
        """,
    )
