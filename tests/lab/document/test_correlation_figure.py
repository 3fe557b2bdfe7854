import numpy as np
import pytest
from matplotlib.figure import Figure

from corrinit import kernels
from corrinit._correlation import SpatialCorrelation
from corrinit.errors import ConfigError, CorrInitError
from corrinit.lab.document.correlation_figure import correlation_figure, save_figure


@pytest.fixture
def correlation() -> SpatialCorrelation:
    return SpatialCorrelation(kernels.exponential((3, 3), mean=0.26))


def drawn_profiles(figure: Figure):
    """The lines of the left panel that are curves, not the zero line."""
    return [
        np.array(line.get_xydata())
        for line in figure.axes[0].get_lines()
        if len(np.asarray(line.get_xdata())) > 2
    ]


def test_draws_every_layer_and_the_whole(correlation):
    layers = [correlation.with_strength(strength) for strength in (0.2, 0.5, 0.8)]
    curves = drawn_profiles(correlation_figure(correlation, layers))
    for curve, drawn in zip(curves, [*layers, correlation], strict=True):
        assert np.allclose(curve, [(point.distance, point.correlation) for point in drawn.profile()])


def test_draws_the_matrix(correlation):
    figure = correlation_figure(correlation)
    (image,) = figure.axes[1].get_images()
    assert np.array_equal(np.asarray(image.get_array()), correlation.matrix)


def test_a_correlation_alone_shows_its_mean(correlation):
    legend = correlation_figure(correlation).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["R, mean 0.260"]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".SVG"])
def test_same_figure_gives_same_bytes(correlation, tmp_path, suffix):
    for name in "ab":
        save_figure(correlation_figure(correlation, title="a network"), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_other_formats_are_refused(correlation, tmp_path):
    with pytest.raises(ConfigError, match=r"suffix '\.gif'; a figure is written as \.png or \.svg"):
        save_figure(correlation_figure(correlation), tmp_path / "figure.gif")


def test_place_that_cannot_be_written_is_a_clear_error(correlation, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CorrInitError, match="cannot be written"):
        save_figure(correlation_figure(correlation), tmp_path / "file" / "figure.svg")


def test_a_name_that_looks_like_mathematics_is_drawn_as_it_is(correlation, tmp_path):
    save_figure(correlation_figure(correlation, title="$x_{$.safetensors"), tmp_path / "figure.svg")
    assert "$x_{$.safetensors" in (tmp_path / "figure.svg").read_text()
