from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrinit import _spd as spd
from corrinit import kernels
from corrinit.errors import CorrelationError

FAMILIES = {
    "exponential": kernels.exponential,
    "exponential, Euclidean": partial(kernels.exponential, metric="euclidean"),
    "gaussian": kernels.gaussian,
    "matern 3/2": kernels.matern,
    "matern 5/2": partial(kernels.matern, nu=2.5),
}

sizes = (
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple).filter(lambda size: np.prod(size) <= 49)
)
scales = st.floats(0.05, 50)
means = st.floats(0.001, 0.999)


every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))


class TestTaps:
    @given(sizes)
    def test_are_numbered_row_by_row(self, size):
        offsets = kernels.tap_offsets(size)
        assert len(offsets) == kernels.number_of_taps(size)
        assert np.array_equal(np.ravel_multi_index(tuple(offsets.T), size), np.arange(len(offsets)))

    @given(sizes)
    def test_distances_are_metrics(self, size):
        cityblock = kernels.tap_distances(size)
        euclidean = kernels.tap_distances(size, "euclidean")
        for distances in (cityblock, euclidean):
            assert np.array_equal(distances, distances.T)
            assert np.array_equal(distances == 0, np.eye(len(distances)))
            through = (distances[:, :, None] + distances[None, :, :]).min(axis=1)
            assert (distances <= through + 1e-12).all()
        assert (euclidean <= cityblock + 1e-12).all()
        assert (cityblock <= euclidean * np.sqrt(len(size)) + 1e-12).all()

    def test_distances_of_a_square_kernel(self):
        assert kernels.tap_distances((2, 2))[0].tolist() == [0, 1, 1, 2]
        assert kernels.tap_distances((2, 2), "euclidean")[0].tolist() == [0, 1, 1, 2**0.5]

    @pytest.mark.parametrize("size", [(), (0, 3), (3, -1), (3.5, 3), ("3", 3)])
    def test_bad_kernel_size_is_named(self, size):
        with pytest.raises(CorrelationError, match="one positive number per axis"):
            kernels.tap_offsets(size)

    def test_unknown_metric_is_named(self):
        with pytest.raises(CorrelationError, match="metric is 'chess'; it is 'cityblock' or 'euclidean'"):
            kernels.tap_distances((3, 3), "chess")  # pyright: ignore


@every_family
class TestFamilies:
    @given(size=sizes, scale=scales)
    def test_are_correlations(self, family, size, scale):
        matrix = family(size, scale)
        assert np.array_equal(np.diag(matrix), np.ones(len(matrix)))
        assert np.array_equal(spd.validate(matrix), matrix)

    @given(size=sizes.filter(lambda size: np.prod(size) > 1), mean=means)
    def test_have_the_mean_asked_for(self, family, size, mean):
        matrix = family(size, mean=mean)
        spd.validate(matrix)
        assert kernels.mean_off_diagonal(matrix) == pytest.approx(mean, abs=1e-9)

    @given(size=sizes, scale=scales)
    def test_decrease_with_distance_and_increase_with_the_scale(self, family, size, scale):
        matrix = family(size, scale)
        assert (matrix <= family(size, 1.1 * scale) + 1e-15).all()
        axis = family((5,), scale)[0]
        assert (np.diff(axis) <= 0).all()

    @given(size=sizes, scale=scales)
    def test_do_not_change_when_the_grid_is_flipped(self, family, size, scale):
        matrix = family(size, scale)
        assert np.allclose(matrix, matrix[::-1, ::-1], rtol=0, atol=1e-15)

    def test_single_tap(self, family):
        assert family((1, 1), mean=0.5).tolist() == [[1.0]]

    @pytest.mark.parametrize("arguments", [{}, {"length_scale": 1.0, "mean": 0.5}])
    def test_take_either_a_scale_or_a_mean(self, family, arguments):
        with pytest.raises(CorrelationError, match="give either length_scale or mean"):
            family((3, 3), **arguments)

    @pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
    def test_impossible_scale_is_named(self, family, scale):
        with pytest.raises(
            CorrelationError, match=f"length_scale is {scale}; it must be positive and finite"
        ):
            family((3, 3), scale)

    @pytest.mark.parametrize("mean", [0.0, 1.0, -0.1, 1.5, np.nan])
    def test_impossible_mean_is_named(self, family, mean):
        with pytest.raises(CorrelationError, match=f"mean is {mean}"):
            family((3, 3), mean=mean)


class TestCentreWeighted:
    @given(size=sizes, width=st.floats(0, 1e6))
    def test_are_relative_deviations(self, size, width):
        deviations = kernels.centre_weighted(size, width)
        assert np.array_equal(spd.validate_deviations(deviations, len(deviations)), deviations)

    @given(size=sizes, width=st.floats(0.1, 5))
    def test_fall_off_as_a_gaussian_of_the_distance_from_the_centre(self, size, width):
        deviations = kernels.centre_weighted(size, width)
        squares = np.square(kernels.tap_offsets(size) - (np.array(size) - 1) / 2).sum(axis=1)
        expected = np.exp(-squares / (4 * width**2))
        assert np.allclose(deviations, expected / np.sqrt(np.mean(expected**2)), rtol=1e-9, atol=0)

    @pytest.mark.parametrize(("size", "central"), [((3, 3), 1), ((4, 4), 4), ((3, 4), 2), ((5,), 1)])
    @pytest.mark.parametrize("width", [0, 1e-300, 0.01])
    def test_narrow_ones_leave_the_taps_at_the_centre(self, size, central, width):
        deviations = kernels.centre_weighted(size, width)
        assert np.allclose(np.sort(deviations**2)[::-1][:central], len(deviations) / central)
        assert np.count_nonzero(deviations > 1e-12) == central

    def test_wide_ones_are_ones(self):
        assert np.array_equal(kernels.centre_weighted((3, 3), np.inf), np.ones(9))

    @pytest.mark.parametrize("width", [-1.0, np.nan])
    def test_impossible_width_is_named(self, width):
        with pytest.raises(CorrelationError, match=f"width is {width}"):
            kernels.centre_weighted((3, 3), width)


class TestFormulas:
    @given(size=sizes, scale=scales)
    def test_exponential_is_separable(self, size, scale):
        product = np.ones((1, 1))
        for k in size:
            product = np.kron(product, kernels.exponential((k,), scale))
        assert np.allclose(kernels.exponential(size, scale), product, rtol=1e-12, atol=0)

    @given(size=sizes, scale=scales)
    def test_gaussian_is_separable(self, size, scale):
        product = np.ones((1, 1))
        for k in size:
            product = np.kron(product, kernels.gaussian((k,), scale))
        assert np.allclose(kernels.gaussian(size, scale), product, rtol=1e-9, atol=1e-300)

    def test_values_at_distance_one(self):
        assert kernels.exponential((2,), 2.0)[0, 1] == pytest.approx(np.exp(-0.5))
        assert kernels.gaussian((2,), 2.0)[0, 1] == pytest.approx(np.exp(-0.125))
        r = np.sqrt(3) / 2
        assert kernels.matern((2,), 2.0)[0, 1] == pytest.approx((1 + r) * np.exp(-r))
        r = np.sqrt(5) / 2
        assert kernels.matern((2,), 2.0, nu=2.5)[0, 1] == pytest.approx((1 + r + r**2 / 3) * np.exp(-r))

    def test_matern_grows_smoother_from_exponential_to_gaussian(self):
        near = [
            kernels.exponential((2,), 1.0, metric="euclidean")[0, 1],
            kernels.matern((2,), 1.0)[0, 1],
            kernels.matern((2,), 1.0, nu=2.5)[0, 1],
            kernels.gaussian((2,), 1.0)[0, 1],
        ]
        assert near == sorted(near)

    def test_matern_of_another_smoothness_is_refused(self):
        with pytest.raises(CorrelationError, match=r"nu is 0\.5; Matérn is offered for 1\.5 and 2\.5"):
            kernels.matern((3, 3), 1.0, nu=0.5)


class TestConstant:
    @given(size=sizes, share=st.floats(0, 1))
    def test_is_a_correlation_over_its_whole_range(self, size, share):
        taps = kernels.number_of_taps(size)
        lowest = -1 / (taps - 1) if taps > 1 else -1.0
        matrix = kernels.constant(size, min(1.0, lowest + share * (1 - lowest)))
        spd.validate(matrix)

    def test_entries(self):
        assert kernels.constant((2, 1), 0.3).tolist() == [[1.0, 0.3], [0.3, 1.0]]

    @pytest.mark.parametrize("mean", [-0.126, 1.01, np.nan])
    def test_impossible_mean_is_named(self, mean):
        with pytest.raises(CorrelationError, match=r"9 taps can share a correlation from -0\.125 to 1"):
            kernels.constant((3, 3), mean)
